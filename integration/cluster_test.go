package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/integration/nodes"
)

// Bounds of waits that end at once when all is well.
const (
	takesOrders = 20 * time.Second
	settles     = 60 * time.Second
)

// errWrong: a writer did not read what it had written.
var errWrong = errors.New("wrong value")

// sharded is a cluster whose clients are redirected, and what is written to it meanwhile.
type sharded struct {
	*nodes.Cluster
	t      testing.TB
	client *redis.ClusterClient
	ctx    context.Context
	rng    *rand.Rand

	writers sync.WaitGroup
	stop    context.CancelFunc
	began   uint64       // terms at the beginning
	pause   atomic.Int64 // the longest between two replies to one writer, nanoseconds
	written []*written
}

func startSharded(t testing.TB, o nodes.Options, shards int) *sharded {
	o.Program = larderProgram
	o.Directives = append(o.Directives, "--cluster-enabled", "yes", "--shards", strconv.Itoa(shards))
	c := &sharded{Cluster: nodes.Start(t, o), t: t, ctx: context.Background()}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	c.rng = rand.New(rand.NewPCG(seed, 1))
	var addrs []string
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr())
	}
	c.client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = c.client.Close() })
	return c
}

// order has larder cluster do something, by way of whichever node answers.
func (c *sharded) order(args ...string) (string, error) {
	var errs error
	for deadline := time.Now().Add(takesOrders); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		errs = nil
		for _, n := range c.Nodes {
			out, err := c.Larder(takesOrders, append(append([]string{"cluster"}, args...), "--addr", n.Addr())...)
			if err == nil {
				return out, nil
			}
			errs = errors.Join(errs, err)
		}
	}
	return "", errs
}

func (c *sharded) mustOrder(args ...string) string {
	c.t.Helper()
	out, err := c.order(args...)
	if err != nil {
		c.t.Fatal(c.Describe(err))
	}
	return out
}

func (c *sharded) status() (r cluster.Report) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.mustOrder("status", "--json")), &r); err != nil {
		c.t.Fatal(err)
	}
	return r
}

// await waits until the status is as wanted.
func (c *sharded) await(what string, wanted func(*cluster.Report) bool) cluster.Report {
	c.t.Helper()
	for deadline := time.Now().Add(settles); ; time.Sleep(50 * time.Millisecond) {
		r := c.status()
		if wanted(&r) {
			return r
		}
		if time.Now().After(deadline) {
			c.t.Fatal(c.Describe(fmt.Errorf("not in time: %s: %+v", what, r)))
		}
	}
}

func (c *sharded) awaitSettled() cluster.Report {
	c.t.Helper()
	return c.await("all is as it should be", func(r *cluster.Report) bool { return r.Settled })
}

// written is what one writer wrote: a string that counts up, and a set of all that it counted.
type written struct {
	key       string
	sent, was int // the last one sent, and the last one acknowledged
	errors    []error
}

// load writes until quiet. Where faults are made, errors are part of it.
func (c *sharded) load(writers int) {
	c.began = c.terms()
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	for i := range writers {
		w := &written{key: "{writer" + strconv.Itoa(i) + "}"}
		c.written = append(c.written, w)
		c.writers.Go(func() {
			for last := time.Now(); ctx.Err() == nil; {
				w.sent++
				err := c.write(w)
				now := time.Now()
				if err != nil {
					w.errors = append(w.errors, fmt.Errorf("%s %d after %v: %w", w.key, w.sent, now.Sub(last), err))
					time.Sleep(5 * time.Millisecond)
					continue
				}
				w.was = w.sent
				c.pause.Store(max(c.pause.Load(), int64(now.Sub(last))))
				last = now
			}
		})
	}
	c.t.Cleanup(c.quiet)
}

// write is one round of a writer: all of it may be done twice.
func (c *sharded) write(w *written) error {
	n := strconv.Itoa(w.sent)
	switch w.sent % 4 {
	case 0:
		_, err := c.client.TxPipelined(c.ctx, func(p redis.Pipeliner) error {
			p.Set(c.ctx, w.key, n, time.Hour)
			p.SAdd(c.ctx, w.key+"set", n)
			return nil
		})
		return err
	case 1:
		_, err := c.client.Pipelined(c.ctx, func(p redis.Pipeliner) error {
			p.Set(c.ctx, w.key, w.sent-1, time.Hour)
			p.Set(c.ctx, w.key, n, time.Hour)
			p.SAdd(c.ctx, w.key+"set", n)
			return nil
		})
		return err
	}
	err := c.client.Set(c.ctx, w.key, n, time.Hour).Err()
	if err == nil {
		err = c.client.SAdd(c.ctx, w.key+"set", n).Err()
	}
	if err == nil {
		var got int
		if got, err = c.client.Get(c.ctx, w.key).Int(); err == nil && got != w.sent {
			err = fmt.Errorf("%w: read %d, not %d", errWrong, got, w.sent)
		}
	}
	return err
}

