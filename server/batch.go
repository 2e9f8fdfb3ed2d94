package server

import (
	"errors"
	"time"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/server/resp"
)

// batch is what one loop proposes as one log entry: the commands of all connections that were ready in a turn, and
// whose they are. While it is in flight the goroutine that applies writes the replies into out, one behind the other;
// the loop hands them to the sessions when it has come back.
type batch struct {
	proposal raftfsm.Proposal
	commands engine.Batch
	loop     *loop
	of       *loopShard // whose entry it is to be
	notes    []note
	args     [][][]byte // of all calls, once they were asked for
	out      resp.Writer
	err      error
	lapped   time.Duration // when the last call ended
	complete func()        // posts to the loop; made once
	lane     bool          // it is the loop's lane's
}

// note says whose a call is.
type note struct {
	session *session
	number  uint64 // of the session's calls
	slot    int    // of its keys, if slots decide
	entry   *entry
	resp3   bool
	failed  bool
	silent  bool // the reply is not wanted (CLIENT REPLY)
	end     int  // where the reply ends in out
	took    time.Duration
	exec    *execution // the transaction that the call is, or nil
}

// Bounds of a batch: at this size it is sealed in the middle of a turn, or sessions wait.
const (
	batchBytes = 512 << 10
	batchCalls = 16384
	keepBytes  = 1 << 20 // buffers beyond are not kept for the next use
)

func newBatch(l *loop) *batch {
	b := &batch{loop: l}
	b.commands.Replies = b
	b.proposal = raftfsm.Proposal{Batch: &b.commands, Loop: uint32(l.id), Done: b.done}
	b.complete = func() { b.of.completed(b) }
	return b
}

// Begin implements engine.Replies.
func (b *batch) Begin(i int) reply.Writer {
	b.out.RESP3 = b.notes[i].resp3
	b.out.ResetErrors()
	if i == 0 {
		b.lapped = reading()
	}
	if x := b.notes[i].exec; x != nil {
		return x.begin(&b.out)
	}
	return &b.out
}

// End implements engine.Replies.
func (b *batch) End(i int) {
	if x := b.notes[i].exec; x != nil {
		x.out.finish()
	}
	b.notes[i].end = len(b.out.Buf)
	if b.out.Errors() > 0 {
		b.notes[i].failed = true
		if code := b.out.ErrorCode(); code != engine.RefusalCode {
			b.loop.server.errors.count(code)
		}
	}
	now := reading()
	b.notes[i].took = now - b.lapped
	b.lapped = now
}

// argsIfSlow are the arguments of a call that belongs in the slow log, nil of another.
func (b *batch) argsIfSlow(i int) [][]byte {
	if !b.loop.server.isSlow(b.notes[i].took) {
		return nil
	}
	return b.commands.Args(i)
}

// handOut gives every session its reply.
func (b *batch) handOut() {
	l, start := b.loop, 0
	if b.err == nil {
		l.led(b.of.shard.id)
	}
	calls, at := b.commands.Calls(), b.place()
	for i := range b.notes {
		n := &b.notes[i]
		if b.err != nil {
			why := "" // it certainly is not, and will not be, applied, since this node does not lead its shard any more
			if errors.Is(b.err, raftfsm.ErrNotLeader) {
				if why = n.session.servedElsewhere(n.slot); b.turnedBack(i, why) {
					continue
				}
			}
			var reply []byte
			switch {
			case n.silent:
			case n.session.turnsBack(b.err):
				reply = []byte(refusal)
			case why != "":
				reply = []byte("-" + why + "\r\n")
			default:
				reply = errorReply(b.err)
			}
			if n.exec != nil {
				n.exec.answered(n.number, reply, true)
				continue
			}
			n.session.answered(n.number, n.slot, reply)
			continue
		}
		reply := b.out.Buf[start:n.end]
		start = n.end
		if n.failed {
			if r, refused := refusedIn(reply); refused {
				b.refused(i, r)
				continue
			}
			l.stats[n.entry.id].failed++
		}
		if !calls[i].Local {
			n.session.wrote.note(at)
		}
		if len(n.session.refused) > 0 {
			n.session.overtaken(n)
		}
		if n.entry != l.server.expireEntry && n.exec == nil {
			n.session.took(n.entry, b.argsIfSlow(i), n.took)
		}
		if n.exec != nil {
			n.session.took(n.entry, nil, n.took) // its commands may be slow
			n.exec.answered(n.number, reply, false)
			continue
		}
		switch {
		case n.entry == l.server.expireEntry:
			l.server.node.expired.Add(integerReply(reply))
		case n.entry.looksUp:
			l.lookedUp(reply)
		}
		if n.silent {
			reply = nil
		}
		n.session.answered(n.number, n.slot, reply)
	}
}

// place is where the shard's log holds the batch, or a little behind it.
func (b *batch) place() position {
	return position{b.of.shard.id, b.of.shard.engine.AppliedIndex()}
}

// unanswer forgets the replies so far: all calls will run again.
func (b *batch) unanswer() {
	b.out.Buf = b.out.Buf[:0]
	for i := range b.notes {
		b.notes[i].failed = false
	}
}

// done is the proposal's Done: on the goroutine that applied, or the reaper's.
func (b *batch) done(_ *raftfsm.Proposal, err error) {
	b.err = err
	b.loop.loop.Post(b.complete)
}

func (b *batch) full() bool {
	return b.commands.Size() >= batchBytes || len(b.notes) >= batchCalls
}

// mostEntry bounds what a batch's entry takes; tests lower it.
var mostEntry = raftfsm.MaxEntry

// takes says whether the batch's entry can take so many bytes more.
func (b *batch) takes(bytes int) bool { return b.commands.EntrySize()+bytes <= mostEntry }

// inEntry is what a call takes of an entry, at most.
func inEntry(args [][]byte) int {
	bytes := 0
	for _, a := range args {
		bytes += len(a)
	}
	return engine.WriteBound(len(args), bytes)
}

// reset makes the batch ready for its next use.
func (b *batch) reset() {
	b.commands.Reset(keepBytes)
	clear(b.notes)
	b.notes = b.notes[:0]
	b.err, b.of, b.args = nil, nil, nil
	if b.out.Buf = b.out.Buf[:0]; cap(b.out.Buf) > keepBytes {
		b.out.Buf = nil
	}
}
