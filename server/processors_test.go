package server

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm"
)

func TestThrift(t *testing.T) {
	x := newThrift(8)
	look := func(want int, replicated bool, used float64, times int) {
		t.Helper()
		for i := range times {
			if got := x.look(replicated, used); got != want {
				t.Fatalf("%d processors instead of %d after %d looks", got, want, i+1)
			}
		}
	}
	look(8, false, 0, 100) // alone: all
	look(8, true, 0.5, easyLooks-1)
	look(4, true, 0.5, 1)
	look(4, true, 3.7, 100) // between the marks nothing changes
	look(4, true, 3.9, busyLooks-1)
	look(4, true, 3.7, 1)
	look(4, true, 3.9, busyLooks-1)
	look(8, true, 3.9, 1)
	look(8, true, 3.7, 100)
	look(8, true, 3.5, easyLooks-1)
	look(8, true, 3.7, 1)
	look(8, true, 3.5, easyLooks-1)
	look(4, true, 3.5, 1)
	look(8, false, 3.5, 1) // alone again
	if x := newThrift(1); x.few != 1 {
		t.Fatal(x.few)
	}
}

func TestSlowDisk(t *testing.T) {
	x := newThrift(2)
	look := func(want bool, n uint64, each time.Duration, times int) {
		t.Helper()
		for i := range times {
			if got := x.synced(n, time.Duration(n)*each, processorLook); got != want {
				t.Fatalf("slow: %v after %d looks", got, i+1)
			}
		}
	}
	look(false, 0, 0, 100)
	look(false, 400, 200*time.Microsecond, 100) // quick ones, however many
	look(false, 1, 60*time.Millisecond, 1)      // one that takes long
	look(false, 400, 200*time.Microsecond, 20)
	for range 10 { // one a second
		look(false, 1, 20*time.Millisecond, 1)
		look(false, 0, 0, 9)
	}
	look(true, 45, 2*time.Millisecond, 1)
	look(true, 45, 2*time.Millisecond, 100)
	look(true, 0, 0, 5)
	for range 20 {
		x.synced(400, 80*time.Millisecond, processorLook)
	}
	look(false, 400, 200*time.Microsecond, 1)
}

// TestMovesAsLeader: only a node that leads uses all its processors for what moves.
func TestMovesAsLeader(t *testing.T) {
	t.Parallel()
	ts := start(t)
	n := ts.node
	n.member.stop() // nobody else is to open and close shards
	n.member.following.Wait()
	n.moving.Store(false)
	if n.movesAsLeader() {
		t.Error("nothing moves")
	}
	n.moving.Store(true)
	if !n.movesAsLeader() {
		t.Error("its shard is led here")
	}
	ts.closeAgain(n.sole())
	if _, err := n.openShard(shardOptions{id: 2, self: raft.ServerID(n.member.id.Node), transport: raftfsm.NewLoopback("here:1"), seed: n.member.seed}); err != nil {
		t.Fatal(err)
	}
	if n.movesAsLeader() {
		t.Error("its shard is led by nobody")
	}
}
