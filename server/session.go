package server

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/server/config"
	"github.com/larder-db/larder/server/resp"
	"github.com/larder-db/larder/server/transport"
)

// session is one client's side of the conversation. It belongs to its loop.
//
// Replies leave in the order of the commands. A command is finished in one of three ways: at once (reads of what is
// in memory, the server's own commands), with its batch (writes, and reads behind unfinished writes), or by a worker
// (reads that need the store or take long). While a worker is at it, and where a command has to wait for those before
// it, the session takes no further command: what has arrived stays in the parser, and reading is paused.
type session struct {
	conn   *transport.Conn
	loop   *loop
	server *Server
	limits resp.Limits

	db            int
	resp3         bool
	authenticated bool
	closed        bool
	stalled       bool // waits in loopShard.stalled for room in a batch
	postponed     bool // waits in loop.paused for the end of a pause
	busy          bool // a worker is at the session's command
	paused        bool // reading is paused by the session
	ended         bool // the peer will send no more
	inNext        bool
	parked        bool // waits in loopShard.parked, or for the proof
	lookedAfter   bool // is in loop.slotWaits

	arrived time.Duration // when the newest bytes had arrived, by the groups' uptime; fresh: the clock was not read since

	issued, finished uint64 // calls put into batches, and calls answered
	held             []held
	early            earlyReplies
	heldBytes        int
	refused          []*refusedCall // unfinished calls that are to be run once more, in their order
	waiting          [][][]byte     // commands that were taken from the parser and have to wait

	multi   *transaction // since MULTI; nil: there is none
	watcher *watcher     // since WATCH
	playing *execution   // an EXEC some of whose commands are still to be run

	wrote      writings  // what a WAIT is about
	awaiting   *waiting  // a WAIT that is not answered
	slotWait   *slotWait // what the next command waits for; nil: it does not
	slotUntil  time.Time // how long it may, in all
	subscribed subscriptions

	readOnly  bool // READONLY: replicas may answer
	watchLost bool // what it watched at the leader counts as touched

	up     *upstream     // its other half at the leader; nil: this node runs its commands
	origin *remoteClient // where its client really is; nil: here

	begun     time.Duration // when the server's own command that runs was begun
	lastReply time.Time     // of a call that took its time
	softSince time.Time     // since when more is unread than the soft limit allows; zero: it is not

	client clientInfo
}

// held is a reply that is ready and waits for those of earlier calls.
type held struct {
	after uint64 // session.finished at which its turn comes
	bytes []byte
}

// clientInfo is what CLIENT shows and sets.
type clientInfo struct {
	name, libName, libVer string
	since                 time.Time
	lastCommand           *entry
	noEvict, noTouch      bool
	replyOff, replySkip   bool
	skipNext              bool
}

// maxUnfinished bounds the calls of one connection that are in batches.
const maxUnfinished = 65536

// slowOutput is how much a peer may leave unread before its further commands wait.
const slowOutput = 1 << 20

func (srv *Server) newSession(c *transport.Conn) *session {
	l := srv.loops[c.Loop().ID()]
	v := srv.config.Load()
	s := &session{conn: c, loop: l, server: srv, limits: resp.DefaultLimits()}
	s.limits.MaxArgs = engine.MaxArgs // what the log can hold
	s.authenticated = v.RequirePass == "" || c.Trusted()
	if c.Trusted() {
		s.origin = &remoteClient{}
	}
	s.applyLimits(v)
	s.client.since = c.Loop().Now()
	l.sessions[c.ID()] = s
	return s
}

func (s *session) applyLimits(v *config.Values) {
	s.limits.MaxBulk = int(v.ProtoMaxBulkLen)
	s.limits.QueryBuffer = v.ClientQueryBufferLimit
	s.limits.Authenticated = s.authenticated || v.RequirePass == ""
}

// mustLogIn says whether the client has to give a password before it may do more. Who was connected before there was
// one need not.
func (s *session) mustLogIn() bool {
	return !s.authenticated && s.server.config.Load().RequirePass != ""
}

