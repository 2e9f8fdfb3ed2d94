package server

import (
	"context"
	"errors"
	"sync"
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
	whole  bool // overflow no
	evicts bool // some policy other than noeviction
	rule   keyspace.EvictionRule
	uses   front.LFU // how uses are counted, where that is what the rule goes by
	budget int64     // bytes for all fronts; 0: no bound
}

// exceeded is how long data has been beyond its bound.
type exceeded struct {
	sync.Mutex
	since time.Time // zero: data is within the bound
	total time.Duration
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
	p := &evictionPolicy{whole: !v.Overflow, evicts: evicts, rule: rule, uses: front.LFU{LogFactor: uint32(v.LFULogFactor), DecayMinutes: uint32(v.LFUDecayTime)}}
	p.budget, _ = budgets(v.MaxMemory.Bytes)
	n.policy.Store(p)
	n.divide(n.local())
	for _, sh := range n.local() {
		sh.barren.Store(false)
		sh.spent.Store(false)
	}
	n.wantEviction()
}

func (n *node) wantEviction() {
	select {
	case n.wantRoom <- struct{}{}:
	default:
	}
}

// beyond says whether the shard's data in memory is beyond a mark. Where some of it could not be loaded for want of room,
// it is from the low mark on.
func (sh *shard) beyond(m *marks, mark int64) bool {
	if m.bound == 0 {
		return false
	}
	keys := sh.engine.Keys()
	used := keys.Used()
	return used > mark || used > m.low && !keys.AllWarm()
}

// beyondBound says whether the shard's data in memory is beyond its bound.
func (sh *shard) beyondBound() bool {
	m := sh.marks.Load()
	return sh.beyond(m, m.bound)
}

// beyondLow says the same of the low mark.
func (sh *shard) beyondLow() bool {
	m := sh.marks.Load()
	return sh.beyond(m, m.low)
}

// outOfMemory says whether a write that needs room is to be refused: nothing can be evicted to make it.
func (sh *shard) outOfMemory() bool {
	return sh.beyondBound() && (!sh.node.policy.Load().evicts || sh.barren.Load()) && !sh.engine.Keys().Freeing()
}

// outOfDisk says the same of the disk. While keys are evicted it may be a little beyond its bound.
func (sh *shard) outOfDisk() bool {
	n := sh.node
	if !n.diskFull.Load() {
		return false
	}
	return !n.policy.Load().evicts || sh.spent.Load() || n.diskBeyond.Load()
}

// holdsForRoom says whether batches are to wait until evictions, or the freeing of what was flushed, have made room.
func (sh *shard) holdsForRoom() bool {
	n := sh.node
	if !sh.beyondLow() {
		return false
	}
	n.wantEviction()
	if !sh.beyondBound() || !sh.engine.Keys().Freeing() && (!n.policy.Load().evicts || sh.barren.Load()) {
		return false
	}
	n.held.Store(true)
	return true
}

// letGo has the loops propose what was held.
func (n *node) letGo() {
	if n.held.Swap(false) {
		n.eachLoop((*loop).sealAll)
	}
}

// evictData keeps the data in memory within its bound.
func (n *node) evictData(ctx context.Context) {
	look := time.NewTicker(evictLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-n.wantRoom:
		}
		p, beyond := n.policy.Load(), false
		for _, sh := range n.local() {
			beyond = beyond || sh.beyondBound()
			if p.evicts && sh.beyondLow() {
				sh.start(jobEvict, func(ctx context.Context) {
					if err := sh.evictDown(ctx, p); err != nil {
						n.fatal(err)
					}
					n.letGo()
				})
			}
		}
		n.noteExceeded(beyond)
		n.letGo()
	}
}

// evictDown evicts until the data is a little below the low mark, or no key is found that may go.
func (sh *shard) evictDown(ctx context.Context, p *evictionPolicy) error {
	keys := sh.engine.Keys()
	for ctx.Err() == nil && sh.group.CanRead() && !keys.Freeing() && sh.node.policy.Load() == p {
		m := sh.marks.Load()
		want := keys.Used() - (m.low - (m.bound-m.low)/4)
		if want <= 0 || m.bound == 0 {
			break
		}
		list, barren, err := sh.victims.Choose(p.rule, want, evictMost)
		if err != nil {
			return err
		}
		sh.barren.Store(barren)
		if len(list) == 0 || sh.proposeEviction(ctx, p.rule.Timed, list) != nil {
			break
		}
		if !sh.beyondBound() {
			sh.node.letGo()
		}
	}
	return nil
}

// proposeEviction deletes keys by name through the log and waits until that is applied.
func (sh *shard) proposeEviction(ctx context.Context, timed bool, keys []keyspace.Key) (err error) {
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
	err = sh.proposeAndWait(ctx, b)
	sh.node.evicted.Add(removed.keys)
	return err
}

// proposeAndWait takes a batch of the background's own through the log.
func (sh *shard) proposeAndWait(ctx context.Context, b *engine.Batch) error {
	done := make(chan error, 1)
	sh.group.Propose(&raftfsm.Proposal{Batch: b, Loop: backgroundLoop, Done: func(_ *raftfsm.Proposal, err error) { done <- err }})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.Join(<-done, ctx.Err())
	}
}

// noteExceeded counts the time in which data is beyond its bound.
func (n *node) noteExceeded(is bool) {
	e := &n.exceeded
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
	e := &n.exceeded
	e.Lock()
	defer e.Unlock()
	if !e.since.IsZero() {
		current = time.Since(e.since)
	}
	return e.total + current, current
}

// resetEvictions has the figures begin anew.
func (n *node) resetEvictions() {
	n.evicted.Store(0)
	e := &n.exceeded
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
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		for _, sh := range n.local() {
			if n.policy.Load().whole && !sh.engine.Keys().AllWarm() {
				sh.start(jobLoad, sh.loadWhole)
			}
		}
	}
}

// loadWhole loads what is in the shard's store alone, as far as it fits.
func (sh *shard) loadWhole(ctx context.Context) {
	keys := sh.engine.Keys()
	for db := range keyspace.Databases {
		for at := 0; ctx.Err() == nil && !keys.AllWarm(); {
			if !sh.node.policy.Load().whole || sh.beyondLow() {
				break
			}
			next, more, err := keys.LoadSome(db, at, sh.node.pace)
			if err != nil {
				sh.node.fatal(err)
				return
			}
			if at = next; !more {
				break
			}
		}
	}
}
