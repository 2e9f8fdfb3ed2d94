package raftfsm

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// CanRead says whether this node leads and a Barrier of its own term has been applied here: only then does the state
// hold every entry that earlier leaders committed. That it still leads at this moment is not proven by it: see Prove.
func (g *Group) CanRead() bool {
	_, ok := g.serves()
	return ok
}

// serves is CanRead, and the term.
func (g *Group) serves() (term uint64, ok bool) {
	term, ok = g.leads()
	return term, ok && g.provenTerm.Load() == term
}

// leads returns the term in which this replica leads.
func (g *Group) leads() (term uint64, ok bool) {
	for {
		r := g.raft()
		term = r.CurrentTerm()
		if r.State() != raft.Leader || g.stalled() {
			return 0, false
		}
		if r.CurrentTerm() == term {
			return term, true
		}
	}
}

// Uptime is the monotonic time that Proven and Prove go by.
func (g *Group) Uptime() time.Duration { return g.opts.Uptime() }

// Proven is up to which moment it is proven that this replica led: a read that arrived by then may be answered from its
// state as it is now. It is negative if this replica does not serve. A replica that is a quorum by itself proves all.
func (g *Group) Proven() time.Duration { return g.proof.proven() }

// ServesAlone says that this replica serves and is a quorum by itself, so that whatever arrives is proven: it is Proven for
// those who ask for every command. It may say no where Proven would say yes.
func (g *Group) ServesAlone() bool {
	alone := g.proof.alone.Load()
	if alone == 0 {
		return g.Proven() >= 0 && g.proof.alone.Load() != 0
	}
	term, ok := g.serves()
	return ok && term == alone
}

// Prove calls done once: with nil as soon as Proven is at or behind after, and with ErrNotLeader, ErrUnproven after the
// time-out Proof, ErrBusy or ErrClosed if that will not be. It may call it before it returns or from any goroutine, and done
// must not wait. Those who wait at the same time share the messages that it takes.
func (g *Group) Prove(after time.Duration, done func(error)) { g.proof.prove(after, done) }

// Votes says whether the latest configuration has this replica as a voter.
func (g *Group) Votes() bool {
	f := g.raft().GetConfiguration() // a copy that is at hand: the future is answered already
	return f.Error() == nil && slices.ContainsFunc(f.Configuration().Servers, func(s raft.Server) bool {
		return s.ID == g.opts.ID && s.Suffrage == raft.Voter
	})
}

// IsSoleVoter says whether the latest configuration has this replica as its only voter.
func (g *Group) IsSoleVoter() bool {
	f := g.raft().GetConfiguration() // a copy that is at hand: the future is answered already
	if f.Error() != nil {
		return false
	}
	voters, self := 0, false
	for _, s := range f.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters++
			self = self || s.ID == g.opts.ID
		}
	}
	return self && voters == 1
}

// standAtOnce tells a sole voter's Raft that it is time to stand, so that a restart does not wait for a leader that can
// only be itself. Should it fail, the heartbeat's time-out comes to the same.
func (g *Group) standAtOnce() {
	if err := g.sentry.stand(g.opts.ID); err != nil {
		g.opts.Logger.Warn("the shard's only voter waits for its election time-out", "shard", g.opts.Group, "error", err)
	}
}

// watchLeadership proves each new leadership with a Barrier and tells of the changes. Raft's main goroutine waits until
// it has taken a change from the channel, so it takes them at once: the Barrier is waited for elsewhere.
func (g *Group) watchLeadership(changes <-chan bool) {
	serving, proving := false, false
	proofs := make(chan uint64, 1)
	var again <-chan time.Time
	for {
		select {
		case <-changes:
			g.gate.open()
			wakeUp(g.wakeReaper)
			g.proof.leadershipMayHaveChanged()
		case term := <-proofs:
			proving = false
			if term != 0 {
				g.provenTerm.Store(term)
				g.proof.settle()
			} else {
				again = time.After(proofPause)
			}
		case <-again:
			again = nil
		case <-g.stop:
			if serving {
				g.opts.OnLeadership(false)
			}
			return
		}
		if now := g.CanRead(); now != serving {
			serving = now
			g.opts.OnLeadership(now)
		}
		g.tellServed()
		if !serving && !proving && again == nil && g.State() == raft.Leader && g.inFlight.hold() {
			proving = true
			g.goroutines.Go(func() { proofs <- g.prove() })
		}
	}
}

// proofPause keeps a leader whose Barriers fail at once (it is handing its leadership on) from trying without rest.
const proofPause = 10 * time.Millisecond

// prove has a Barrier applied and returns the term it belongs to, or 0. Terms only grow, so a Barrier between two looks
// at the same term was proposed and committed in it.
func (g *Group) prove() uint64 {
	defer g.inFlight.release()
	before := g.raft().CurrentTerm()
	if g.raft().Barrier(0).Error() != nil || g.raft().CurrentTerm() != before {
		return 0
	}
	return before
}

func (g *Group) servedChanged() <-chan struct{} {
	g.served.Lock()
	defer g.served.Unlock()
	return g.served.changed
}

func (g *Group) tellServed() {
	g.served.Lock()
	defer g.served.Unlock()
	close(g.served.changed)
	g.served.changed = make(chan struct{})
}