// Data implements transport.Handler.
func (s *session) Data(*transport.Conn) {
	s.arrived = fresh
	s.goOn()
}

// EOF implements transport.EOFHandler: what was asked is still answered.
func (s *session) EOF(*transport.Conn) {
	s.ended = true
	s.goOn()
}

// Drained implements transport.DrainHandler.
func (s *session) Drained(*transport.Conn) { s.goOn() }

// Closed implements transport.Handler.
func (s *session) Closed(c *transport.Conn, err error) {
	s.closed = true
	s.held, s.early, s.heldBytes, s.waiting, s.playing, s.awaiting = nil, earlyReplies{}, 0, nil, nil, nil
	s.refused, s.slotWait = nil, nil
	s.forgetEvents()
	if s.up != nil {
		s.comeHome()
	}
	if s.watcher != nil { // its transaction may wait
		if ls := s.loop.kept(s.watcher.shard); ls != nil {
			ls.lane.wake()
		}
	}
	s.discard()
	delete(s.loop.sessions, c.ID())
	if s.postponed {
		s.loop.paused = slices.DeleteFunc(s.loop.paused, func(other *session) bool { return other == s })
	}
}

// goOn takes commands until there are none, or one has to wait.
func (s *session) goOn() {
	if s.inNext || s.closed {
		return
	}
	s.inNext = true
	s.hearLate()
	s.up.readOn()
	s.take()
	s.loop.endRead()
	s.inNext = false
	s.conn.Parser.Release() // outside of Data nobody else does
	if s.conn.Closing() {
		return
	}
	blocked := s.blocked() || len(s.waiting) > 0
	if blocked != s.paused {
		s.paused = blocked
		if blocked {
			s.conn.PauseReading()
		} else if !s.ended { // behind a protocol error nothing is to be read
			s.conn.ResumeReading()
		}
	}
	if s.ended && !blocked && s.unfinished() == 0 {
		s.conn.CloseAfterFlush()
	}
}

// blocked says whether no further command may be taken now.
func (s *session) blocked() bool {
	waits := s.busy || s.stalled || s.postponed || s.parked || s.slotWait != nil || len(s.refused) > 0
	return waits || s.unfinished() >= maxUnfinished || s.up.full() || s.heldBytes+s.conn.OutputBuffered() > slowOutput
}

func (s *session) unfinished() uint64 { return s.issued - s.finished }

// take takes commands until there are none, or one has to wait. Reads that follow one another are taken a few at a time,
// so that what they look up is fetched together; nothing is taken ahead behind a command that may change how the bytes
// behind it are understood.
func (s *session) take() {
	for !s.conn.Closing() && !s.blocked() {
		if s.playing != nil {
			s.play()
			continue
		}
		if len(s.waiting) > 0 {
			args := s.waiting[0]
			if s.waiting = s.waiting[1:]; len(s.waiting) == 0 {
				s.waiting = nil
			}
			if !s.execute(s.find(args[0]), args) {
				s.waiting = slices.Insert(s.waiting, 0, args)
				return
			}
			continue
		}
		run := s.loop.run[:0]
		for len(run) < cap(run) {
			args, ok, err := s.conn.Parser.Next(&s.limits)
			if err != nil && len(run) == 0 {
				s.protocolError(err)
				return
			}
			if err != nil || !ok { // an error stays, and is met again behind the run
				break
			}
			e := s.find(args[0])
			run = append(run, taken{e, args})
			if e == nil || !e.quick || s.unfinished() > 0 || s.arrived == fresh && s.loop.doubts { // which will be parked
				break
			}
		}
		if len(run) == 0 {
			return
		}
		if len(run) > 1 {
			s.approach(run)
		}
		for i, c := range run {
			if s.conn.Closing() {
				return
			}
			if s.blocked() || !s.execute(c.entry, c.args) {
				for _, c := range run[i:] {
					s.waiting = append(s.waiting, cloneArgs(c.args)) // the parser's are gone when Data returns
				}
				return
			}
		}
	}
}

