package server

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/redcon"

	"github.com/larder-db/larder/server/resp"
)

// upstream is a session's other half at the leader. It belongs to the session's loop.
type upstream struct {
	session *session

	link      *uplink // nil: none
	node      string  // where it leads
	connected bool
	refused   bool          // a call was refused: nothing more is sent on this link
	strayed   time.Time     // since when node does not lead, as far as is known; zero: it leads
	dialled   time.Time     // when a link was opened last
	rest      time.Duration // from then until the same node is tried again

	calls   []*upcall // unanswered, in order
	passed  int       // of them, that are known not to be those whose answer comes next
	asking  int       // of them, that are WATCH
	bytes   int       // of their requests
	out     []byte    // to be sent at the end of the turn's work
	partial bool      // a part of the first call's reply has gone to the client
	holding bool      // the link may not read on, because the client reads slowly

	state    upstate // that the leader's session has
	watching bool    // the leader's session watches keys
}

// upstate is what the leader's session has to know of this one before it runs a command.
type upstate struct {
	db      int
	resp3   bool
	noTouch bool
	known   bool
}

// upcall is a call that is for the leader.
type upcall struct {
	entry   *entry
	request []byte
	state   upstate
	fate    upfate
	pass    int        // replies to be passed over before its own
	write   bool       // it may change something
	watch   bool       // WATCH
	watched bool       // EXEC with watched keys
	silent  bool       // the reply is not wanted
	hidden  bool       // no client waits for a reply
	exec    *execution // the transaction, where a part of it runs here
	parts   []int      // the steps of exec that were sent
	reply   []byte     // what has come of a reply that is wanted whole
	verdict []byte     // the reply, if it was decided here
	until   time.Time  // when it will have waited long enough; zero: it need not wait
}

// upfate is what has become of a call.
type upfate uint8

const (
	upWaiting upfate = iota
	upSent
	upRefused // the leader's session certainly did nothing
	upDecided // verdict is the reply
)

// What a call is answered that the leader did not answer.
var (
	noLeaderReply      = []byte("-CLUSTERDOWN the shard has no leader\r\n")
	leaderLostReply    = []byte("-CLUSTERDOWN the connection to the shard's leader was lost\r\n")
	indeterminateReply = []byte("-INDETERMINATE the outcome of this command is not known: it may or may not have been applied\r\n")
)

var errStrayed = errors.New("another node leads")

// maxForwarded is how many bytes of unanswered requests a session may have before its further commands wait.
const maxForwarded = 1 << 20

func newUpstream(s *session) *upstream { return &upstream{session: s} }

// appendCommand appends a command as clients send it.
func appendCommand(b []byte, args [][]byte) []byte {
	b = redcon.AppendArray(b, len(args))
	for _, a := range args {
		b = redcon.AppendBulk(b, a)
	}
	return b
}

// full says whether further commands have to wait.
func (u *upstream) full() bool { return u != nil && u.bytes > maxForwarded }

// watches says whether the leader's session watches keys, or is about to.
func (u *upstream) watches() bool {
	return u != nil && (u.watching || u.asking > 0)
}

// add puts a call of the client's next command on its way.
func (u *upstream) add(c *upcall) {
	s := u.session
	s.loop.endRead()
	s.loop.stats[c.entry.id].calls++
	c.silent = s.silent()
	s.client.skipNext = false
	s.issued++
	u.enqueue(c)
}

func (u *upstream) enqueue(c *upcall) {
	s := u.session
	c.state = upstate{db: s.db, resp3: s.resp3, noTouch: s.client.noTouch, known: true}
	u.calls = append(u.calls, c)
	u.bytes += len(c.request)
	if c.watch {
		u.asking++
	}
	if u.link == nil {
		u.open(s.server.forwarding)
	}
	u.move(c, s.loop.loop.Now()) // alone: there may be tens of thousands before it
	u.flush()
	u.settle()
}

// unwatch has the leader's session forget its watched keys.
func (u *upstream) unwatch() {
	if !u.watches() {
		return
	}
	u.watching, u.asking = false, 0
	for _, c := range u.calls {
		c.watch = false
	}
	u.enqueue(&upcall{request: appendCommand(nil, [][]byte{[]byte("UNWATCH")}), hidden: true})
}

// pump sends what can be sent, opens a link where one is missing, and answers what has waited long enough.
func (u *upstream) pump() {
	f := u.session.server.forwarding
	if u.link == nil && u.waits() {
		u.open(f)
	}
	now := u.session.loop.loop.Now()
	u.passed = 0
	for _, c := range u.calls {
		u.move(c, now)
	}
	u.flush()
	u.settle()
}

// move sends a call if it can be sent, or answers it if it has waited long enough.
func (u *upstream) move(c *upcall, now time.Time) {
	switch {
	case c.fate != upWaiting:
	case u.connected && !u.refused && u.strayed.IsZero():
		u.send(c)
	case c.until.IsZero():
		c.until = now.Add(u.session.server.forwarding.patience)
	case now.After(c.until):
		c.decide(noLeaderReply)
	}
}

