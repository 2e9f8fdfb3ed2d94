package raftfsm

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// How much of the log is kept below A:
//
//	the only member                nothing
//	others are members             Options.KeepBytes, so that one that was away for a moment needs no snapshot
//	one is being sent a snapshot   from the snapshot's A on, up to Options.PinBytes,
//	or catching up behind it       or from what it has acknowledged
//
// So a follower that is sent a snapshot finds the entries behind it, however many checkpoints the leader takes meanwhile.

// logPins say from where on the log is to be kept for followers.
type logPins struct {
	count  atomic.Int32 // of followers that catch up
	needed atomic.Bool  // by one of those, or by one that is being sent a snapshot
	mu     struct {
		sync.Mutex
		open     map[*openCheckpoint]uint64 // being sent: A
		catching map[raft.ServerID]uint64   // installed: the last entry that is known to be there
	}
}

// caughtUp is how many entries a follower may lack and still count as caught up: those of one message.
const caughtUp = 64

// open keeps the log from the index that pin returns. While pin runs all of it is kept.
func (p *logPins) open(x *openCheckpoint, pin func() (uint64, error)) error {
	p.set(x, 0)
	index, err := pin()
	if err != nil {
		p.close(x)
		return err
	}
	p.set(x, index)
	return nil
}

func (p *logPins) set(x *openCheckpoint, index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.open == nil {
		p.mu.open = make(map[*openCheckpoint]uint64)
	}
	p.mu.open[x] = index
	p.countLocked()
}

func (p *logPins) countLocked() {
	p.count.Store(int32(len(p.mu.catching)))
	p.needed.Store(len(p.mu.open)+len(p.mu.catching) > 0)
}

// close ends what open began.
func (p *logPins) close(x *openCheckpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.mu.open, x)
	p.countLocked()
}

// follow keeps the log for a follower that has everything up to index.
func (p *logPins) follow(id raft.ServerID, index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.catching == nil {
		p.mu.catching = make(map[raft.ServerID]uint64)
	}
	p.mu.catching[id] = index
	p.countLocked()
}

// holds says whether the log is kept for a follower that catches up.
func (p *logPins) holds(id raft.ServerID) bool {
	if p.count.Load() == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.mu.catching[id]
	return ok
}

// advance notes that a follower has everything up to index, at a time when so much was committed.
func (p *logPins) advance(id raft.ServerID, index, committed uint64) {
	if p.count.Load() == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.mu.catching[id]; !ok {
		return
	}
	if p.mu.catching[id] = index; index+caughtUp >= committed {
		delete(p.mu.catching, id)
		p.countLocked()
	}
}

// forget lets the log go that is kept for followers that catch up: this node leads them no more.
func (p *logPins) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.mu.catching)
	p.countLocked()
}

// lowest is from where on the log is to be kept; ok is false if that is nowhere.
func (p *logPins) lowest() (index uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.mu.open {
		if !ok || at < index {
			index, ok = at, true
		}
	}
	for _, at := range p.mu.catching {
		if !ok || at < index {
			index, ok = at, true
		}
	}
	return index, ok
}

// keepFrom is the first entry to be kept when the log may be cut below the checkpoint at index.
func (g *Group) keepFrom(index uint64) uint64 {
	if g.raft().State() != raft.Leader {
		g.pins.forget()
	}
	keep := index
	if !g.isAlone() {
		keep = min(keep, g.opts.Log.Behind(index, g.opts.KeepBytes))
	}
	if pinned, ok := g.pins.lowest(); ok && pinned < keep {
		bound := g.opts.Log.Behind(index, g.opts.PinBytes)
		if pinned < bound {
			g.opts.Logger.Warn("the log is not kept any longer for a follower that catches up slowly", "shard", g.opts.Group,
				"from", pinned, "cut-below", bound)
		}
		keep = min(keep, max(pinned, bound))
	}
	return keep
}

// cutLog cuts the log below an index at or below the checkpoint's, as far as nobody needs it.
func (g *Group) cutLog(below, durable uint64) error {
	err := g.opts.Log.CutBelow(min(below, g.keepFrom(durable)))
	g.countKept()
	return err
}

// CutLog cuts the log below the last checkpoint as far as nobody needs it. A checkpoint does that too; here it has the log
// carry forward what a quiet shard keeps, so that old files can go.
func (g *Group) CutLog() error {
	durable, _, _, _, ok := g.opts.Engine.Durable()
	if !ok {
		return nil
	}
	if err := g.cutLog(durable, durable); err != nil {
		return fmt.Errorf("shard %d: %w", g.opts.Group, err)
	}
	return nil
}

func (g *Group) countKept() {
	durable, _, _, _, _ := g.opts.Engine.Durable()
	g.kept.Store(g.opts.Log.BytesBelow(durable))
}

// LogSinceCheckpoint is how many bytes of the log a restart would replay.
func (g *Group) LogSinceCheckpoint() int64 { return max(0, g.opts.Log.Bytes()-g.kept.Load()) }

// LogKept is how much of the node's log may be kept for this group's other members, bytes: more than that, and than what
// comes behind the last checkpoint, is not meant to stay.
func (g *Group) LogKept() int64 {
	if _, pinned := g.pins.lowest(); pinned {
		return max(g.opts.PinBytes, g.opts.KeepBytes)
	}
	if g.isAlone() {
		return 0
	}
	return g.opts.KeepBytes
}

// isAlone says whether the latest configuration has nobody but this replica.
func (g *Group) isAlone() bool {
	f := g.raft().GetConfiguration() // a copy that is at hand
	servers := f.Configuration().Servers
	return f.Error() == nil && (len(servers) == 0 || len(servers) == 1 && servers[0].ID == g.opts.ID)
}