// find finds a command by the name that the client gave it.
func (s *session) find(name []byte) *entry {
	if s.origin != nil { // the other node has its own names
		return s.server.table.findOld(name)
	}
	return s.server.table.find(name)
}

// taken is a command that was taken from the parser.
type taken struct {
	entry *entry // nil: there is none of that name
	args  [][]byte
}

// approach has what a run of reads will look up fetched together.
func (s *session) approach(run []taken) {
	if s.mustLogIn() || s.multi != nil {
		return // they will be refused, or queued
	}
	ls := s.first(run)
	if ls == nil || !ls.shard.group.CanRead() {
		return
	}
	s.loop.beginRead(ls)
	for _, c := range run {
		if c.entry != nil && c.entry.quick && s.goesTo(ls, c) {
			ls.reader.Expect(c.entry.row, s.db, c.args)
		}
	}
	ls.reader.Approach()
}

// first is what the loop keeps for the shard of a run's first command; nil: it is not run here.
func (s *session) first(run []taken) *loopShard {
	if run[0].entry == nil || !run[0].entry.quick {
		return nil
	}
	ls, _, _ := s.route(run[0].entry.row, run[0].args)
	return ls
}

// goesTo says whether a command is of the shard.
func (s *session) goesTo(ls *loopShard, c taken) bool {
	if !s.inCluster() {
		return true
	}
	other, _, _ := s.route(c.entry.row, c.args)
	return other == ls
}

// errClosing says that the shard that a read needs is about to close here.
var errClosing = errors.New("the shard closes")

func (s *session) protocolError(err error) {
	s.loop.endRead()
	if s.unfinished() > 0 {
		// Replies of what came before go first; nothing behind can be understood.
		s.ended = true
		s.conn.PauseReading()
		s.hold(protocolReply(err))
		s.conn.Parser.Reset()
		return
	}
	s.conn.Write(protocolReply(err))
	s.conn.CloseAfterFlush()
}

func protocolReply(err error) []byte {
	if _, ok := err.(resp.ProtocolError); ok {
		return []byte("-ERR " + err.Error() + "\r\n")
	}
	return nil
}

// hold puts a finished reply in its place behind the unfinished calls.
func (s *session) hold(reply []byte) {
	if s.unfinished() == 0 {
		s.conn.Write(reply)
		return
	}
	s.held = append(s.held, held{s.issued, bytes.Clone(reply)})
	s.heldBytes += len(reply)
}

// answered takes the reply of an unfinished call. Those of one shard come in order; where another shard was sooner, its
// replies wait. Of a session that is closed, and of nobody's, no call is counted.
func (s *session) answered(number uint64, slot int, reply []byte) {
	if s.closed {
		return
	}
	if number != s.finished {
		s.early.add(early{number: number, slot: slot, bytes: bytes.Clone(reply)}, s.finished)
		s.heldBytes += len(reply)
		return
	}
	s.writeNext(reply)
	for {
		next, ok := s.early.take(s.finished)
		if !ok {
			break
		}
		s.heldBytes -= len(next)
		s.writeNext(next)
	}
	s.checkOutput()
}

// writeNext writes the reply of the oldest unfinished call, and those that were held for it.
func (s *session) writeNext(reply []byte) {
	s.finished++
	s.lastReply = s.loop.loop.Now()
	s.conn.Write(reply)
	for len(s.held) > 0 && s.held[0].after <= s.finished {
		s.conn.Write(s.held[0].bytes)
		s.heldBytes -= len(s.held[0].bytes)
		s.held = s.held[1:]
	}
	if len(s.held) == 0 {
		s.held = nil
	}
}

// checkOutput closes the connection of a client that leaves too much unread (client-output-buffer-limit).
func (s *session) checkOutput() {
	limit := s.server.config.Load().OutputLimits[config.ClassNormal].Hard
	if limit > 0 && int64(s.conn.OutputBuffered()) > limit {
		s.closeSlow(limit)
	}
}