// waits says whether a call is still to be sent.
func (u *upstream) waits() bool {
	return slices.ContainsFunc(u.calls, func(c *upcall) bool { return c.fate == upWaiting })
}

// open begins to connect to the leader, if one is known.
func (u *upstream) open(f *forwarding) {
	now := u.session.loop.loop.Now()
	node := f.leader()
	if node == "" || node == u.node && now.Sub(u.dialled) < u.rest {
		return
	}
	l := u.session.loop.loop
	u.rest = redialAfter + rand.N(redialAfter)
	u.node, u.dialled, u.connected, u.refused, u.strayed = node, now, false, false, time.Time{}
	var k *uplink
	k = f.openUplink(node, l.Post, uplinkEvents{
		connected: func() { u.when(k, func() { u.connect() }) },
		arrived:   func(b []byte, ends []int) { u.when(k, func() { u.arrived(b, ends) }) },
		lost:      func(err error) { u.when(k, func() { u.lose(err) }) },
	})
	u.link = k
}

// redialAfter is how soon the same node is tried again, once to twice that: all sessions lose it together.
const redialAfter = 50 * time.Millisecond

// when runs fn and lets the session go on, unless the link is another by now.
func (u *upstream) when(k *uplink, fn func()) {
	if u.link != k || u.session.up != u {
		return
	}
	fn()
	u.session.goOn()
}

func (u *upstream) connect() {
	u.connected, u.state = true, upstate{}
	u.pump()
}

// send puts a call into the bytes to be sent, behind what the leader's session has to know first.
func (u *upstream) send(c *upcall) {
	c.fate = upSent
	if u.state != c.state {
		u.state = c.state
		u.out = appendCommand(u.out, u.session.introduction(c.state))
		c.pass++
	}
	u.out = append(u.out, c.request...)
	if c.exec != nil {
		u.state = upstate{} // it may have changed it
	}
}

// introduction tells the leader's session whom it works for; see origin.go.
func (s *session) introduction(st upstate) [][]byte {
	flag := func(on bool) []byte {
		if on {
			return []byte("1")
		}
		return []byte("0")
	}
	return [][]byte{[]byte(originCommand), []byte(s.peer()), []byte(s.client.name),
		strconv.AppendInt(nil, int64(st.db), 10), flag(st.resp3), flag(st.noTouch)}
}

// flush hands what is to be sent to the link.
func (u *upstream) flush() {
	if u.link != nil && len(u.out) > 0 {
		u.link.send(u.out)
	}
	if u.out = u.out[:0]; cap(u.out) > keepBytes {
		u.out = nil
	}
}

// arrived takes bytes of replies.
func (u *upstream) arrived(b []byte, ends []int) {
	k, start := u.link, 0
	for _, end := range ends {
		if u.piece(b[start:end], true); u.link != k {
			return
		}
		start = end
	}
	if start < len(b) {
		u.piece(b[start:], false)
	}
	if u.link != k {
		return
	}
	if u.refused && !u.outstanding() {
		u.renew()
		return
	}
	u.holding = true
	u.readOn()
	u.settle()
}

// readOn lets the link read on, unless the client is slow in reading.
func (u *upstream) readOn() {
	if u != nil && u.holding && u.link != nil && u.session.conn.OutputBuffered() <= slowOutput {
		u.holding = false
		u.link.readOn()
	}
}

// outstanding says whether an answer is still to come on the link.
func (u *upstream) outstanding() bool { return u.next() >= 0 }

// next is the place of the call whose answer comes next, or -1.
func (u *upstream) next() int {
	for ; u.passed < len(u.calls); u.passed++ {
		if u.calls[u.passed].fate == upSent {
			return u.passed
		}
	}
	return -1
}

// shift removes the first call.
func (u *upstream) shift() (c *upcall) {
	c, u.calls, u.passed = u.calls[0], u.calls[1:], max(u.passed-1, 0)
	return c
}

// piece takes a part of a reply; last says that the reply ends with it.
func (u *upstream) piece(b []byte, last bool) {
	at := u.next()
	if at < 0 {
		u.lose(errors.New("the leader answers what it was not asked"))
		return
	}
	c := u.calls[at]
	if c.pass > 0 {
		if last {
			c.pass--
		}
		return
	}
	whole := c.exec != nil || len(c.reply) > 0 || b[0] == refusal[0] && !u.partial
	if whole {
		c.reply = append(c.reply, b...)
		if !last {
			return
		}
		b = c.reply
		if string(b) == refusal {
			c.fate, c.reply, u.refused = upRefused, nil, true
			return
		}
	}
	// It was run: what was refused before it cannot be sent again without changing the order.
	for _, r := range u.calls[:at] {
		if r.fate == upRefused {
			r.decide(leaderLostReply)
		}
	}
	u.settle()
	u.partial = !last
	if c.watch && last && b[0] == '+' {
		u.watching = true
	}
	switch {
	case !last:
		if !c.silent && !c.hidden {
			u.session.conn.Write(b)
			u.session.checkOutput()
		}
	default:
		u.answer(u.shift(), b)
	}
}

