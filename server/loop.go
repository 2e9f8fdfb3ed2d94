package server

import (
	"errors"
	"time"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/server/resp"
	"github.com/larder-db/larder/server/transport"
)

// loop is what the server keeps for each event loop. All of it belongs to the loop's goroutine.
type loop struct {
	server *Server
	loop   *transport.Loop
	id     int

	reader  *engine.Reader
	reading bool // the shared lock is held, for a run of reads of one session
	open    *batch
	last    *batch // the one proposed last, while it is not done
	free    []*batch
	flight  int        // batches proposed and not done
	stalled []*session // sessions that wait for room in a batch
	run     []taken    // room for the commands that a session takes together
	paused  []*session // sessions that wait for the end of a pause
	lane    lane
	out     resp.Writer // replies of reads and of the server's own commands

	stats    []commandStat // by entry.id
	lapped   time.Duration // when the clock was read last for a read's duration
	figures  loopFigures
	sessions map[uint64]*session
	nobody   *session // whose replies nobody waits for

	listening   map[*session]struct{} // who is subscribed
	away        map[*session]struct{} // whose commands the leader runs
	awaiting    []*waiting            // who waits for replicas
	acksWatched bool                  // they are about to be looked at
}

// relaxedFlight is how many batches of a loop may be in flight when entries need not be synced before they are
// acknowledged.
const relaxedFlight = 4

func (l *loop) allowed() int {
	if l.server.always.Load() {
		return 1
	}
	return relaxedFlight
}

// batch is the open batch, with room for one more call; nil if there is none now.
func (l *loop) batch() *batch {
	if l.open != nil && l.open.full() {
		l.seal()
		if l.open != nil {
			return nil
		}
	}
	if l.open == nil && l.last != nil && !l.last.full() && l.server.node.group.Recall(&l.last.proposal) {
		l.open, l.last = l.last, nil // it still waited for its turn: what comes now goes with it
		l.flight--
	}
	if l.open == nil {
		l.open = l.spareBatch()
	}
	return l.open
}

// spareBatch is an empty batch.
func (l *loop) spareBatch() (b *batch) {
	if n := len(l.free); n > 0 {
		b, l.free = l.free[n-1], l.free[:n-1]
		return b
	}
	return newBatch(l)
}

// seal proposes the open batch, if enough of the earlier ones are done.
func (l *loop) seal() {
	b := l.open
	if b == nil || len(b.notes) == 0 || l.flight >= l.allowed() || l.server.node.holdWrites() || l.server.node.watches.holding.Load() > 0 {
		return
	}
	if b.commands.Writes() == 0 {
		if l.flight > 0 { // only reads that follow writes in flight: they wait for those, not for an entry
			return
		}
		if l.answerReads(b) {
			return
		}
	}
	l.open, l.last = nil, b
	l.flight++
	l.server.node.group.Propose(&b.proposal)
}

// answerReads answers a batch of reads alone at once. It returns false if one of them needs an entry.
func (l *loop) answerReads(b *batch) bool {
	l.beginRead()
	defer l.endRead()
	l.reader.SetNoTouch(false)
	for i, c := range b.commands.Calls() {
		outcome, err := l.reader.Do(c.Row, c.DB, c.Args, b.Begin(i))
		if err != nil || outcome != engine.Answered {
			b.unanswer()
			return false
		}
		b.End(i)
	}
	l.open = nil
	l.flight++ // completed takes it back
	l.loop.Post(b.complete)
	return true
}

// turnEnd is called when every ready connection was read.
func (l *loop) turnEnd() {
	l.sealLane()
	l.seal()
}

// completed takes a batch back, hands out its replies and lets waiting sessions go on.
func (l *loop) completed(b *batch) {
	l.flight--
	if l.last == b {
		l.last = nil
	}
	if b.lane {
		b.lane, l.lane.flying = false, false
		l.lane.wake()
	}
	start := 0
	for i := range b.notes {
		n := &b.notes[i]
		if b.err != nil {
			var reply []byte
			if !n.silent {
				reply = n.session.failure(b.err)
			}
			if n.exec != nil {
				n.exec.answered(l, reply, true)
				continue
			}
			n.session.answered(reply)
			continue
		}
		if n.failed {
			l.stats[n.entry.id].failed++
		}
		if n.entry != l.server.expireEntry && n.exec == nil {
			n.session.took(n.entry, b.argsIfSlow(i), n.took)
		}
		reply := b.out.Buf[start:n.end]
		start = n.end
		if n.exec != nil {
			n.session.took(n.entry, nil, n.took) // its commands may be slow
			n.exec.answered(l, reply, false)
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
		n.session.answered(reply)
	}
	for i := range b.notes {
		b.notes[i].session.goOn()
	}
	if !errors.Is(b.err, raftfsm.ErrIndeterminate) { // else Raft may still read the entry's bytes
		b.reset()
		l.free = append(l.free, b)
	}
	stalled := l.stalled
	l.stalled = nil
	for _, s := range stalled {
		s.stalled = false
		s.goOn()
	}
}

// errorReply words what became of a batch that was not applied, or may not have been.
func errorReply(err error) []byte {
	switch {
	case errors.Is(err, raftfsm.ErrIndeterminate):
		return indeterminateReply
	case errors.Is(err, raftfsm.ErrNotLeader):
		return []byte("-CLUSTERDOWN this node does not lead the shard\r\n")
	case errors.Is(err, raftfsm.ErrClosed):
		return []byte("-ERR the server is shutting down\r\n")
	}
	return []byte("-TRYAGAIN " + err.Error() + "\r\n")
}

func (l *loop) beginRead() {
	if !l.reading {
		l.reading = true
		l.reader.Begin(l.server.node.group.Now(), l.server.node.random())
		l.lapped = reading()
	}
}

func (l *loop) endRead() {
	if l.reading {
		l.reading = false
		l.reader.End()
	}
}
