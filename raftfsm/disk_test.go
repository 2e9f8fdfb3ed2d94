package raftfsm

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// jam is what a disk does that answers nobody until it is released.
type jam struct{ until atomic.Pointer[chan struct{}] }

func (j *jam) begin() (release func()) {
	c := make(chan struct{})
	j.until.Store(&c)
	return func() {
		if j.until.CompareAndSwap(&c, nil) {
			close(c)
		}
	}
}

func (j *jam) wait() {
	if c := j.until.Load(); c != nil {
		<-*c
	}
}

type jammedStable struct {
	raft.StableStore
	jam *jam
}

func (s jammedStable) Set(key, value []byte) error {
	s.jam.wait()
	return s.StableStore.Set(key, value)
}

func (s jammedStable) SetUint64(key []byte, v uint64) error {
	s.jam.wait()
	return s.StableStore.SetUint64(key, v)
}

func TestDiskStallsBeyondTheBound(t *testing.T) {
	now := time.Duration(0)
	d := &disk{now: func() time.Duration { return now }, bound: time.Second}
	for _, c := range []struct {
		of     *underWay
		bytes  int
		passed time.Duration
		want   bool
	}{
		{&d.log, 0, time.Second, false},
		{&d.log, 0, time.Second + 1, true},
		{&d.stable, 0, time.Second + 1, true},
		{&d.log, 2 * diskPace, 3 * time.Second, false},
		{&d.log, 2 * diskPace, 3*time.Second + 1, true},
	} {
		now = 0
		got := false
		if err := d.during(c.of, c.bytes, func() error { now = c.passed; got = d.stalls(); return errNoWay }); !errors.Is(err, errNoWay) {
			t.Fatal(err)
		}
		if got != c.want || d.stalls() {
			t.Errorf("%+v: %v, afterwards %v", c, got, d.stalls())
		}
	}
}

// TestOverlappingWritesAreEachLookedAt: one that comes and goes hides none that hangs.
func TestOverlappingWritesAreEachLookedAt(t *testing.T) {
	now := time.Duration(0)
	d := &disk{now: func() time.Duration { return now }, bound: time.Second}
	_ = d.during(&d.stable, 0, func() error {
		now = 900 * time.Millisecond
		_ = d.during(&d.stable, 0, func() error {
			if now = time.Second + 1; !d.stalls() {
				t.Error("a later write hides the one that hangs")
			}
			return nil
		})
		if !d.stalls() {
			t.Error("a write that has ended hides the one that hangs")
		}
		return nil
	})
	if d.stalls() {
		t.Error("nothing is under way")
	}
}

func TestALeaderWhoseLogStallsGivesWay(t *testing.T) {
	jams := map[raft.ServerID]*jam{}
	_, leader, others := threeVoters(t, func(n *node) {
		j := &jam{}
		jams[n.opts.ID] = j
		n.log.onStore = func([]*raft.Log) error { j.wait(); return nil }
		n.opts.Timeouts.Stuck = 20 * time.Millisecond
	})
	release := jams[leader.opts.ID].begin()
	defer release()
	doubtful := leader.propose("doubtful")
	if err := doubtful.wait(t); !errors.Is(err, ErrIndeterminate) {
		t.Fatal(err)
	}
	if leader.group.CanRead() || leader.group.State() == raft.Leader || leader.group.LeaderTerm() != 0 {
		t.Fatal("a stalled leader takes itself for one")
	}
	refused := leader.propose("refused")
	if err := refused.wait(t); !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	if v, _ := leader.claim(); !errors.Is(<-v, ErrNotLeader) {
		t.Fatal("a stalled leader proves itself")
	}
	next := leads(t, others)
	if err := next.propose("certain").wait(t); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stalled leader knows of the next", func() bool {
		_, id := leader.group.Leader()
		return id == leads(t, others).opts.ID
	})
	release()
	all := append(others, leader)
	eventually(t, "the old leader follows", func() bool { return slices.Contains(leader.engine.commands(), "certain") })
	if err := leads(t, all).propose("afterwards").wait(t); err != nil && !errors.Is(err, ErrIndeterminate) && !errors.Is(err, ErrNotLeader) {
		t.Fatal(err)
	}
	eventually(t, "all agree", func() bool {
		return leader.stateIs(others[0].engine.commands()...)() && leader.stateIs(others[1].engine.commands()...)()
	})
	if slices.Contains(leader.engine.commands(), "doubtful") || slices.Contains(leader.engine.commands(), "refused") {
		t.Fatal(leader.engine.commands())
	}
	doubtful.once(t)
	refused.once(t)
}

// The leader hands its leadership on, and its stable store stalls while it writes down the term in which it would vote.
func TestALeaderWhoseStableStoreStallsGivesWay(t *testing.T) {
	jams := map[raft.ServerID]*jam{}
	_, leader, others := threeVoters(t, func(n *node) {
		j := &jam{}
		jams[n.opts.ID] = j
		n.opts.Stable = jammedStable{n.opts.Stable, j}
		n.opts.Timeouts.Stuck = 20 * time.Millisecond
	})
	release := jams[leader.opts.ID].begin()
	defer release()
	handed := make(chan error, 1)
	go func() {
		handed <- leader.group.TransferLeadership(others[0].opts.ID, raft.ServerAddress(others[0].opts.ID))
	}()
	next := leads(t, others)
	if err := next.propose("certain").wait(t); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a stalled leader does not serve", func() bool { return !leader.group.CanRead() }) // the other may have been faster
	release()
	<-handed // with whatever the library makes of it
	eventually(t, "the old leader follows", leader.stateIs("certain"))
}

// A sole voter has nobody to give way to: what is proposed waits for the disk.
func TestASoleVoterWaitsForItsDisk(t *testing.T) {
	n := newNode(t, "a")
	j := &jam{}
	n.log.onStore = func([]*raft.Log) error { j.wait(); return nil }
	n.opts.Timeouts.Disk = time.Millisecond
	n.open().ready()
	defer n.close()
	release := j.begin()
	o := n.propose("slow")
	eventually(t, "the disk stalls", n.group.disk.stalls)
	n.group.reapOnce(n.group.lookAtDisk(false))
	if !n.group.CanRead() || n.group.State() != raft.Leader || o.times.Load() != 0 {
		t.Fatal("a sole voter gives up")
	}
	release()
	if err := o.wait(t); err != nil {
		t.Fatal(err)
	}
}
