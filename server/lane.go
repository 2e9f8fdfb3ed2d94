package server

import (
	"sync/atomic"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/raftfsm"
)

// lane is where a loop's transactions with watched keys wait until nothing in flight can touch those. All of it but
// waiting belongs to the loop's goroutine.
type lane struct {
	queue   []*execution
	again   bool        // something has changed since they were looked at
	flying  bool        // a batch of the lane is in flight
	waiting atomic.Bool // there may be some
}

// triesAlone is after how many vain attempts everybody else has to wait for a transaction, so that others who go on trying to
// write its keys cannot keep it waiting for ever.
const triesAlone = 8

func (a *lane) add(x *execution) {
	a.queue = append(a.queue, x)
	a.again = true
	a.waiting.Store(true) // before it is looked at, so that nothing that lands meanwhile is missed
}

// wake has the lane looked at again at the end of the turn.
func (a *lane) wake() { a.again = len(a.queue) > 0 }

// sealLane proposes those of the lane's transactions that may go, as one batch, and ends those of which a key was touched.
func (l *loop) sealLane() {
	a := &l.lane
	if !a.again || a.flying || l.server.node.holdWrites() {
		return
	}
	a.again = false
	b := l.spareBatch()
	var ended []*execution
	watches := l.server.node.watches
	proposed := l.server.node.group.ProposeAdmitted(&b.proposal, func(admission *raftfsm.Admission) bool {
		left := a.queue[:0]
		for _, x := range a.queue {
			switch {
			case x.session.closed:
				ended = append(ended, x)
			case !x.holds && watches.holding.Load() > 0 || b.full():
				left = append(left, x)
			case x.admit(admission, b):
			case x.watcher.dirty.Load() || admission.Term != x.watcher.term: // read behind Free: what landed has marked it
				ended = append(ended, x)
			default:
				x.tries++
				left = append(left, x)
			}
		}
		clear(a.queue[len(left):])
		a.queue = left
		return len(b.notes) > 0
	})
	a.waiting.Store(len(a.queue) > 0)
	for _, x := range a.queue {
		if x.tries >= triesAlone && !x.holds {
			x.holds = true
			watches.holding.Add(1)
		}
	}
	goOn := make([]*session, 0, len(b.notes)+len(ended))
	if proposed {
		a.flying, b.lane = true, true
		l.flight++
		for i := range b.notes {
			x := b.notes[i].exec
			x.leave()
			x.session.busy = x.played
			goOn = append(goOn, x.session)
		}
	} else {
		l.free = append(l.free, b)
	}
	for _, x := range ended {
		x.leave()
		x.abort()
		goOn = append(goOn, x.session)
	}
	if len(goOn) > 0 {
		l.loop.Post(func() {
			for _, s := range goOn {
				s.goOn()
			}
		})
	}
}

// admit adds x to the batch if none of its keys was touched, or can be by what is in flight.
func (x *execution) admit(admission *raftfsm.Admission, b *batch) bool {
	if !admission.Free(x.cells) || x.watcher.dirty.Load() || admission.Term != x.watcher.term {
		return false
	}
	b.commands.AddWrite(command.Exec(), x.session.db, x.args)
	x.ride(b)
	var f engine.Footprint
	f.Add(command.Exec(), x.args)
	admission.Admit(f)
	return true
}

// leave ends the waiting of x.
func (x *execution) leave() {
	x.session.unwatch()
	if x.holds && x.session.server.node.watches.holding.Add(-1) == 0 {
		for _, l := range x.session.server.loops {
			l.loop.Post(func() {
				l.lane.wake()
				l.seal()
			})
		}
	}
}

// abort answers that a watched key was touched.
func (x *execution) abort() {
	s := x.session
	s.busy = false
	if s.closed {
		return
	}
	w := s.writer()
	w.NullArray()
	s.served(x.entry, w)
}

// wakeLanes has all lanes looked at in which something waits.
func (srv *Server) wakeLanes() {
	for _, l := range srv.loops {
		if l.lane.waiting.Load() {
			l.loop.Post(l.lane.wake)
		}
	}
}
