package server

import (
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/raftfsm"
)

// lane is where a loop's transactions on a shard's watched keys wait until nothing in flight can touch those. It belongs to
// the loop's goroutine; others see in shard.waiting that there may be some.
type lane struct {
	queue  []*execution
	again  bool // something has changed since they were looked at
	flying bool // a batch of the lane is in flight
}

// triesAlone is after how many vain attempts everybody else has to wait for a transaction, so that others who go on trying to
// write its keys cannot keep it waiting for ever.
const triesAlone = 8

func (ls *loopShard) wait(x *execution) {
	ls.lane.queue = append(ls.lane.queue, x)
	ls.lane.again = true
	ls.shard.waiting[ls.loop.id].Store(true) // before it is looked at, so that nothing that lands meanwhile is missed
}

// wake has the lane looked at again at the end of the turn.
func (a *lane) wake() { a.again = len(a.queue) > 0 }

// sealLane proposes those of the lane's transactions that may go, as one batch, and ends those of which a key was touched.
func (ls *loopShard) sealLane() {
	a := &ls.lane
	if !a.again || a.flying || ls.shard.holdWrites() {
		return
	}
	a.again = false
	b := ls.loop.spareBatch(ls)
	var ended []*execution
	watches := ls.shard.watches
	proposed := ls.shard.group.ProposeAdmitted(&b.proposal, func(admission *raftfsm.Admission) bool {
		left := a.queue[:0]
		for _, x := range a.queue {
			switch {
			case x.session.closed:
				ended = append(ended, x)
			case !x.holds && watches.holding.Load() > 0 || b.full() || !b.takes(inEntry(x.args)):
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
	ls.shard.waiting[ls.loop.id].Store(len(a.queue) > 0)
	for _, x := range a.queue {
		if x.tries >= triesAlone && !x.holds {
			x.holds = true
			watches.holding.Add(1)
		}
	}
	goOn := make([]*session, 0, len(b.notes)+len(ended))
	if proposed {
		a.flying, b.lane = true, true
		ls.flight++
		for i := range b.notes {
			x := b.notes[i].exec
			x.leave()
			x.session.busy = x.played
			goOn = append(goOn, x.session)
		}
	} else {
		ls.loop.free = append(ls.loop.free, b)
	}
	for _, x := range ended {
		x.leave()
		x.abort()
		goOn = append(goOn, x.session)
	}
	ls.loop.goOnLater(goOn)
}

// goOnLater has sessions go on in the next turn.
func (l *loop) goOnLater(list []*session) {
	if len(list) == 0 {
		return
	}
	l.loop.Post(func() {
		for _, s := range list {
			s.goOn()
		}
	})
}

// emptyLane ends what waits in the lane of a shard that closes.
func (ls *loopShard) emptyLane() {
	queue := ls.lane.queue
	ls.lane.queue = nil
	ls.shard.waiting[ls.loop.id].Store(false)
	goOn := make([]*session, 0, len(queue))
	for _, x := range queue {
		x.leave()
		x.abort()
		goOn = append(goOn, x.session)
	}
	ls.loop.goOnLater(goOn)
}

// admit adds x to the batch if none of its keys was touched, or can be by what is in flight.
func (x *execution) admit(admission *raftfsm.Admission, b *batch) bool {
	if !admission.Free(x.cells) || x.watcher.dirty.Load() || admission.Term != x.watcher.term {
		return false
	}
	b.commands.AddWrite(command.Exec(), x.session.db, x.args)
	x.ride(b, x.slot)
	var f engine.Footprint
	f.Add(command.Exec(), x.args)
	admission.Admit(f)
	return true
}

// leave ends the waiting of x.
func (x *execution) leave() {
	x.session.unwatch()
	if sh := x.watcher.shard; x.holds && sh.watches.holding.Add(-1) == 0 {
		sh.node.eachLoop(func(l *loop) {
			if ls := l.kept(sh); ls != nil {
				ls.lane.wake()
				ls.seal()
			}
		})
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

// wakeLanes has all lanes looked at in which something of the shard's waits.
func (sh *shard) wakeLanes() {
	loops := sh.node.loops.Load()
	if loops == nil {
		return
	}
	for i, l := range *loops {
		if sh.waiting[i].Load() {
			l.loop.Post(func() {
				if ls := l.kept(sh); ls != nil {
					ls.lane.wake()
				}
			})
		}
	}
}