// quiet ends the load.
func (c *sharded) quiet() {
	c.stop()
	c.writers.Wait()
}

// fill writes keys that stay as they are; some end in an hour.
func (c *sharded) fill(keys int) {
	c.t.Helper()
	c.awaitSettled()
	for from, failed := 0, 0; from < keys; from += 500 {
		_, err := c.client.Pipelined(c.ctx, func(p redis.Pipeliner) error {
			for i := from; i < min(keys, from+500); i++ {
				p.Set(c.ctx, "key"+strconv.Itoa(i), i, time.Duration(i%2)*time.Hour)
			}
			return nil
		})
		if err == nil {
			continue
		}
		if failed++; failed == 20 {
			c.t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // leaders have yet to find their places
		from -= 500
	}
}

// terms are the terms of all groups: where they grow, leaders have changed, if only since the machine is busy.
func (c *sharded) terms() (sum uint64) {
	r := c.awaitSettled()
	for _, g := range r.Groups {
		sum += g.Term
	}
	return sum
}

// mustSee looks until nothing is wrong: a leader may have gone just now, and the client not know the next one yet. What is
// lost does not come back by waiting.
func (c *sharded) mustSee(look func() error) {
	c.t.Helper()
	for deadline := time.Now().Add(takesOrders); ; time.Sleep(100 * time.Millisecond) {
		err := look()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatal(c.Describe(err))
		}
	}
}

// check makes sure that everything is there, once, and that what was to end still will; there are others keys besides. It
// ends the load.
func (c *sharded) check(keys, others int, faults bool) {
	c.t.Helper()
	c.quiet()
	if !faults && c.terms() != c.began {
		c.t.Log("leaders have changed meanwhile: clients may have had errors")
		faults = true
	}
	total := int64(keys + others)
	failed := 0
	for _, w := range c.written {
		total += 2
		failed += len(w.errors)
		for _, err := range w.errors {
			if !faults || errors.Is(err, errWrong) {
				c.t.Error(err)
			}
		}
		c.mustSee(func() error {
			got, err := c.client.Get(c.ctx, w.key).Int()
			if err == nil && (got < w.was || got > w.sent) {
				err = fmt.Errorf("%s is %d, not %d to %d", w.key, got, w.was, w.sent)
			}
			return err
		})
		c.mustSee(func() error {
			size, err := c.client.SCard(c.ctx, w.key+"set").Result()
			if err == nil && (size > int64(w.sent) || size < int64(w.sent-len(w.errors))) {
				err = fmt.Errorf("%sset has %d members of %d", w.key, size, w.sent)
			}
			return err
		})
	}
	for i := range keys {
		key := "key" + strconv.Itoa(i)
		c.mustSee(func() error {
			got, err := c.client.Get(c.ctx, key).Int()
			if err == nil && got != i {
				err = fmt.Errorf("%s is %d", key, got)
			}
			return err
		})
		c.mustSee(func() error {
			ttl, err := c.client.TTL(c.ctx, key).Result()
			if err == nil && ttl > 50*time.Minute != (i%2 == 1) {
				err = fmt.Errorf("%s ends in %v", key, ttl)
			}
			return err
		})
	}
	c.mustSee(func() error {
		c.client.ReloadState(c.ctx) // who leads what
		n, err := c.client.DBSize(c.ctx).Result()
		if err == nil && n != total {
			err = fmt.Errorf("there are %d keys, not %d", n, total)
		}
		return err
	})
	if _, err := c.AwaitSameData(); err != nil {
		c.t.Error(c.Describe(err))
	}
	if err := c.Fault(); err != nil {
		c.t.Error(c.Describe(err))
	}
	c.t.Log("the longest pause of a writer:", time.Duration(c.pause.Load()), "errors:", failed)
}
