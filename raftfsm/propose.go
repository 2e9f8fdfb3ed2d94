package raftfsm

import (
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
)

// Proposal is a batch on its way through the log. The caller owns and pools it; between Propose and Done it is the
// group's.
type Proposal struct {
	// Batch is what is proposed. It may be empty: then it is a barrier that costs an entry.
	Batch *engine.Batch
	// Loop names the event loop, for the entry's origin.
	Loop uint32
	// Done is called exactly once: with nil by the goroutine that applies, right after the replies are complete, or with
	// an error by another; never from within Propose, unless the group is closed. It must not wait for the group, and
	// after it the group uses neither the proposal nor its Replies any more. After ErrIndeterminate, though, Raft may
	// still read the entry's bytes: drop the batch then, do not Reset it for its next use.
	Done func(p *Proposal, err error)

	number uint64 // while it is the group's
}

// Propose stamps the batch's entry, registers it and hands it to Raft. It never waits. This is the only place that
// calls raft.Apply.
func (g *Group) Propose(p *Proposal) {
	f := g.filter.of(p.Batch)
	g.order.Lock()
	defer g.order.Unlock()
	g.propose(p, f)
}

// propose is called with order held, so that batches go to Raft in the order in which the filter learns of them.
func (g *Group) propose(p *Proposal, f engine.Footprint) {
	now, since := g.clock.read(g.opts.Engine.Clock())
	number, err := uint64(0), ErrNotLeader
	switch {
	case p.Batch.EntrySize() > g.opts.MaxEntry: // Raft gives up its leadership when the log refuses an entry
		err = ErrTooLarge
	case g.State() == raft.Leader:
		number, err = g.inFlight.add(p, f, since)
	}
	if err != nil {
		if !g.inFlight.refuse(p, err) {
			p.Done(p, ErrClosed)
		}
		wakeUp(g.wakeReaper)
		return
	}
	g.filter.add(f)
	entry := p.Batch.Seal(engine.Header{
		Clock:  now,
		Seed:   g.opts.Random(),
		Origin: engine.Origin{Node: g.opts.Node, Loop: p.Loop, Group: g.opts.Group, Batch: number},
	})
	p.number = number
	g.gate.pass(sealed{number, entry}) // from here on p may be done already, and in use again
}

// Recall takes a proposal back that still waits for the round before it: then the batch is its caller's again, who may add
// to it and propose it anew, and Done is not called for it. It returns false if the proposal has gone to Raft or is done.
// Only who proposed it may call this, and only before it has seen Done. So what comes while a sync is under way goes with
// the next one, in one entry.
func (g *Group) Recall(p *Proposal) bool {
	if !g.gate.recall(p.number) {
		return false
	}
	taken, f, ok := g.inFlight.take(p.number)
	if ok {
		g.landed(f)
	}
	return taken != nil
}

// toRaft is the gate's way out.
func (g *Group) toRaft(s sealed) {
	future := g.raft().Apply(s.entry, 0)
	g.inFlight.handedOver(s.number, future)
}

// wakeUp fills a channel of one place.
func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
