package raftfsm

import (
	"testing"

	"github.com/hashicorp/raft"
)

// TestEntriesForLearnersGather: while somebody catches up, for learners, and for one that lags while there is no hurry.
func TestEntriesForLearnersGather(t *testing.T) {
	n := newNode(t, "a").open().ready()
	defer n.close()
	if err := n.group.raft().AddNonvoter("b", "b", 0, 0).Error(); err != nil {
		t.Fatal(err)
	}
	transport := &lentTransport{group: n.group}
	n.group.opts.PinBytes = 1 << 20
	want := func(gathers bool, to raft.ServerID, sent int) {
		t.Helper()
		if transport.gathers(to, &raft.AppendEntriesRequest{PrevLogEntry: 1, Entries: make([]*raft.Log, sent)}) != gathers {
			t.Errorf("%d entries sent to %s: %v", sent, to, !gathers)
		}
	}
	want(false, "b", 1) // nobody catches up
	x := &openCheckpoint{}
	if err := n.group.pins.open(x, func() (uint64, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	want(true, "b", 1)
	want(true, "b", caughtUp-1)
	want(true, "b", caughtUp) // it lags
	n.group.opts.PinBytes = 0
	want(false, "b", caughtUp) // by more than is kept
	want(true, "b", caughtUp-1)
	want(false, "b", 0) // a heartbeat
	want(false, "a", 1) // a voter
	want(false, "c", 1)
	n.group.pins.follow("c", 1)
	n.group.pins.close(x)
	want(true, "b", 1)
	n.group.pins.advance("c", 100, 100)
	want(false, "b", 1)
	n.group.pins.follow("c", 1)
	want(true, "b", 1)
	n.group.pins.forget()
	want(false, "b", 1)
}
