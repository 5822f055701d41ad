package main

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	callTimeout     = 30 * time.Second
	leaseTTLSeconds = 120
	// Requests that prepare a run, under way at once.
	preparing = 200
)

type operation func() error

// What each loop does. The loads are described in ../compare/load.ts.
func prepare(kind string, of func(int) *clientv3.Client) (func(i int) operation, error) {
	switch kind {
	case "put":
		return each(of, func(c *clientv3.Client, _ *rand.Rand, v *values) error {
			return put(c, keyOf(fresh.Add(1)), v.next())
		}), nil
	case "overwrite":
		return each(of, func(c *clientv3.Client, r *rand.Rand, v *values) error {
			return put(c, keyOf(uint64(r.Intn(*keys))), v.next())
		}), nil
	case "get":
		return each(of, func(c *clientv3.Client, r *rand.Rand, _ *values) error {
			return get(c, keyOf(uint64(r.Intn(*keys))))
		}), nil
	case "get-serializable":
		return each(of, func(c *clientv3.Client, r *rand.Rand, _ *values) error {
			return get(c, keyOf(uint64(r.Intn(*keys))), clientv3.WithSerializable())
		}), nil
	case "mixed":
		return each(of, func(c *clientv3.Client, r *rand.Rand, v *values) error {
			key := keyOf(uint64(r.Intn(*keys)))
			if r.Intn(5) == 0 {
				return put(c, key, v.next())
			}
			return get(c, key)
		}), nil
	case "range":
		return each(of, func(c *clientv3.Client, r *rand.Rand, _ *values) error {
			start, end := directoryOf(uint64(r.Intn(*keys)))
			return get(c, start, clientv3.WithRange(end))
		}), nil
	case "cas":
		return func(i int) operation {
			client, key, value, revision := of(i), keyOf(fresh.Add(1)), newValues(*valueBytes, newRandom(i)), int64(0)
			return func() error {
				ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
				defer cancel()
				response, err := client.Txn(ctx).
					If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
					Then(clientv3.OpPut(key, value.next())).
					Else(clientv3.OpGet(key)).
					Commit()
				if err == nil && !response.Succeeded {
					err = fmt.Errorf("another wrote the key")
				}
				if err != nil {
					// What the key's revision is now, nobody knows.
					key, revision = keyOf(fresh.Add(1)), 0
					return err
				}
				revision = response.Header.Revision
				return nil
			}
		}, nil
	case "lease":
		return keepAlives(of)
	case "watch-one":
		return watchOne(of), nil
	case "watch-many":
		return watchMany(of), nil
	}
	return nil, fmt.Errorf("unknown load %s", kind)
}

func newRandom(i int) *rand.Rand {
	return rand.New(rand.NewSource(int64(i)*7919 + time.Now().UnixNano()))
}

func each(of func(int) *clientv3.Client, call func(*clientv3.Client, *rand.Rand, *values) error) func(int) operation {
	return func(i int) operation {
		client, random := of(i), newRandom(i)
		value := newValues(*valueBytes, random)
		return func() error { return call(client, random, value) }
	}
}

func put(client *clientv3.Client, key, value string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, err := client.Put(ctx, key, value)
	return err
}

func get(client *clientv3.Client, key string, options ...clientv3.OpOption) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, err := client.Get(ctx, key, options...)
	return err
}

// One stream a loop, for a stream a renewal, as KeepAliveOnce opens it, costs far more than the renewal.
func keepAlives(of func(int) *clientv3.Client) (func(i int) operation, error) {
	granted := make([]clientv3.LeaseID, *leases)
	err := many(*leases, func(i int) error {
		response, err := of(i).Grant(context.Background(), leaseTTLSeconds)
		if err == nil {
			granted[i] = response.ID
		}
		return err
	})
	return func(i int) operation {
		random := newRandom(i)
		stream, err := pb.NewLeaseClient(of(i).ActiveConnection()).LeaseKeepAlive(context.Background())
		return func() error {
			if err != nil {
				return err
			}
			id := int64(granted[random.Intn(len(granted))])
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
				return err
			}
			response, err := stream.Recv()
			if err == nil && response.TTL <= 0 {
				err = fmt.Errorf("the lease has ended")
			}
			return err
		}
	}, err
}

// All watch one key; an operation is over once the last of them knows.
func watchOne(of func(int) *clientv3.Client) func(int) operation {
	key := keyOf(fresh.Add(1))
	var told atomic.Int64
	all := make(chan struct{}, 1)
	_ = many(*watchers, func(i int) error {
		return watch(of(i), key, func() {
			if told.Add(1)%int64(*watchers) == 0 {
				all <- struct{}{}
			}
		})
	})
	return func(i int) operation {
		client, value := of(i), newValues(*valueBytes, newRandom(i))
		return func() error {
			if err := put(client, key, value.next()); err != nil {
				return err
			}
			<-all
			return nil
		}
	}
}

// Each watcher its own key.
func watchMany(of func(int) *clientv3.Client) func(int) operation {
	first := fresh.Add(uint64(*watchers)) - uint64(*watchers) + 1
	told := make([]chan struct{}, *watchers)
	_ = many(*watchers, func(i int) error {
		told[i] = make(chan struct{}, 1)
		// The watcher's connection is another than the writer's, so that an event crosses members.
		return watch(of(i+1), keyOf(first+uint64(i)), func() { told[i] <- struct{}{} })
	})
	return func(i int) operation {
		client, random := of(i), newRandom(i)
		value := newValues(*valueBytes, random)
		return func() error {
			// Each loop has watchers of its own.
			at := random.Intn(*watchers / *clients)**clients + i
			if err := put(client, keyOf(first+uint64(at)), value.next()); err != nil {
				return err
			}
			<-told[at]
			return nil
		}
	}
}

// Returns once it watches.
func watch(client *clientv3.Client, key string, onPut func()) error {
	answers := client.Watch(context.Background(), key, clientv3.WithCreatedNotify())
	<-answers
	go func() {
		for answer := range answers {
			for range answer.Events {
				onPut()
			}
		}
	}()
	return nil
}

func many(count int, call func(int) error) error {
	var next atomic.Int64
	var first atomic.Value
	var group sync.WaitGroup
	for range min(preparing, count) {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				if err := call(i); err != nil {
					first.CompareAndSwap(nil, err)
				}
			}
		}()
	}
	group.Wait()
	if err, failed := first.Load().(error); failed {
		return err
	}
	return nil
}