// checkSoftOutput does the same for what is too much for long. It is called every now and then.
func (s *session) checkSoftOutput(limit config.OutputLimit, now time.Time) {
	switch {
	case limit.Soft == 0 || int64(s.conn.OutputBuffered()) <= limit.Soft:
		s.softSince = time.Time{}
	case s.softSince.IsZero():
		s.softSince = now
	case now.Sub(s.softSince) > time.Duration(limit.SoftSeconds)*time.Second:
		s.closeSlow(limit.Soft)
	}
}

func (s *session) closeSlow(limit int64) {
	if s.conn.Closing() {
		return
	}
	s.server.log.Warn("closing a client that reads its replies too slowly", "client", s.conn.ID(), "addr", s.peer(), "unread_bytes", s.conn.OutputBuffered(), "limit_bytes", limit)
	s.conn.Close()
}

// lastActive is when the client was heard of or answered last.
func (s *session) lastActive() time.Time {
	if last := s.conn.LastInteraction(); last.After(s.lastReply) {
		return last
	}
	return s.lastReply
}

// execute runs one command, e in the table, or puts it on its way. It returns false if it has to wait and be given again.
func (s *session) execute(e *entry, args [][]byte) bool {
	if s.origin != nil && s.introduced(args) {
		return true
	}
	if e == nil {
		if isBrowser(args[0]) {
			s.turnAway()
			return true
		}
		if isWord(args[0], whereCommand) && len(args) == 1 {
			return s.tellWhere()
		}
		return s.reject(nil, unknownCommand(args))
	}
	if e.container() && len(args) > 1 {
		sub := s.server.table.sub(e, args[1])
		if sub == nil {
			return s.reject(e, fmt.Sprintf("ERR unknown subcommand '%s'. Try %s HELP.", shortened(args[1], shownBytes), e.row.Name))
		}
		e = sub
	}
	row := e.row
	if !row.ArityOK(len(args)) {
		return s.reject(e, "ERR wrong number of arguments for '"+s.server.table.names[e.id]+"' command")
	}
	if row.Flags&command.NoAuth == 0 && s.mustLogIn() {
		return s.reject(e, "NOAUTH Authentication required.")
	}
	if s.server.node.pause.holds(row) {
		s.loop.endRead()
		return s.postpone()
	}
	s.client.lastCommand = e
	if why := s.deaf(e); why != "" {
		return s.reject(e, why)
	}
	if s.origin != nil && (s.multi == nil || e.row.Name == execName) && s.refuses(e) {
		return s.refuse()
	}
	if s.multi != nil && (e.server == nil || !e.server.InMulti) {
		return s.enqueue(e, args)
	}
	if s.multi == nil && e.leaders() && !s.readsHere(e) {
		forward, wait := s.away()
		if wait {
			return false
		}
		if forward {
			return s.forward(e, args)
		}
	}
	if e.special && s.inCluster() {
		if e.fanOut != nil {
			return s.fanOut(e, args)
		}
		if _, _, why := s.route(row, args); why == "" {
			if why = deniedInCluster(row, args); why != "" {
				return s.reject(e, why)
			}
		}
	}
	switch {
	case e.server != nil && e.server.Take != nil:
		return e.server.Take(s, e, args)
	case e.server != nil:
		return s.serve(e, args)
	case row.Flags&command.Write != 0:
		return s.write(e, args)
	}
	ls, slot, why := s.route(row, args)
	if why != "" {
		return s.redirect(e, slot, why)
	}
	return s.read(ls, slot, e, args)
}

// reject answers a command that is not run.
func (s *session) reject(e *entry, msg string) bool {
	if s.origin != nil && msg == noLeader {
		return s.refuse()
	}
	if e != nil {
		s.loop.stats[e.id].rejected++
	}
	if s.multi != nil {
		s.multi.broken = true
	}
	if e != nil && e.row.Name == execName {
		msg = "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(msg, "ERR ")
		s.discard()
	}
	w := s.writer()
	w.Error(msg)
	s.server.errors.count(w.ErrorCode())
	s.finish(w)
	return true
}

