// Puts load on an etcd cluster through etcd's own Go client and prints one JSON line. The counterpart for quorate is
// ../quorate-load.ts: same flags, same keys and values, same output.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

type result struct {
	Ops               int     `json:"ops"`
	Seconds           float64 `json:"seconds"`
	OpsPerSecond      float64 `json:"opsPerSecond"`
	P50Ms             float64 `json:"p50Ms"`
	P99Ms             float64 `json:"p99Ms"`
	P999Ms            float64 `json:"p999Ms"`
	MaxMs             float64 `json:"maxMs"`
	Errors            int64   `json:"errors"`
	CPUShare          float64 `json:"cpuShare"`
	CPUUsPerOp        float64 `json:"cpuUsPerOp"`
	MembersCPUUsPerOp float64 `json:"membersCpuUsPerOp"`
}

const (
	errorPause    = 10 * time.Millisecond
	fillErrorsMax = 10_000
	failOverPut   = 20 * time.Millisecond
	// Linux counts processor time in hundredths.
	ticksPerSecond = 100
)

var (
	endpoints   = flag.String("endpoints", "127.0.0.1:2379", "comma separated")
	pids        = flag.String("pids", "", "of the members, comma separated")
	kind        = flag.String("load", "put", "see ../compare/load.ts")
	clients     = flag.Int("clients", 100, "concurrent loops")
	connections = flag.Int("connections", 3, "shared by all loops; each belongs to one member")
	seconds     = flag.Float64("seconds", 10, "measured time")
	warmup      = flag.Float64("warmup", 1, "seconds before measuring")
	valueBytes  = flag.Int("value-bytes", 256, "length of a value")
	keys        = flag.Int("keys", 10000, "keys that are filled, or were")
	watchers    = flag.Int("watchers", 1000, "for watch-one and watch-many")
	leases      = flag.Int("leases", 10000, "for lease")

	// Keys of this run alone: those of earlier runs are others.
	fresh              atomic.Uint64
	errors             atomic.Int64
	measuring, stopped atomic.Bool
)

func main() {
	flag.Parse()
	fresh.Store(uint64(time.Now().UnixMilli()) * 100)
	all := strings.Split(*endpoints, ",")
	count := min(*connections, *clients)
	if *kind == "fail-over" {
		count = len(all)
	}
	stores := make([]*clientv3.Client, count)
	for i := range stores {
		store, err := clientv3.New(clientv3.Config{Endpoints: []string{all[i%len(all)]}, DialTimeout: 5 * time.Second})
		check(err)
		defer store.Close()
		stores[i] = store
	}
	of := func(i int) *clientv3.Client { return stores[i%count] }
	switch *kind {
	case "fail-over":
		failOver(of)
	case "fill":
		say(fill(of, keyOf))
	case "fill-directories":
		say(fill(of, directoryKeyOf))
	default:
		operationOf, err := prepare(*kind, of)
		check(err)
		say(loop(operationOf))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func loop(operationOf func(int) operation) result {
	latencies := make([][]float64, *clients)
	var loops sync.WaitGroup
	for i := range *clients {
		loops.Add(1)
		go func() {
			defer loops.Done()
			operation := operationOf(i)
			for !stopped.Load() {
				inWindow, begun := measuring.Load(), time.Now()
				err := operation()
				// Only what began and ended inside the window counts.
				counts := inWindow && !stopped.Load()
				if err != nil {
					if counts {
						errors.Add(1)
					}
					time.Sleep(errorPause)
				} else if counts {
					latencies[i] = append(latencies[i], milliseconds(time.Since(begun)))
				}
			}
		}()
	}
	time.Sleep(time.Duration(*warmup * float64(time.Second)))
	begun := beginWindow()
	measuring.Store(true)
	time.Sleep(time.Duration(*seconds * float64(time.Second)))
	stopped.Store(true)
	figures := begun.end()
	// An operation that never ends, such as one whose watcher was lost, shall not hold the figures back.
	ended := make(chan struct{})
	go func() { loops.Wait(); close(ended) }()
	select {
	case <-ended:
		figures.of(latencies)
	case <-time.After(5 * time.Second):
		check(fmt.Errorf("%s: operations did not end", *kind))
	}
	return figures
}

func fill(of func(int) *clientv3.Client, name func(uint64) string) result {
	latencies := make([][]float64, *clients)
	begun := beginWindow()
	var next atomic.Int64
	var loops sync.WaitGroup
	for i := range *clients {
		loops.Add(1)
		go func() {
			defer loops.Done()
			value := newValues(*valueBytes, newRandom(i))
			for n := next.Add(1) - 1; n < int64(*keys); n = next.Add(1) - 1 {
				at := time.Now()
				for err := put(of(i), name(uint64(n)), value.next()); err != nil; err = put(of(i), name(uint64(n)), value.next()) {
					// What is to be filled is filled in the end: etcd too refuses what comes faster than it applies.
					if errors.Add(1) > fillErrorsMax {
						check(err)
					}
					time.Sleep(errorPause)
				}
				latencies[i] = append(latencies[i], milliseconds(time.Since(at)))
			}
		}()
	}
	loops.Wait()
	figures := begun.end()
	figures.of(latencies)
	return figures
}

// Puts through every member in turn. Each line on the input is a question: how long until a put, begun now, is acknowledged?
func failOver(of func(int) *clientv3.Client) {
	var asked atomic.Int64
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			asked.Store(time.Now().UnixNano())
		}
		stopped.Store(true)
	}()
	value := newValues(*valueBytes, newRandom(0))
	fmt.Println(`{"ready":true}`)
	for i := 0; !stopped.Load(); i++ {
		begun, text := time.Now().UnixNano(), value.next()
		go func() {
			if put(of(i), keyOf(fresh.Add(1)), text) != nil {
				return
			}
			at := asked.Load()
			if at != 0 && begun >= at && asked.CompareAndSwap(at, 0) {
				fmt.Printf("{\"ms\":%f}\n", milliseconds(time.Duration(time.Now().UnixNano()-at)))
			}
		}()
		time.Sleep(failOverPut)
	}
}