// decide has a call answered so, when its turn comes.
func (c *upcall) decide(reply []byte) { c.fate, c.verdict = upDecided, reply }

// settle answers the calls at the front that were decided here.
func (u *upstream) settle() {
	for len(u.calls) > 0 && u.calls[0].fate == upDecided {
		c := u.shift()
		u.answer(c, c.verdict)
	}
}

// answer gives the client the reply, or the rest of it, of the call that was first.
func (u *upstream) answer(c *upcall, reply []byte) {
	s := u.session
	if u.bytes -= len(c.request); len(u.calls) == 0 {
		u.calls = nil
	}
	if c.watch {
		u.asking--
	}
	if c.hidden || s.closed {
		return
	}
	if len(reply) > 0 && reply[0] == '-' {
		s.loop.stats[c.entry.id].failed++
	}
	if c.exec != nil {
		s.busy = false
		if s.playReply(c, reply) {
			s.answered(s.finished, noSlot, nil)
			return
		}
	}
	if c.silent {
		reply = nil
	}
	s.answered(s.finished, noSlot, reply)
}

// playReply takes the reply of a transaction apart, for the commands that are run here to come between. It returns false
// if there is nothing to be run.
func (s *session) playReply(c *upcall, reply []byte) bool {
	header := strconv.AppendInt([]byte("*"), int64(len(c.parts)), 10)
	at := len(header) + len("\r\n")
	if !bytes.HasPrefix(reply, header) || len(reply) < at {
		return false
	}
	for _, i := range c.parts {
		length, ok := resp.ReplyLength(reply[at:])
		if !ok {
			return false
		}
		step := &c.exec.steps[i]
		step.from, step.to = at, at+length
		at += length
	}
	c.exec.reply = reply
	s.playing = c.exec
	return true
}

// renew opens another link after a refusal: all that was sent is answered or refused.
func (u *upstream) renew() { u.lose(errStrayed) }

// lose ends the link: what was sent and can be sent again will be, and the rest is answered.
func (u *upstream) lose(err error) {
	s := u.session
	if u.connected && !errors.Is(err, errStrayed) {
		s.server.forwarding.log.Debug("a connection to the leader was lost", "node", u.node, "client", s.conn.ID(), "unanswered", len(u.calls), "error", err)
	}
	u.close()
	if u.partial { // the client has half a reply, and nothing can follow it
		s.conn.Close()
		return
	}
	now := s.loop.loop.Now()
	again := true // no call behind was, or may have been, applied
	for _, c := range slices.Backward(u.calls) {
		unknown := c.fate == upSent
		if c.fate != upSent && c.fate != upRefused {
			continue
		}
		again = again && !(unknown && c.write)
		c.reply = nil
		switch {
		case unknown && c.write:
			c.decide(indeterminateReply)
		case again && c.watched:
			c.decide(s.nullArray(c))
		case again:
			c.fate, c.pass = upWaiting, c.passes()
			if c.until.IsZero() {
				c.until = now.Add(s.server.forwarding.patience)
			}
		default:
			c.decide(leaderLostReply)
		}
	}
	for _, c := range u.calls {
		if c.fate == upWaiting && c.watched {
			c.decide(s.nullArray(c))
		}
	}
	u.pump()
}

// passes is how many replies come before that of a call: of the commands of a transaction.
func (c *upcall) passes() int {
	if c.entry != nil && c.entry.row.Name == execName {
		return 1 + len(c.parts)
	}
	return 0
}

// nullArray is the reply of an EXEC whose watched keys were touched.
func (s *session) nullArray(c *upcall) []byte {
	if c.state.resp3 {
		return []byte("_\r\n")
	}
	return []byte("*-1\r\n")
}

// close ends the link. Watched keys are lost with it.
func (u *upstream) close() {
	if u.link != nil {
		u.link.close()
		u.link = nil
	}
	u.connected, u.refused, u.holding, u.state, u.strayed, u.out = false, false, false, upstate{}, time.Time{}, u.out[:0]
	if u.watching {
		u.watching = false
		u.session.watchLost = true
	}
}

// end is close for good.
func (u *upstream) end() { u.close() }

// look is called every now and then, and when another node leads: it gives up on a node that does not lead any more, and
// tries again what has failed.
func (u *upstream) look() {
	f, now := u.session.server.forwarding, u.session.loop.loop.Now()
	if leader := f.leader(); u.link != nil {
		switch {
		case leader == u.node:
			u.strayed = time.Time{}
		case u.strayed.IsZero():
			u.strayed = now
		}
		patience := f.drain
		if leader == "" {
			patience = f.unled
		}
		if !u.strayed.IsZero() && (leader != "" && !u.outstanding() || now.Sub(u.strayed) > patience) {
			u.lose(errStrayed)
		}
	}
	u.pump()
	u.session.goOn()
}
