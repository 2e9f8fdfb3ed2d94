package server

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/server/config"
)

// Eviction of data. With overflow no, maxmemory bounds what the data takes up in memory, and all of it is kept there;
// with overflow yes nothing but maxdisk bounds it. Beyond the bound maxmemory-policy names keys, which the leader has
// the log delete (LARDER.EVICT); where it names none, writes that need room get the OOM error. Evictions begin a little
// below the bound, at the low mark, so that in the steady state nobody waits; above the bound batches of writes are held
// until there is room.

// evictionPolicy is what the configuration says, ready for use.
type evictionPolicy struct {
	whole      bool // overflow no
	evicts     bool // some policy other than noeviction
	rule       keyspace.EvictionRule
	bound, low int64 // bytes of data in memory; a bound of 0: none
}

// eviction is the state of the evictions.
type eviction struct {
	policy  atomic.Pointer[evictionPolicy]
	wake    chan struct{}
	release atomic.Pointer[func()] // has the loops propose what was held
	held    atomic.Bool            // some loop waits for room
	barren  atomic.Bool            // there is no key that the policy lets go
	spent   atomic.Bool            // the same, as the disk's evictions found
	evicted atomic.Int64           // keys

	exceeded struct {
		sync.Mutex
		since time.Time // zero: data is within the bound
		total time.Duration
	}
}

const (
	evictLook = 10 * time.Millisecond
	evictMost = 512 // keys of an entry
)

// margin is how far below a bound evictions begin.
func margin(bound int64) int64 { return min(max(bound/32, 64<<10), 8<<20) }

// evictionRules are the choices of the policies.
var evictionRules = map[config.Policy]keyspace.EvictionRule{
	config.AllKeysLRU:     {Prefer: keyspace.LeastRecent},
	config.AllKeysLFU:     {Prefer: keyspace.LeastFrequent},
	config.AllKeysRandom:  {Prefer: keyspace.AnyKey},
	config.VolatileLRU:    {Prefer: keyspace.LeastRecent, Timed: true},
	config.VolatileLFU:    {Prefer: keyspace.LeastFrequent, Timed: true},
	config.VolatileRandom: {Prefer: keyspace.AnyKey, Timed: true},
	config.VolatileTTL:    {Prefer: keyspace.SoonestDue, Timed: true},
}

// setEviction has the node go by what the configuration says of eviction.
func (n *node) setEviction(v *config.Values) {
	rule, evicts := evictionRules[v.MaxMemoryPolicy]
	rule.Samples = v.MaxMemorySamples
	p := &evictionPolicy{whole: !v.Overflow, evicts: evicts, rule: rule}
	budget, _ := budgets(v.MaxMemory.Bytes)
	if p.whole && budget > 0 {
		p.bound, p.low = budget, budget-margin(budget)
	}
	keys := n.engine.Keys()
	keys.SetBudget(budget)
	keys.SetWhole(p.whole)
	keys.CountUses(rule.Prefer == keyspace.LeastFrequent, front.LFU{LogFactor: uint32(v.LFULogFactor), DecayMinutes: uint32(v.LFUDecayTime)})
	n.eviction.policy.Store(p)
	n.eviction.barren.Store(false)
	n.eviction.spent.Store(false)
	n.wantEviction()
}

func (n *node) wantEviction() {
	select {
	case n.eviction.wake <- struct{}{}:
	default:
	}
}

// beyond says whether the data in memory is beyond a mark. Where some of it could not be loaded for want of room, it is
// from the low mark on.
func (n *node) beyond(p *evictionPolicy, mark int64) bool {
	if p.bound == 0 {
		return false
	}
	keys := n.engine.Keys()
	used := keys.Used()
	return used > mark || used > p.low && !keys.AllWarm()
}

// outOfMemory says whether a write that needs room is to be refused: nothing can be evicted to make it.
func (n *node) outOfMemory() bool {
	p := n.eviction.policy.Load()
	return n.beyond(p, p.bound) && (!p.evicts || n.eviction.barren.Load()) && !n.engine.Keys().Freeing()
}

// outOfDisk says the same of the disk. While keys are evicted it may be a little beyond its bound.
func (n *node) outOfDisk() bool {
	if !n.diskFull.Load() {
		return false
	}
	return !n.eviction.policy.Load().evicts || n.eviction.spent.Load() || n.diskBeyond.Load()
}

// holdsForRoom says whether batches are to wait until evictions, or the freeing of what was flushed, have made room.
func (n *node) holdsForRoom() bool {
	p := n.eviction.policy.Load()
	if !n.beyond(p, p.low) {
		return false
	}
	n.wantEviction()
	if !n.beyond(p, p.bound) || !n.engine.Keys().Freeing() && (!p.evicts || n.eviction.barren.Load()) {
		return false
	}
	n.eviction.held.Store(true)
	return true
}