const (
	noLeader   = "CLUSTERDOWN the shard has no leader"
	unreadable = "ERR the data cannot be read from disk: see the server's log"
)

// shownBytes is how much of what a client sent an error repeats.
const shownBytes = 128

// isBrowser says whether a command is the first or second line of an HTTP request: a page that a browser shows can make
// it send one here, with commands in the body.
func isBrowser(name []byte) bool { return isWord(name, "POST") || isWord(name, "HOST:") }

// turnAway closes the connection before anything that follows is run, as Redis does.
func (s *session) turnAway() {
	s.server.log.Warn("an HTTP request came in on the Redis port: somebody may be trying to reach this server through a browser; the connection is closed", "addr", addrOf(s.conn.RemoteAddr()))
	s.conn.Close()
}

func unknownCommand(args [][]byte) string {
	var shown []byte
	for _, a := range args[1:] {
		if len(shown) >= shownBytes {
			break
		}
		shown = fmt.Appendf(shown, "'%s' ", shortened(a, shownBytes-len(shown)))
	}
	return fmt.Sprintf("ERR unknown command '%s', with args beginning with: %s", shortened(args[0], shownBytes), shown)
}

// shortened is the part of an argument that an error shows: up to a zero byte, as C's strings end, or to n bytes.
func shortened(arg []byte, n int) []byte {
	arg = arg[:min(len(arg), n)]
	if end := bytes.IndexByte(arg, 0); end >= 0 {
		arg = arg[:end]
	}
	return arg
}

// writer is the loop's writer, empty, in the session's protocol.
func (s *session) writer() *resp.Writer {
	w := &s.loop.out
	if cap(w.Buf) > keepBytes {
		w.Buf = nil
	}
	w.Buf, w.RESP3 = w.Buf[:0], s.resp3
	w.ResetErrors()
	return w
}

// finish sends what was written to the writer, in its place.
func (s *session) finish(w *resp.Writer) {
	if s.client.replyOff || s.client.skipNext {
		s.client.skipNext = false
		w.Buf = w.Buf[:0]
	}
	s.hold(w.Buf)
	s.checkOutput()
}

// serve runs one of the server's own commands.
func (s *session) serve(e *entry, args [][]byte) bool {
	if s.unfinished() > 0 && !e.server.Anytime {
		return false
	}
	s.loop.endRead()
	s.loop.stats[e.id].calls++
	w := s.writer()
	s.begun = reading()
	e.server.Run(s, args, w)
	if s.busy { // a worker answers
		return true
	}
	s.took(e, args, reading()-s.begun)
	s.served(e, w)
	if s.client.replySkip {
		s.client.replySkip, s.client.skipNext = false, true
	}
	return true
}

// served counts what became of a command that is done and sends its reply.
func (s *session) served(e *entry, w *resp.Writer) {
	if w.Errors() > 0 {
		s.loop.stats[e.id].failed++
		s.server.errors.count(w.ErrorCode())
	}
	s.finish(w)
}

// silent says that the reply of the next call is not wanted (CLIENT REPLY).
func (s *session) silent() bool { return s.client.replyOff || s.client.skipNext }

// write puts a write into the open batch of its shard.
func (s *session) write(e *entry, args [][]byte) bool {
	ls, slot, why := s.route(e.row, args)
	if why != "" {
		return s.redirect(e, slot, why)
	}
	if r, lacks := ls.lacks(slot); lacks {
		return s.awaitSlot(e, ls.shard, r)
	}
	if why := ls.shard.refuse(e.row); why != "" {
		return s.reject(e, why)
	}
	size := inEntry(args)
	if size > mostEntry {
		return s.reject(e, tooLarge)
	}
	s.loop.endRead() // batch may propose, and what is proposed must be able to run
	b := ls.batch(size)
	if b == nil {
		return s.stall(ls)
	}
	if e.renamed {
		args = append([][]byte{s.server.table.logName(e)}, args[1:]...)
	}
	b.commands.AddWrite(s.engineRow(e), s.db, args)
	s.note(b, slot, e)
	return true
}

