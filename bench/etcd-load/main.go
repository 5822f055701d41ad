// Puts to an etcd cluster through etcd's own Go client and prints one JSON line. The counterpart for quorate is
// bench/quorate-load.ts: same flags, same keys and values, same output.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

type result struct {
	Ops          int     `json:"ops"`
	Seconds      float64 `json:"seconds"`
	OpsPerSecond float64 `json:"opsPerSecond"`
	P50Ms        float64 `json:"p50Ms"`
	P99Ms        float64 `json:"p99Ms"`
	Errors       int64   `json:"errors"`
	CPUShare     float64 `json:"cpuShare"`
}

// A few sockets shared by all loops, as in one process of an application; each belongs to one member.
const sockets = 9

func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(usage.Utime) + seconds(usage.Stime)
}

// A key of the wanted length: a random prefix spreads it, the counter keeps it distinct.
func makeKey(random *rand.Rand, counter uint64, size int) string {
	key := make([]byte, size)
	const digits = "0123456789abcdef"
	for i := range key {
		key[i] = digits[random.Intn(16)]
	}
	suffix := fmt.Sprintf("%012x", counter)
	if size > len(suffix) {
		copy(key[size-len(suffix):], suffix)
	}
	return string(key)
}

func percentile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := int(float64(len(sorted))*share+0.5) - 1
	if at < 0 {
		at = 0
	}
	return sorted[at]
}

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:2379", "comma separated")
	clients := flag.Int("clients", 100, "concurrent loops")
	seconds := flag.Float64("seconds", 10, "measured time")
	warmup := flag.Float64("warmup", 1, "seconds before measuring")
	keyBytes := flag.Int("key-bytes", 32, "length of a key")
	valueBytes := flag.Int("value-bytes", 256, "length of a value")
	flag.Parse()

	all := strings.Split(*endpoints, ",")
	count := min(sockets, *clients)
	connections := make([]*clientv3.Client, count)
	for i := range connections {
		// Each socket belongs to one member, the members in turn.
		connection, err := clientv3.New(clientv3.Config{Endpoints: []string{all[i%len(all)]}, DialTimeout: 5 * time.Second})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		defer connection.Close()
		connections[i] = connection
	}

	var counter atomic.Uint64
	var errors atomic.Int64
	var measuring, stopped atomic.Bool
	latencies := make([][]float64, *clients)
	var loops sync.WaitGroup
	for i := range *clients {
		loops.Add(1)
		go func() {
			defer loops.Done()
			random := rand.New(rand.NewSource(int64(i)*7919 + time.Now().UnixNano()))
			value := make([]byte, *valueBytes)
			random.Read(value)
			connection := connections[i%count]
			for !stopped.Load() {
				id := counter.Add(1)
				if len(value) >= 8 {
					binary.BigEndian.PutUint64(value, id^random.Uint64())
				}
				key := makeKey(random, id, *keyBytes)
				begun := time.Now()
				inWindow := measuring.Load()
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				_, err := connection.Put(ctx, key, string(value))
				cancel()
				// Only what began and ended inside the window counts.
				if !inWindow || stopped.Load() {
					continue
				}
				if err != nil {
					errors.Add(1)
				} else {
					latencies[i] = append(latencies[i], float64(time.Since(begun).Microseconds())/1000)
				}
			}
		}()
	}

	time.Sleep(time.Duration(*warmup * float64(time.Second)))
	cpu, begun := cpuSeconds(), time.Now()
	measuring.Store(true)
	time.Sleep(time.Duration(*seconds * float64(time.Second)))
	stopped.Store(true)
	elapsed, used := time.Since(begun).Seconds(), cpuSeconds()-cpu
	loops.Wait()

	var merged []float64
	for _, one := range latencies {
		merged = append(merged, one...)
	}
	sort.Float64s(merged)
	line, _ := json.Marshal(result{
		Ops: len(merged), Seconds: elapsed, OpsPerSecond: float64(len(merged)) / elapsed,
		P50Ms: percentile(merged, 0.5), P99Ms: percentile(merged, 0.99), Errors: errors.Load(),
		CPUShare: used / elapsed / float64(runtime.NumCPU()),
	})
	fmt.Println(string(line))
}
