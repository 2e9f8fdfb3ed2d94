package server

import (
	"slices"
	"time"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/server/resp"
)

// While a slot goes from shard to shard there are some milliseconds in which nobody answers for it, and then the map here
// may be behind for a moment. Commands on its keys are not run in that time, and their clients need not know: they wait.
//
//	before   A command that is about to be run looks whether the shard owns its slot. If not, its session takes no further
//	         command until that has changed, and begins anew: by then another node may be the one to ask.
//	behind   What was in flight when the slot was frozen comes back refused. It keeps its place among the session's calls,
//	         and is run once more in the same way, without the client.
//
// Who has waited in vain for too long is told TRYAGAIN: nothing was done.

const (
	slotLook     = time.Millisecond // how often those who wait are looked after, where they are few
	slotLooks    = 64               // for each so many of them that time is added once
	slowestLook  = 10 * time.Millisecond
	slotPatience = 2 * time.Second
	tryAgain     = "TRYAGAIN the slot is on its way to another shard: try again"
)

// slotWait is what a session's next command waits for: that a shard here does not own a slot any more, or not yet, changes; or
// that the slot's shard has a leader.
type slotWait struct {
	shard *shard // nil: a leader is waited for, and the slot is all there is
	slot  uint16
	state keyspace.SlotState // as it was met
	leads bool               // this node led the shard
	until time.Time
}

func (s *session) isOver(w *slotWait, now time.Time) bool {
	if w.shard == nil {
		return !s.lacksLeader(w.slot, now)
	}
	r := w.shard.node.routing.Load()
	return w.shard.engine.SlotState(w.slot) != w.state || r.owners[r.slots[w.slot]].shard != w.shard.id ||
		w.shard.leads() != w.leads || w.shard.ctx.Err() != nil || !now.Before(w.until)
}

// refusedCall is a call that was refused in its entry, and is to be run once more.
type refusedCall struct {
	note  note
	row   *command.Command
	db    int
	args  [][]byte
	local bool // it rides along with an entry, which does not hold it
	slot  uint16
	until time.Time
}

// lacks says whether a command of a slot has to wait since the shard does not own it.
func (ls *loopShard) lacks(slot int) (r engine.Refusal, lacks bool) {
	if slot == noSlot {
		return r, false
	}
	r = engine.Refusal{Slot: uint16(slot), State: ls.shard.engine.SlotState(uint16(slot))}
	return r, r.State != keyspace.Owned
}

// awaitSlot has the session wait with its next command, for execute to return; or it answers that it has waited long enough.
func (s *session) awaitSlot(e *entry, sh *shard, r engine.Refusal) bool {
	s.loop.endRead()
	now := time.Now()
	if s.slotUntil.IsZero() {
		s.slotUntil = now.Add(slotPatience)
	}
	if !now.Before(s.slotUntil) {
		s.slotUntil = time.Time{}
		return s.redirect(e, int(r.Slot), tryAgain)
	}
	s.slotWait = &slotWait{shard: sh, slot: r.Slot, state: r.State, leads: sh.leads(), until: s.slotUntil}
	s.loop.lookAfter(s)
	return false
}

// lookAfter has the loop look every now and then whether the session may go on.
func (l *loop) lookAfter(s *session) {
	if s.lookedAfter {
		return
	}
	s.lookedAfter = true
	l.slotWaits = append(l.slotWaits, s)
	l.lookLater()
}

// lookLater has the sessions that wait looked after, unless that is about to be done already.
func (l *loop) lookLater() {
	if l.looksLater || len(l.slotWaits) == 0 {
		return
	}
	l.looksLater = true
	look := min(slowestLook, slotLook*time.Duration(1+len(l.slotWaits)/slotLooks))
	time.AfterFunc(look, func() { l.loop.Post(l.lookAtSlots) })
}

// lookAtSlots looks whether sessions that wait for slots may go on.
func (l *loop) lookAtSlots() {
	list := l.slotWaits
	l.slotWaits = nil
	now := time.Now()
	for _, s := range list {
		s.lookedAfter = false
		if !s.closed && !s.slotsAreThere(now) {
			l.lookAfter(s)
		}
	}
	l.looksLater = false
	l.lookLater()
}

// slotsAreThere runs what may run once more. It returns false if something has to wait on.
func (s *session) slotsAreThere(now time.Time) bool {
	s.runRefused(now)
	if s.slotWait != nil && s.isOver(s.slotWait, now) {
		s.slotWait = nil
	}
	if s.slotWait != nil || len(s.refused) > 0 {
		return false
	}
	s.goOn()
	if s.slotWait == nil {
		s.slotUntil = time.Time{}
	}
	return true
}