// engineRow is the row that the engine runs: a container's, which finds the subcommand itself.
func (s *session) engineRow(e *entry) *command.Command { return e.row }

func (s *session) note(b *batch, slot int, e *entry) {
	s.loop.stats[e.id].calls++
	b.notes = append(b.notes, note{session: s, number: s.issued, slot: slot, entry: e, resp3: s.resp3, silent: s.silent()})
	s.client.skipNext = false
	s.issued++
}

// stall makes the session wait until a batch has room.
func (s *session) stall(ls *loopShard) bool {
	if !s.stalled {
		s.stalled = true
		ls.stalled = append(ls.stalled, s)
	}
	return false
}

// read answers a read at once where it can.
func (s *session) read(ls *loopShard, slot int, e *entry, args [][]byte) bool {
	long := e.row.Flags&command.LongRead != 0
	if s.unfinished() > 0 {
		if long || s.client.noTouch || !ls.shard.leads() { // what rides in a batch counts as a use
			return false
		}
		if e.row.Flags&command.Fast == 0 && ls.reader.Bulky(e.row, s.db, args) {
			return false
		}
		s.loop.endRead()
		b := ls.batch(0)
		if b == nil {
			return s.stall(ls)
		}
		b.commands.AddRead(s.engineRow(e), s.db, args)
		s.note(b, slot, e)
		return true
	}
	replica := s.readOnly && !ls.shard.leads()
	if !replica {
		switch ls.readiness(s.arrived) {
		case unproven:
			return s.park(ls)
		case notHere:
			return s.redirect(e, slot, s.servedElsewhere(slot))
		}
		s.loop.led(ls.shard.id)
	}
	if long {
		s.loop.stats[e.id].calls++
		s.detach(ls, slot, e, args)
		return true
	}
	s.loop.beginRead(ls)
	ls.reader.SetNoTouch(s.client.noTouch && e.row.Name != "TOUCH")
	w := s.writer()
	var outcome engine.Outcome
	var err error
	if replica {
		outcome, err = ls.reader.DoPast(e.row, s.db, args, w)
	} else {
		outcome, err = ls.reader.Do(e.row, s.db, args, w)
	}
	if err != nil {
		s.loop.endRead()
		s.server.node.fatal(fmt.Errorf("the data cannot be read: %w", err))
		return s.reject(e, "ERR the data cannot be read")
	}
	switch outcome {
	case engine.Cold:
		s.loop.stats[e.id].calls++
		s.detach(ls, slot, e, args)
		return true
	case engine.NotOwned:
		return s.awaitSlot(e, ls.shard, ls.reader.Refusal())
	case engine.Due:
		return s.readBehindExpiry(ls, slot, e, args)
	}
	s.loop.stats[e.id].calls++
	s.took(e, args, s.loop.lap())
	if e.looksUp {
		s.loop.lookedUp(w.Buf)
	}
	s.served(e, w)
	return true
}

// readBehindExpiry has the log delete the command's keys whose time has come, and runs the read behind it. A read that may
// be long must not ride in a batch, which holds the lock: it waits for the deletion, and is given again.
func (s *session) readBehindExpiry(ls *loopShard, slot int, e *entry, args [][]byte) bool {
	s.loop.endRead()
	b := ls.batch(inEntry(args)) // the deletion's arguments are no more
	if b == nil {
		return s.stall(ls)
	}
	if at, err := e.row.KeyPositions(args, nil); err == nil && len(at) > 0 {
		b.commands.AddWrite(s.server.expireRow, s.db, expireArgs(at, args))
		if e.row.Flags&command.LongRead != 0 {
			b.notes = append(b.notes, note{session: s, number: s.issued, slot: noSlot, entry: s.server.expireEntry, silent: true})
			s.issued++
			return false
		}
		b.notes = append(b.notes, note{session: s.loop.nobody, slot: noSlot, entry: s.server.expireEntry})
	}
	b.commands.AddRead(s.engineRow(e), s.db, args)
	s.note(b, slot, e)
	return true
}

