package raftfsm

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// reach has entries for a follower that does not answer wait until it does. Raft would send them again and again, and after
// each failure pause longer, in the end for ten seconds: so a node that comes back would lack what its group writes for as
// long as it was away, and the group would bear no further loss meanwhile. Heartbeats go on without such pauses, so it is
// they that say when to send again.
type reach struct {
	mu struct {
		sync.Mutex
		waiting map[raft.ServerID]chan struct{} // closed when the follower answers
	}
}

// holdEntries bounds the wait: Raft counts a failure then, and looks whether it is still to send to this follower.
const holdEntries = time.Minute

// next is closed once the follower has answered something from now on.
func (r *reach) next(id raft.ServerID) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.mu.waiting[id]
	if c == nil {
		if r.mu.waiting == nil {
			r.mu.waiting = map[raft.ServerID]chan struct{}{}
		}
		c = make(chan struct{})
		r.mu.waiting[id] = c
	}
	return c
}

// answers says that the follower has answered.
func (r *reach) answers(id raft.ServerID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.mu.waiting[id]; c != nil {
		close(c)
		delete(r.mu.waiting, id)
	}
}

// hold waits until the follower answers, the instance stops or the bound is reached.
func (i *instance) hold(answered <-chan struct{}) {
	bound := time.NewTimer(holdEntries)
	defer bound.Stop()
	select {
	case <-answered:
	case <-i.context.Done():
	case <-bound.C:
	}
}
