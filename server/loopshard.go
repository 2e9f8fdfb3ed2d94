package server

import (
	"errors"
	"time"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/raftfsm"
)

// loopShard is what an event loop keeps for one shard: the batch that it fills, those that are in flight, and who waits
// for them. It belongs to the loop's goroutine, comes to be when the loop first needs it, and is dropped before the shard
// closes; batches that are in flight then find their way back all the same.
type loopShard struct {
	loop  *loop
	shard *shard

	reader  *engine.Reader
	open    *batch
	last    *batch     // the one proposed last, while it is not done
	flight  int        // batches proposed and not done
	stalled []*session // sessions that wait for room in a batch
	lane    lane

	proven  time.Duration // up to when it is proven that this node led, by the group's uptime
	parked  []*session    // sessions that wait for a proof that nobody has asked for yet
	probing *batch        // reads alone that wait for one
}

// relaxedFlight is how many batches of a loop may be in flight when entries need not be synced before they are
// acknowledged.
const relaxedFlight = 4

func (ls *loopShard) allowed() int {
	if ls.loop.server.always.Load() {
		return 1
	}
	return relaxedFlight
}

// batch is the open batch, with room for one more call, which takes no more than so many bytes of an entry; nil if there is none
// now.
func (ls *loopShard) batch(bytes int) *batch {
	if ls.open != nil && (ls.open.full() || !ls.open.takes(bytes)) {
		ls.seal()
		if ls.open != nil {
			return nil
		}
	}
	if ls.open == nil && ls.last != nil && !ls.last.full() && ls.last.takes(bytes) && ls.shard.group.Recall(&ls.last.proposal) {
		ls.open, ls.last = ls.last, nil // it still waited for its turn: what comes now goes with it
		ls.flight--
	}
	if ls.open == nil {
		ls.open = ls.loop.spareBatch(ls)
	}
	return ls.open
}

// seal proposes the open batch, if enough of the earlier ones are done.
func (ls *loopShard) seal() {
	b := ls.open
	if b == nil || len(b.notes) == 0 || ls.probing != nil || ls.flight >= ls.allowed() || ls.shard.holdWrites() || ls.shard.watches.holding.Load() > 0 {
		return
	}
	if b.commands.Writes() == 0 {
		if ls.flight > 0 { // only reads that follow writes in flight: they wait for those, not for an entry
			return
		}
		ls.open = nil
		if !ls.shard.group.ServesAlone() {
			ls.probe(b)
			return
		}
		if ls.answerReads(b) {
			return
		}
	}
	ls.open = nil
	ls.propose(b)
}

// propose hands a batch to the group.
func (ls *loopShard) propose(b *batch) {
	ls.last = b
	ls.flight++
	ls.shard.group.Propose(&b.proposal)
}

// answerReads answers a batch of reads alone at once. It returns false if one of them needs an entry.
func (ls *loopShard) answerReads(b *batch) bool {
	ls.loop.beginRead(ls)
	defer ls.loop.endRead()
	ls.reader.SetNoTouch(false)
	for i, c := range b.commands.Calls() {
		outcome, err := ls.reader.Do(c.Row, c.DB, c.Args, b.Begin(i))
		if err != nil || outcome != engine.Answered {
			b.unanswer()
			return false
		}
		b.End(i)
	}
	ls.flight++ // completed takes it back
	ls.loop.loop.Post(b.complete)
	return true
}

// completed takes a batch back, hands out its replies and lets waiting sessions go on.
func (ls *loopShard) completed(b *batch) {
	ls.flight--
	if ls.last == b {
		ls.last = nil
	}
	if b.lane {
		b.lane, ls.lane.flying = false, false
		ls.lane.wake()
	}
	b.handOut()
	for i := range b.notes {
		b.notes[i].session.goOn()
	}
	if !errors.Is(b.err, raftfsm.ErrIndeterminate) { // else Raft may still read the entry's bytes
		b.reset()
		ls.loop.free = append(ls.loop.free, b)
	}
	ls.wakeStalled()
}

// wakeStalled lets the sessions go on that wait for room in a batch.
func (ls *loopShard) wakeStalled() {
	stalled := ls.stalled
	ls.stalled = nil
	for _, s := range stalled {
		s.stalled = false
		s.goOn()
	}
}

// dropped is called when the loop has forgotten the shard, which is about to close.
func (ls *loopShard) dropped() {
	if b := ls.open; b != nil {
		ls.open = nil
		ls.flight++ // completed takes it back
		b.err = raftfsm.ErrNotLeader
		ls.completed(b)
	}
	ls.wakeStalled()
	ls.emptyLane()
	parked := ls.parked
	ls.parked = nil
	unpark(parked)
}

// tooLarge answers a command that no entry of the log can hold.
const tooLarge = "ERR the command is too large for the log"

// errorReply words what became of a batch that was not applied, or may not have been.
func errorReply(err error) []byte {
	switch {
	case errors.Is(err, raftfsm.ErrIndeterminate):
		return indeterminateReply
	case errors.Is(err, raftfsm.ErrNotLeader):
		return []byte("-" + noLeader + "\r\n")
	case errors.Is(err, raftfsm.ErrTooLarge):
		return []byte("-" + tooLarge + "\r\n")
	case errors.Is(err, raftfsm.ErrNoRoom):
		return []byte("-" + misconf + "\r\n")
	case errors.Is(err, raftfsm.ErrClosed):
		return []byte("-ERR the server is shutting down\r\n")
	}
	return []byte("-TRYAGAIN " + err.Error() + "\r\n")
}
