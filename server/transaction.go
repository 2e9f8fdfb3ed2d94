package server

import (
	"bytes"
	"strings"
	"time"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/server/resp"
)

// A transaction goes three ways, one behind the other where it needs more than one:
//
//	the log    Its data commands are one command of the log (engine/command/exec.go), in the loop's open batch as any
//	           write. If all are reads, it rides along as any read.
//	the lane   With watched keys it may go to the log only once nothing in flight can touch them. Such transactions wait
//	           in their loop's lane, which has batches of its own.
//	the play   The server's own commands (SELECT, CLIENT, INFO …) run on the loop once the data commands are done, one by
//	           one, and their replies are put between the others' at their places. Data commands have seen to it
//	           already that a SELECT before them counts.

// transaction is what a client has asked for since MULTI.
type transaction struct {
	queue  []queued
	flags  command.Flags // of all commands
	data   bool          // one of them is the engine's
	leader bool          // one of them is the leader's to answer
	server bool          // one of them is the server's
	broken bool          // a command was refused: EXEC does nothing
	slot   int           // of all keys, if slots decide; noSlot: there are none yet
	split  bool          // they are of several
	args   int
	bytes  int
}

// execHead is more than the head of a transaction takes, or that of a command of it.
const execHead = 64

// inEntry is what the transaction takes of an entry at most, with one more command of so many arguments, its head included, and
// bytes.
func (m *transaction) inEntry(args, bytes int) int {
	return engine.WriteBound(m.args+args+2, m.bytes+bytes+(len(m.queue)+2)*execHead)
}

// queued is a command of a transaction.
type queued struct {
	entry *entry
	args  [][]byte
}

// maxQueuedArgs bounds the arguments of a transaction: it is one command of the log, with a head for each command and one
// for all.
const maxQueuedArgs = engine.MaxArgs - 2

// enqueue keeps a command for EXEC.
func (s *session) enqueue(e *entry, args [][]byte) bool {
	row, m := e.row, s.multi
	if row.Flags&command.NoMulti != 0 {
		return s.reject(e, "ERR Command not allowed inside a transaction")
	}
	if e.server == nil && !s.elsewhere() {
		slot, why := s.queueable(e, args)
		if s.awaitLeader(slot, why) {
			return false
		}
		if why != "" {
			return s.reject(e, why)
		}
	}
	size := 0
	for _, a := range args {
		size += len(a)
	}
	if m.args+len(args)+1 > maxQueuedArgs || m.inEntry(len(args)+1, size) > mostEntry || s.limits.QueryBuffer > 0 && int64(m.bytes+size) > s.limits.QueryBuffer {
		return s.reject(e, "ERR the transaction is too large: see client-query-buffer-limit")
	}
	m.args += len(args) + 1
	m.bytes += size
	m.flags |= row.Flags
	m.data, m.server = m.data || e.server == nil, m.server || e.server != nil
	m.leader = m.leader || e.leaders()
	m.queue = append(m.queue, queued{e, cloneArgs(args)})
	w := s.writer()
	w.Simple("QUEUED")
	s.finish(w)
	return true
}

// queueable says why a data command cannot be part of the transaction, or "". slot is that of its keys, if slots decide.
func (s *session) queueable(e *entry, args [][]byte) (slot int, why string) {
	m := s.multi
	if e.fanOut != nil && s.inCluster() && len(s.server.node.local()) > 1 { // a transaction is one shard's
		return noSlot, notInMulti
	}
	ls, slot, why := s.route(e.row, args)
	if why == "" && e.special && s.inCluster() {
		why = deniedInCluster(e.row, args)
	}
	if why != "" {
		if s.watcher != nil && s.watcher.spoilt(false) && strings.HasPrefix(why, moved) {
			return slot, "" // the slot went away, and EXEC will do nothing: that says it better
		}
		return slot, why
	}
	if slot != noSlot {
		m.split = m.split || m.slot != noSlot && m.slot != slot
		m.slot = slot
	}
	if e.row.Flags&command.Write != 0 {
		return slot, ls.shard.refuse(e.row)
	}
	return slot, ""
}

// execution is a transaction from EXEC until its reply is complete.
type execution struct {
	session *session
	entry   *entry // EXEC's
	steps   []step
	args    [][]byte // the data commands, as the log has them
	cells   []uint16 // of the watched keys
	watcher *watcher
	slot    int  // of its keys, if slots decide
	played  bool // some of it is the server's
	silent  bool // the reply is not wanted
	resp3   bool

	tries int  // how often it could not go because of what was in flight
	holds bool // everybody else waits for it

	out    partsWriter
	reply  []byte // while it is played: the data commands' replies
	next   int    // the step to be played next
	header bool   // the reply has begun
}

// step is one command of an execution.
type step struct {
	queued
	data     bool
	sent     bool // the leader has answered it
	resp3    bool // the protocol of its reply
	failed   bool
	from, to int // data: where its reply stands
	took     time.Duration
}