// The measured time, and the processor time used in it.
type window struct {
	begun        time.Time
	own, members float64
}

func beginWindow() window { return window{time.Now(), ownCPU(), membersCPU()} }

// Without the latencies.
func (w window) end() result {
	elapsed, own, members := time.Since(w.begun).Seconds(), ownCPU()-w.own, membersCPU()-w.members
	return result{
		Seconds: elapsed, Errors: errors.Load(), CPUShare: own / elapsed / float64(runtime.NumCPU()),
		CPUUsPerOp: own * 1e6, MembersCPUUsPerOp: members * 1e6,
	}
}

func (r *result) of(latencies [][]float64) {
	var merged []float64
	for _, one := range latencies {
		merged = append(merged, one...)
	}
	sort.Float64s(merged)
	quantile := func(share float64) float64 {
		if len(merged) == 0 {
			return 0
		}
		return merged[max(0, int(float64(len(merged))*share+0.5)-1)]
	}
	r.Ops, r.OpsPerSecond = len(merged), float64(len(merged))/r.Seconds
	r.P50Ms, r.P99Ms, r.P999Ms, r.MaxMs = quantile(0.5), quantile(0.99), quantile(0.999), quantile(1)
	each := float64(max(1, len(merged)))
	r.CPUUsPerOp, r.MembersCPUUsPerOp = r.CPUUsPerOp/each, r.MembersCPUUsPerOp/each
}

func say(figures result) {
	line, _ := json.Marshal(figures)
	fmt.Println(string(line))
	// Watches and streams need no farewell.
	os.Exit(0)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func ownCPU() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	of := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return of(usage.Utime) + of(usage.Stime)
}

func membersCPU() float64 {
	sum := 0.0
	for _, pid := range strings.Split(*pids, ",") {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			continue
		}
		// The name, in brackets, may hold anything.
		fields := strings.Fields(string(stat)[strings.LastIndex(string(stat), ") ")+2:])
		for _, field := range fields[11:13] {
			ticks, _ := strconv.ParseFloat(field, 64)
			sum += ticks / ticksPerSecond
		}
	}
	return sum
}
