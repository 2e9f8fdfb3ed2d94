package raftfsm

import (
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/raft"
)

// idleLooks is how many times longer the reaper sleeps while nothing is in flight: many idle shards should cost little.
const idleLooks = 4

// reap answers what the FSM does not: proposals that were refused, those whose entry Raft has given up, and those that
// take too long. In the normal case it has nothing to do, and nothing wakes it for a batch.
func (g *Group) reap() {
	often := max(g.opts.Timeouts.Stuck/2, time.Millisecond)
	timer := time.NewTimer(often)
	defer timer.Stop()
	stalled := false
	for {
		select {
		case <-timer.C:
		case <-g.wakeReaper:
		case <-g.stop:
			return
		}
		stalled = g.lookAtDisk(stalled)
		g.settleMemory()
		g.reapOnce(stalled)
		if stalled || g.inFlight.len() > 0 || g.proof.isAwaited() {
			timer.Reset(often)
		} else {
			timer.Reset(idleLooks * often)
		}
	}
}

func (g *Group) reapOnce(stalled bool) {
	g.gate.openIfStuck()
	g.proof.nudge()
	g.proof.expire(g.opts.Uptime() - g.opts.Timeouts.Proof)
	for _, r := range g.inFlight.takeRefused() {
		r.proposal.Done(r.proposal, r.err)
	}
	_, now := g.clock.read(0)
	stuck := now - g.opts.Timeouts.Stuck
	if g.raft().State() != raft.Leader {
		stuck = math.MaxInt64
	}
	g.inFlight.ask(stuck, g.stuck)
	before := now - g.opts.Timeouts.Proposal
	err := fmt.Errorf("%w: not committed within %v", ErrIndeterminate, g.opts.Timeouts.Proposal)
	if stalled {
		before, err = math.MaxInt64, fmt.Errorf("%w: %w", ErrIndeterminate, errStalled)
	}
	expired := g.inFlight.expire(before)
	if stalled {
		g.proof.leadershipMayHaveChanged()
	}
	for _, p := range expired {
		p.Done(p, err)
	}
}

// askFutures waits for the answers of Raft that the reaper wants to know, one after the other: Raft answers in about the
// order in which it was asked, and has answered all before it stops (Close waits for that).
func (g *Group) askFutures() {
	for {
		select {
		case q := <-g.stuck:
			err := q.future.Error()
			if err != nil {
				g.gate.open()
			}
			p, f, ok := g.inFlight.take(q.number)
			if ok {
				g.landed(f)
			}
			if p != nil {
				p.Done(p, proposalError(err))
			}
		case <-g.stop:
			return
		}
	}
}

// answerAll answers whatever is left, once Raft has stopped.
func (g *Group) answerAll(err error) {
	g.inFlight.finish()
	for _, p := range g.inFlight.expire(math.MaxInt64) {
		p.Done(p, err)
	}
	for _, r := range g.inFlight.takeRefused() {
		r.proposal.Done(r.proposal, r.err)
	}
}