func expireArgs(at []int, args [][]byte) [][]byte {
	out := [][]byte{[]byte(expireCommand)}
	for _, i := range at {
		out = append(out, args[i])
	}
	return out
}

// detach has a worker answer a read that may wait for the disk or take long.
func (s *session) detach(ls *loopShard, slot int, e *entry, args [][]byte) {
	s.loop.endRead()
	args = cloneArgs(args)
	db, resp3 := s.db, s.resp3
	sh := ls.shard
	var due bool
	var err error
	var took time.Duration
	w := &resp.Writer{RESP3: resp3}
	past := !sh.leads() // a replica cannot delete what is due: it leaves it out
	s.work(func() {
		if !sh.use() {
			err = errClosing
			return
		}
		defer sh.unuse()
		begun := reading()
		if past {
			err = sh.engine.DetachedPast(e.row, db, args, sh.group.Now(), sh.node.random(), w)
		} else {
			due, err = sh.engine.Detached(e.row, db, args, sh.group.Now(), sh.node.random(), w)
		}
		took = reading() - begun
	}, func() {
		if due || errors.Is(err, errClosing) {
			s.loop.stats[e.id].calls-- // it is run and counted once more
		} else {
			s.took(e, args, took)
		}
		switch {
		case errors.Is(err, errClosing):
			s.waiting = slices.Insert(s.waiting, 0, args) // another shard, or another node, has taken its place
		case err != nil:
			// The rest of the data is served on; a write that needs what cannot be read ends the process.
			s.server.log.Error("a read met data that cannot be read", "command", s.server.table.names[e.id], "error", err)
			s.reject(e, unreadable)
		case due:
			if !s.readBehindExpiry(ls, slot, e, args) {
				s.waiting = slices.Insert(s.waiting, 0, args)
			}
		default:
			if r, refused := refusedIn(w.Buf); refused {
				s.loop.stats[e.id].calls--
				if !s.awaitSlot(e, sh, r) {
					s.waiting = slices.Insert(s.waiting, 0, args)
				}
				return
			}
			if w.Errors() > 0 {
				s.loop.stats[e.id].failed++
				s.server.errors.count(w.ErrorCode())
			}
			if e.looksUp {
				s.loop.lookedUp(w.Buf)
			}
			if s.silent() {
				s.client.skipNext = false
				return
			}
			s.conn.WriteOwned(w.Buf)
			s.checkOutput()
		}
	})
}

// work runs do on a worker and then finish on the loop; the session takes no command meanwhile. finish writes the
// reply by s.conn.Write, or by s.finish with a writer.
func (s *session) work(do, finish func()) {
	s.busy = true
	s.server.workers.run(func() {
		do()
		s.loop.loop.Post(func() { s.resume(finish) })
	})
}

// resume ends busy: finish writes the reply, and the session goes on.
func (s *session) resume(finish func()) {
	s.busy = false
	if s.closed {
		return
	}
	s.lastReply = s.loop.loop.Now()
	finish()
	s.goOn()
}

// replyLate is what finish does for one of the server's own commands that made the session busy: answer writes the
// reply.
func (s *session) replyLate(e *entry, answer func(w *resp.Writer)) {
	s.took(e, nil, reading()-s.begun)
	w := s.writer()
	answer(w)
	s.served(e, w)
}

func cloneArgs(args [][]byte) [][]byte {
	n := 0
	for _, a := range args {
		n += len(a)
	}
	buf := make([]byte, 0, n)
	out := make([][]byte, len(args))
	for i, a := range args {
		at := len(buf)
		buf = append(buf, a...)
		out[i] = buf[at:len(buf):len(buf)]
	}
	return out
}