// refusedIn reads an error reply of the engine's; false: it is none of a refusal.
func refusedIn(reply []byte) (r engine.Refusal, refused bool) {
	if len(reply) < 3 || reply[0] != '-' {
		return r, false
	}
	return engine.ParseRefusal(string(reply[1 : len(reply)-2]))
}

// refused takes a call that came back refused, the i-th of the batch.
func (b *batch) refused(i int, r engine.Refusal) {
	n := b.notes[i]
	s := n.session
	if n.exec != nil && n.exec.watcher != nil { // a watched key may be another shard's by now
		w := resp.Writer{RESP3: n.resp3}
		w.NullArray()
		n.exec.answered(n.number, w.Buf, true)
		return
	}
	if s.closed || s == b.loop.nobody {
		s.answered(n.number, noSlot, nil)
		return
	}
	call := b.commands.Calls()[i]
	c := &refusedCall{note: n, row: call.Row, db: call.DB, local: call.Local, slot: r.Slot, until: time.Now().Add(slotPatience)}
	c.note.failed, c.note.end, c.note.took = false, 0, 0
	if n.exec != nil {
		c.args = n.exec.args
	} else {
		if b.args == nil {
			b.args = b.commands.AllArgs()
		}
		c.args = cloneArgs(b.args[i])
	}
	if s.early.behind(n.number, int(r.Slot)) {
		c.answer(tryAgain) // a later one on the slot was done already
		return
	}
	at, _ := slices.BinarySearchFunc(s.refused, n.number, func(c *refusedCall, number uint64) int {
		if c.note.number < number {
			return -1
		}
		return 1
	})
	s.refused = slices.Insert(s.refused, at, c)
	s.loop.lookAfter(s)
}

// overtaken answers those of the session's refused calls that a later one on the same slot has overtaken: to run them now
// would turn the order round.
func (s *session) overtaken(by *note) {
	s.refused = slices.DeleteFunc(s.refused, func(c *refusedCall) bool {
		if int(c.slot) != by.slot || c.note.number > by.number {
			return false
		}
		c.answer(tryAgain)
		return true
	})
}

// answer ends the call with an error.
func (c *refusedCall) answer(why string) {
	s := c.note.session
	s.loop.stats[c.note.entry.id].failed++
	w := resp.Writer{RESP3: c.note.resp3}
	w.Error(why)
	s.server.errors.count(w.ErrorCode())
	if c.note.silent {
		w.Buf = nil
	}
	if c.note.exec != nil {
		c.note.exec.answered(c.note.number, w.Buf, true)
		return
	}
	s.answered(c.note.number, noSlot, w.Buf)
}

// runRefused runs the session's refused calls once more, in their order, as far as they may. What came behind them and is
// still in flight is waited for: it may be done already.
func (s *session) runRefused(now time.Time) {
	if int(s.unfinished()) > len(s.refused)+s.early.count {
		return
	}
	list := s.refused
	s.refused = nil
	for i, c := range list {
		if s.closed {
			return
		}
		if !s.runOnceMore(c, now) {
			s.refused = append(s.refused, list[i:]...)
			return
		}
	}
}

// runOnceMore puts a refused call into a batch again, or answers it; false: it has to wait.
func (s *session) runOnceMore(c *refusedCall, now time.Time) bool {
	ls, why := s.here(s.server.node.routing.Load(), int(c.slot), c.local)
	if why == noLeader && now.Before(c.until) {
		return false
	}
	if why == "" {
		if _, lacks := ls.lacks(int(c.slot)); lacks {
			if now.Before(c.until) {
				return false
			}
			why = tryAgain
		}
	}
	if why != "" {
		c.answer(why)
		return true
	}
	b := ls.batch(inEntry(c.args))
	if b == nil {
		return false
	}
	if c.local {
		b.commands.AddRead(c.row, c.db, c.args)
	} else {
		b.commands.AddWrite(c.row, c.db, c.args)
	}
	b.notes = append(b.notes, c.note)
	return true
}

// taker is a shard here to which slots are on their way: where it owns them already, it answers for them, whatever the
// map here says.
type taker struct {
	slots []cluster.Range
	shard *shard
}

// taken is the shard here that owns a slot which the map gives to another one; nil: none does.
func (r *routing) taken(slot int) *shard {
	for i := range r.takers {
		t := &r.takers[i]
		for _, span := range t.slots {
			if int(span.From) <= slot && slot <= int(span.To) && t.shard.leads() && t.shard.engine.SlotState(uint16(slot)) == keyspace.Owned {
				return t.shard
			}
		}
	}
	return nil
}
