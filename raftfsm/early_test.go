package raftfsm

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
)

// TestVotesWaitForTheGroup: Raft runs a moment before the group goes by it, and on a machine that pauses just then its time to
// stand may have come. What it asks of others looks at the group.
func TestVotesWaitForTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		s := newSentry(newTap("a"), &proof{})
		s.memory = &memory{}
		s.ballots.others = func() int {
			asked.Add(1)
			return 1
		}
		i := &instance{ready: make(chan struct{})}
		l := &lentTransport{sentry: s, instance: i}
		go func() { _ = l.RequestVote("b", "b", &raft.RequestVoteRequest{}, &raft.RequestVoteResponse{}) }()
		go func() { _ = l.RequestPreVote("b", "b", &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{}) }()
		synctest.Wait()
		if n := asked.Load(); n != 0 {
			t.Errorf("the group was looked at %d times before it goes by the instance", n)
		}
		close(i.ready)
		synctest.Wait()
		if n := asked.Load(); n != 2 {
			t.Errorf("%d were asked in the end", n)
		}
	})
}
