package server

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
)

// Where one shard serves clients of every kind (cluster-enabled no), a node that does not lead it hands what its clients ask
// on to the leader: for each session there is a connection of its own (upstream.go), at whose other end the leader has an
// ordinary session (origin.go). What must hold:
//
//   - Replies go to the client in the order of its commands, forwarded or not: a forwarded call takes its place among the
//     session's unfinished calls as a call in a batch does.
//   - Nothing is repeated that may have been applied. A call is sent again only if its session at the leader refused it in
//     words that no command can utter, or if it cannot write; and never if a call behind it was, or may have been, applied,
//     since then their order would be another. A write that got no answer is INDETERMINATE.
//   - A session that was handed over is not handed on: a node that does not lead either refuses. After its first refusal
//     a session at the leader refuses everything, so that what is sent again keeps its order.
//   - What cannot be sent waits for a bounded time, and is then refused with CLUSTERDOWN.
//   - A transaction is kept here until EXEC and sent whole. Keys are watched at the leader; when the connection is lost, they
//     count as touched, and so do those that were watched here before another node came to lead.
//   - When this node comes to lead, a session comes home as soon as nothing of it is unanswered.

// forwarding is how the sessions of a node reach the leader.
type forwarding struct {
	leads  func() bool   // this node leads, and may serve
	leader func() string // the node that leads, as far as is known; empty: none
	dial   func(ctx context.Context, node string) (net.Conn, error)
	adopt  func(conn net.Conn) // takes the other end of a connection to this node itself
	self   string
	log    *slog.Logger

	patience time.Duration // how long a call may wait to be sent
	drain    time.Duration // how long a node that does not lead any more may take to answer what it was sent
	unled    time.Duration // the same while nobody is known to lead

	ctx    context.Context
	stop   context.CancelFunc
	joined sync.WaitGroup
}

const (
	forwardPatience = 5 * time.Second
	drainPatience   = 500 * time.Millisecond
	unledPatience   = 3 * time.Second
)

func newForwarding(self string, log *slog.Logger) *forwarding {
	f := &forwarding{self: self, log: log, patience: forwardPatience, drain: drainPatience, unled: unledPatience}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// close ends all connections and waits for their goroutines. The loops have stopped, or go on taking posts.
func (f *forwarding) close() {
	f.stop()
	f.joined.Wait()
}

// dialNode connects to a node, which may be this one: a session whose calls have to be sent again while this node comes to
// lead goes the same way as all others.
func (f *forwarding) dialNode(ctx context.Context, node string) (net.Conn, error) {
	if node != f.self {
		return f.dial(ctx, node)
	}
	here, there := net.Pipe()
	f.adopt(there)
	return here, nil
}

// away says whether the leader's session runs the next command that is the leader's business, or, with wait, that this
// cannot be said before what is unfinished is answered.
func (s *session) away() (forward, wait bool) {
	f := s.server.forwarding
	switch {
	case f == nil || s.origin != nil:
		return false, false
	case s.up != nil && f.leads():
		if len(s.up.calls) > 0 {
			return false, true
		}
		s.comeHome()
		return false, false
	case s.up != nil:
		return true, false
	case f.leads():
		return false, false
	case s.unfinished() > 0: // this node has taken them, and must answer
		return false, true
	}
	if s.watcher != nil { // nobody tells this node any more what becomes of the keys
		s.unwatch()
		s.watchLost = true
	}
	s.up = newUpstream(s)
	s.loop.away[s] = struct{}{}
	return true, false
}

// elsewhere says whether the leader, and not this node, is to run the session's data commands.
func (s *session) elsewhere() bool {
	f := s.server.forwarding
	return f != nil && s.origin == nil && !f.leads()
}

// readsHere says whether this node's own replica answers a command: a read of a READONLY connection, which may see the past.
func (s *session) readsHere(e *entry) bool {
	return s.readOnly && e.server == nil && e.row.Flags&command.ReadOnly != 0 && s.server.node.routing.Load().sole != nil
}

// comeHome has this node run the session's commands again.
func (s *session) comeHome() {
	s.up.end()
	s.up = nil
	delete(s.loop.away, s)
}

// forward sends a command to the leader, or returns false if it has to wait.
func (s *session) forward(e *entry, args [][]byte) bool {
	ordinary := e.server == nil
	if !ordinary && s.unfinished() > 0 {
		return false
	}
	watch := e.row.Name == "WATCH"
	if watch && s.watchLost { // its EXEC will do nothing whatever comes
		w := s.writer()
		w.Simple(reply.OK)
		s.finish(w)
		return true
	}
	c := &upcall{entry: e, write: writes(e), watch: watch}
	c.request = appendCommand(nil, s.server.table.original(e, args))
	s.up.add(c)
	return true
}

// forwardExec sends a transaction to the leader, whole, or returns false if it has to wait. Commands that are about the
// connection or this server, and not the leader's to answer, are run here when the others' replies have come; SELECT counts
// there, too.
func (s *session) forwardExec(e *entry) bool {
	m, u := s.multi, s.up
	watched := u.watches()
	if s.unfinished() > 0 && (m.server || watched) {
		return false
	}
	x := s.newExecution(e)
	c := &upcall{entry: e, write: m.flags&command.Write != 0, watched: watched}
	c.request = appendCommand(nil, [][]byte{[]byte("MULTI")})
	c.pass = 1
	for i := range x.steps {
		step := &x.steps[i]
		moves := step.entry.row.Name == "SELECT" || step.entry.row.Name == "HELLO" && len(step.args) == 2
		if step.sent = !step.data && step.entry.leaders(); !step.data && !step.sent && !moves {
			continue
		}
		c.request = appendCommand(c.request, s.server.table.original(step.entry, step.args))
		c.pass++
		c.parts = append(c.parts, i)
	}
	c.request = appendCommand(c.request, [][]byte{[]byte(execName)})
	if m.server {
		c.exec = x
		s.busy = true
	}
	s.multi = nil
	u.watching = false
	u.add(c)
	return true
}

// writes says whether a command may change something.
func writes(e *entry) bool { return e.row.Flags&command.Write != 0 }

// lookForLeader has the sessions that are away see whether the leader is still where it was.
func (l *loop) lookForLeader() {
	for s := range l.away {
		s.up.look()
	}
}

// leadershipMoved has all sessions look at once. Whoever learns of it calls this, from any goroutine.
func (srv *Server) leadershipMoved() {
	for _, l := range srv.loops {
		l.loop.Post(l.lookForLeader)
	}
}