// newExecution takes the session's transaction over.
func (s *session) newExecution(e *entry) *execution {
	m := s.multi
	x := &execution{session: s, entry: e, watcher: s.watcher, slot: m.slot, played: m.server, silent: s.silent(), resp3: s.resp3}
	x.steps = make([]step, len(m.queue))
	x.out.x = x
	var g command.Guard
	if x.watcher != nil {
		g = command.Guard{Term: x.watcher.term, Deadline: x.watcher.deadline}
		x.cells = x.watcher.cells
	}
	db, resp3, commands := s.db, s.resp3, 0
	var data [][]byte
	for i, q := range m.queue {
		x.steps[i] = step{queued: q, data: q.entry.server == nil, resp3: resp3}
		switch {
		case x.steps[i].data:
			commands++
			args := append([][]byte{s.server.table.logName(q.entry)}, q.args[1:]...)
			data = command.AppendNested(data, db, args)
		case q.entry.row.Name == "SELECT":
			if n, err := s.selectable(q.args[1]); err == "" {
				db = n
			}
		case q.entry.row.Name == "HELLO" && len(q.args) == 2 && len(q.args[1]) == 1 && (q.args[1][0] == '2' || q.args[1][0] == '3'):
			resp3 = q.args[1][0] == '3'
		}
	}
	x.args = append(command.BeginExec(g, commands), data...)
	return x
}

// execCommand runs EXEC, or returns false if it has to wait.
func execCommand(s *session, e *entry, _ [][]byte) bool {
	m := s.multi
	switch {
	case m == nil:
		return s.answerError(e, "ERR EXEC without MULTI")
	case m.broken:
		s.discard()
		return s.answerError(e, "EXECABORT Transaction discarded because of previous errors.")
	case s.server.node.pause.holds(&command.Command{Flags: m.flags}):
		s.loop.endRead()
		return s.postpone()
	}
	if m.leader || s.up.watches() {
		forward, wait := s.away()
		if wait {
			return false
		}
		if forward && !s.watchLost {
			return s.forwardExec(e)
		}
	}
	if s.watchLost {
		return s.doNothing(e)
	}
	ls, why := s.execShard()
	if why != "" && s.watcher != nil && s.watcher.spoilt(false) {
		return s.doNothing(e)
	}
	if why != "" {
		return s.redirect(e, s.multi.slot, why)
	}
	if m.data {
		if r, lacks := ls.lacks(m.slot); lacks {
			return s.awaitSlot(e, ls.shard, r)
		}
	}
	if m.flags&command.Write != 0 && m.data {
		if why := ls.shard.refuse(&command.Command{Flags: m.flags}); why != "" {
			return s.reject(e, why)
		}
	}
	if s.unfinished() > 0 && (m.server || s.watcher != nil) {
		return false
	}
	s.loop.endRead()
	switch {
	case s.watcher != nil && s.watcher.spoilt(!m.data):
		return s.doNothing(e)
	case !m.data:
		x := s.newExecution(e)
		s.discard()
		s.loop.stats[e.id].calls++
		s.client.skipNext = false
		s.playing = x
	case s.watcher != nil:
		x := s.newExecution(e)
		s.multi = nil
		s.loop.stats[e.id].calls++
		s.busy = true
		ls.wait(x)
	default:
		return s.execAtOnce(ls, e)
	}
	return true
}

// doNothing answers an EXEC that does nothing, since a watched key was touched.
func (s *session) doNothing(e *entry) bool {
	s.loop.stats[e.id].calls++
	s.discard()
	w := s.writer()
	w.NullArray()
	s.served(e, w)
	return true
}

// execShard is the shard that runs the transaction; nil: it has no data commands.
func (s *session) execShard() (ls *loopShard, why string) {
	m := s.multi
	r := s.server.node.routing.Load()
	switch {
	case !m.data:
		return nil, ""
	case r.sole != nil:
		return s.loop.of(r.sole), ""
	case m.split:
		return nil, crossSlot
	case m.slot == noSlot:
		ls, _, why = s.anywhere(r)
	default:
		ls, why = s.here(r, m.slot, false)
	}
	if why == "" && s.watcher != nil && s.watcher.shard != ls.shard {
		return nil, crossSlot
	}
	return ls, why
}

// spoilt says that a watched key was touched, or that nobody can tell; with now, also that one of them has ended.
func (w *watcher) spoilt(now bool) bool {
	g := w.shard.group
	return w.dirty.Load() || w.shard.ctx.Err() != nil || g.LeaderTerm() != w.term || now && w.deadline != 0 && g.Now() > w.deadline
}

// answerError answers a command with an error that counts as its failure.
func (s *session) answerError(e *entry, msg string) bool {
	s.loop.stats[e.id].calls++
	w := s.writer()
	w.Error(msg)
	s.served(e, w)
	return true
}

