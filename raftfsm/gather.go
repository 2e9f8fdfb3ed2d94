package raftfsm

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// A message costs its sender, its receiver and the receiver's disk much the same whether it bears one entry or many, and a follower is
// sent some thousand a second, each as soon as there is an entry. No write waits for what a learner acknowledges. So while a
// replica of the group is sent a snapshot or catches up behind one, learners are sent the entries of a few milliseconds at a time: what
// that saves is for the clients. One that lags is not sent all that it lacks at once either, unless there is too much of that.

// learnersWait is for how long entries gather then.
const learnersWait = 3 * time.Millisecond

// gathers says whether more entries are to gather before a replica that was just sent some is sent the next ones.
func (t *lentTransport) gathers(id raft.ServerID, q *raft.AppendEntriesRequest) bool {
	sent := len(q.Entries)
	if sent == 0 || !t.group.pins.needed.Load() || sent >= caughtUp && t.group.mustHurry(q.PrevLogEntry) {
		return false
	}
	return slices.ContainsFunc(t.group.proof.configuration().Servers, func(s raft.Server) bool {
		return s.ID == id && s.Suffrage != raft.Voter
	})
}

// gather waits while they do, but not for longer than the instance runs.
func (t *lentTransport) gather(id raft.ServerID, q *raft.AppendEntriesRequest) {
	if !t.gathers(id, q) {
		return
	}
	wait := time.NewTimer(learnersWait)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-t.instance.context.Done():
	}
}

// gatheringPipeline is a pipeline to a replica that may be a learner.
type gatheringPipeline struct {
	raft.AppendPipeline
	transport *lentTransport
	to        raft.ServerID
}

// AppendEntries sends a request and returns when the next one may follow.
func (p gatheringPipeline) AppendEntries(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f, err := p.AppendPipeline.AppendEntries(q, a)
	if err == nil {
		p.transport.gather(p.to, q)
	}
	return f, err
}
