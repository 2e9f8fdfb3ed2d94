package raftfsm

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// disk knows for how long Raft's main goroutine has waited for the log or for the stable store. While it waits longer than
// Timeouts.Disk, this replica is stalled: the goroutines that send heartbeats do not need the disk, so that its followers
// would keep to a leader that can do nothing. A stalled leader
//
//	sends nothing, so that its followers elect another
//	serves no reads, and refuses proposals as a replica that does not lead does
//	answers what was proposed with ErrIndeterminate: it may be on the disk
//
// When the disk is back Raft's main goroutine finds that there is another leader, or goes on as the one it still is. A sole
// voter is never stalled: there is nobody else.
type disk struct {
	now         func() time.Duration
	bound       time.Duration
	log, stable underWay
}

// underWay is what of a kind is under way: writes to the stable store overlap, where one is a heartbeat's.
type underWay struct {
	mu    sync.Mutex
	began []time.Duration // what is large later than it was
}

func (u *underWay) begin(at time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.began = append(u.began, at)
}

func (u *underWay) end(at time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	i := slices.Index(u.began, at)
	u.began = slices.Delete(u.began, i, i+1)
}

// oldest is when what has been under way longest was begun; false: nothing is.
func (u *underWay) oldest() (at time.Duration, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.began) == 0 {
		return 0, false
	}
	return slices.Min(u.began), true
}

// diskPace is what a disk that works writes at least, bytes per second: what is large may take longer.
const diskPace = 16 << 20

// during has do under way.
func (d *disk) during(of *underWay, bytes int, do func() error) error {
	at := d.now() + time.Duration(bytes)*time.Second/diskPace
	of.begin(at)
	defer of.end(at)
	return do()
}

// stalls says whether the disk keeps Raft waiting for too long.
func (d *disk) stalls() bool {
	for _, of := range []*underWay{&d.log, &d.stable} {
		if at, ok := of.oldest(); ok && d.now()-at > d.bound {
			return true
		}
	}
	return false
}

// watchedStable tells the disk about writes.
type watchedStable struct {
	raft.StableStore
	disk *disk
}

// Set writes a value.
func (s watchedStable) Set(key, value []byte) error {
	return s.disk.during(&s.disk.stable, len(value), func() error { return s.StableStore.Set(key, value) })
}

// SetUint64 writes a number.
func (s watchedStable) SetUint64(key []byte, v uint64) error {
	return s.disk.during(&s.disk.stable, 0, func() error { return s.StableStore.SetUint64(key, v) })
}

// stalled says whether this replica waits for its disk and others could lead instead.
func (g *Group) stalled() bool { return g.disk.stalls() && !g.IsSoleVoter() }

// lookAtDisk is the reaper's part in a stall: it answers what hangs, and has leadership looked at when the stall begins and
// ends.
func (g *Group) lookAtDisk(was bool) (is bool) {
	is = g.stalled()
	if is && !was {
		g.opts.Logger.Error("the disk does not answer: this replica does not lead until it does", "shard", g.opts.Group,
			"longer-than", g.opts.Timeouts.Disk)
	}
	if was && !is {
		g.opts.Logger.Warn("the disk answers again", "shard", g.opts.Group)
	}
	if is != was {
		select {
		case g.changes <- false:
		default: // somebody is about to look
		}
	}
	return is
}