// execAtOnce puts a transaction without watched keys into the loop's open batch.
func (s *session) execAtOnce(ls *loopShard, e *entry) bool {
	m := s.multi
	reads := m.flags&(command.Write|command.LongRead) == 0
	if reads && s.unfinished() == 0 && !ls.shard.leads() {
		return s.redirect(e, m.slot, s.servedElsewhere(m.slot))
	}
	b := ls.batch(m.inEntry(0, 0))
	if b == nil {
		return s.stall(ls)
	}
	x := s.newExecution(e)
	s.multi = nil
	if reads {
		b.commands.AddRead(command.Exec(), s.db, x.args)
	} else {
		b.commands.AddWrite(command.Exec(), s.db, x.args)
	}
	s.loop.stats[e.id].calls++
	x.ride(b, m.slot)
	s.busy = x.played
	return true
}

// ride notes that the call that was added to b last is x's.
func (x *execution) ride(b *batch, slot int) {
	s := x.session
	b.notes = append(b.notes, note{session: s, number: s.issued, slot: slot, entry: x.entry, resp3: x.resp3, silent: x.silent, exec: x})
	s.client.skipNext = false
	s.issued++
}

// partsWriter writes the reply of a transaction and notes where that of each command stands.
type partsWriter struct {
	*resp.Writer
	x      *execution
	start  int
	at     int           // the step whose reply is being written; -1: none
	lapped time.Duration // when it began
}

// begin gives the writer of the reply.
func (x *execution) begin(w *resp.Writer) *partsWriter {
	x.out.Writer, x.out.start, x.out.at, x.out.lapped = w, len(w.Buf), -1, reading()
	return &x.out
}

// Part implements reply.Parts.
func (p *partsWriter) Part(int) {
	p.finish()
	for p.at++; !p.x.steps[p.at].data; p.at++ {
	}
	s := &p.x.steps[p.at]
	s.from = len(p.Buf) - p.start
	p.RESP3 = s.resp3
}

// finish ends the reply of one command.
func (p *partsWriter) finish() {
	if p.at < 0 {
		return
	}
	s := &p.x.steps[p.at]
	s.to = len(p.Buf) - p.start
	now := reading()
	s.took = now - p.lapped
	p.lapped = now
	if s.failed = p.Errors() > 0; s.failed {
		p.x.session.server.errors.count(p.ErrorCode())
	}
	p.ResetErrors()
}

// ran says that the data commands were run: nothing was touched behind the client's back.
func (x *execution) ran() bool { return x.out.at >= 0 }

// answered takes the data commands' reply, or the error that became of them.
func (x *execution) answered(number uint64, reply []byte, failed bool) {
	s := x.session
	if x.ran() && !failed {
		for i := range x.steps {
			if step := &x.steps[i]; step.data {
				step.count(s, reply)
			}
		}
	}
	shown := reply
	if x.silent {
		shown = nil
	}
	if !x.played {
		s.answered(number, x.slot, shown)
		return
	}
	s.busy = false
	if failed || !x.ran() {
		s.answered(number, x.slot, shown)
		return
	}
	s.answered(number, x.slot, nil)
	if !s.closed {
		x.reply = bytes.Clone(reply)
		s.playing = x
	}
}

// count notes what became of a data command.
func (p *step) count(s *session, reply []byte) {
	stat := &s.loop.stats[p.entry.id]
	stat.calls++
	if p.failed {
		stat.failed++
	}
	s.took(p.entry, p.args, p.took)
	if p.entry.looksUp {
		s.loop.lookedUp(reply[p.from:p.to])
	}
}

// play takes the next step of the transaction whose reply is being put together.
func (s *session) play() {
	x := s.playing
	if !x.header {
		x.header = true
		w := s.writer()
		w.Array(len(x.steps))
		s.utter(w.Buf)
	}
	if x.next == len(x.steps) {
		s.playing = nil
		s.client.lastCommand = x.entry
		if s.client.replySkip {
			s.client.replySkip, s.client.skipNext = false, true
		}
		return
	}
	step := &x.steps[x.next]
	x.next++
	if step.data || step.sent {
		s.utter(x.reply[step.from:step.to])
		return
	}
	s.loop.stats[step.entry.id].calls++
	s.client.lastCommand = step.entry
	s.client.skipNext = x.silent
	w := s.writer()
	s.begun = reading()
	step.entry.server.Run(s, step.args, w)
	if !s.busy {
		s.took(step.entry, step.args, reading()-s.begun)
		s.served(step.entry, w)
	}
}

// utter sends a part of the reply that is being put together.
func (s *session) utter(b []byte) {
	if !s.playing.silent && !s.client.replyOff {
		s.conn.Write(b)
		s.checkOutput()
	}
}

// logName is a command's name in the log, whatever it was renamed to.
func (t *commandTable) logName(e *entry) []byte {
	name, _, _ := strings.Cut(t.names[e.id], "|")
	return []byte(name)
}