// letGo has the loops propose what was held.
func (n *node) letGo() {
	if n.eviction.held.Swap(false) {
		if release := n.eviction.release.Load(); release != nil {
			(*release)()
		}
	}
}

// evictData keeps the data in memory within its bound.
func (n *node) evictData(ctx context.Context) {
	look := time.NewTicker(evictLook)
	defer look.Stop()
	victims := n.engine.Keys().NewVictims(n.random)
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-n.eviction.wake:
		}
		p := n.eviction.policy.Load()
		n.noteExceeded(n.beyond(p, p.bound))
		if p.evicts && n.beyond(p, p.low) {
			if err := n.evictDown(ctx, p, victims); err != nil {
				n.fatal(err)
				return
			}
			n.noteExceeded(n.beyond(p, p.bound))
		}
		n.letGo()
	}
}

// evictDown evicts until the data is a little below the low mark, or no key is found that may go.
func (n *node) evictDown(ctx context.Context, p *evictionPolicy, victims *keyspace.Victims) error {
	keys := n.engine.Keys()
	goal := p.low - (p.bound-p.low)/4
	for ctx.Err() == nil && n.group.CanRead() && !keys.Freeing() && n.eviction.policy.Load() == p {
		want := keys.Used() - goal
		if want <= 0 {
			break
		}
		list, barren, err := victims.Choose(p.rule, want, evictMost)
		if err != nil {
			return err
		}
		n.eviction.barren.Store(barren)
		if len(list) == 0 || n.proposeEviction(ctx, p.rule.Timed, list) != nil {
			break
		}
		if !n.beyond(p, p.bound) {
			n.letGo()
		}
	}
	return nil
}

// proposeEviction deletes keys by name through the log and waits until that is applied.
func (n *node) proposeEviction(ctx context.Context, timed bool, keys []keyspace.Key) (err error) {
	var removed expiryReplies
	b := &engine.Batch{Replies: &removed}
	args := map[int][][]byte{}
	for _, k := range keys {
		if args[k.DB] == nil {
			args[k.DB] = command.EvictArgs(timed)
		}
		args[k.DB] = append(args[k.DB], k.Key)
	}
	for db, a := range args {
		b.AddWrite(command.Lookup(a[0]), db, a)
	}
	err = n.proposeAndWait(ctx, b)
	n.eviction.evicted.Add(removed.keys)
	return err
}

// proposeAndWait takes a batch of the background's own through the log.
func (n *node) proposeAndWait(ctx context.Context, b *engine.Batch) error {
	done := make(chan error, 1)
	n.group.Propose(&raftfsm.Proposal{Batch: b, Loop: backgroundLoop, Done: func(_ *raftfsm.Proposal, err error) { done <- err }})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.Join(<-done, ctx.Err())
	}
}

// noteExceeded counts the time in which data is beyond its bound.
func (n *node) noteExceeded(is bool) {
	e := &n.eviction.exceeded
	e.Lock()
	defer e.Unlock()
	switch {
	case is && e.since.IsZero():
		e.since = time.Now()
	case !is && !e.since.IsZero():
		e.total += time.Since(e.since)
		e.since = time.Time{}
	}
}

// exceededTime is how long data has been beyond its bound, in all and without a break until now.
func (n *node) exceededTime() (total, current time.Duration) {
	e := &n.eviction.exceeded
	e.Lock()
	defer e.Unlock()
	if !e.since.IsZero() {
		current = time.Since(e.since)
	}
	return e.total + current, current
}

// resetEvictions has the figures begin anew.
func (n *node) resetEvictions() {
	n.eviction.evicted.Store(0)
	e := &n.eviction.exceeded
	e.Lock()
	defer e.Unlock()
	e.total = 0
	if !e.since.IsZero() {
		e.since = time.Now()
	}
}

const loadLook = 100 * time.Millisecond

// keepWhole loads what is in the store alone where all data is to be in memory, as far as it fits.
func (n *node) keepWhole(ctx context.Context) {
	look := time.NewTicker(loadLook)
	defer look.Stop()
	keys := n.engine.Keys()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		for db := range keyspace.Databases {
			for at := 0; ctx.Err() == nil && !keys.AllWarm(); {
				p := n.eviction.policy.Load()
				if !p.whole || n.beyond(p, p.low) {
					break
				}
				next, more, err := keys.LoadSome(db, at, n.pace)
				if err != nil {
					n.fatal(err)
					return
				}
				if at = next; !more {
					break
				}
			}
		}
	}
}
