package server

import (
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/server/resp"
)

// gather answers the command that s is running with what all loops know: collect runs on each loop, and answer, back on
// the session's, gets what they returned, by number of loop. The session takes no further command meanwhile. Each loop
// writes to its own place, and the last one to finish posts the answer, so that no lock is needed.
func gather[T any](s *session, collect func(l *loop) T, answer func(parts []T, w *resp.Writer)) {
	e := s.client.lastCommand
	loops := s.server.loops
	parts := make([]T, len(loops))
	var left atomic.Int64
	left.Store(int64(len(loops)))
	s.busy = true
	for i, l := range loops {
		// A loop that has stopped takes no post: then the server is closing, and nobody waits for the answer.
		l.loop.Post(func() {
			parts[i] = collect(l)
			if left.Add(-1) > 0 {
				return
			}
			s.loop.loop.Post(func() {
				s.resume(func() {
					s.replyLate(e, func(w *resp.Writer) { answer(parts, w) })
				})
			})
		})
	}
}

// workReply runs do on a worker and then has answer write the reply of the command that s is running.
func (s *session) workReply(do func(), answer func(w *resp.Writer)) {
	e := s.client.lastCommand
	s.work(do, func() { s.replyLate(e, answer) })
}

// ask is gather for workers: it visits the loops one after the other and waits. It must not be called on a loop. A loop
// that has stopped leaves its place empty.
func ask[T any](srv *Server, collect func(l *loop) T) []T {
	parts := make([]T, len(srv.loops))
	for i, l := range srv.loops {
		done := make(chan struct{})
		if l.loop.Post(func() {
			parts[i] = collect(l)
			close(done)
		}) {
			<-done
		}
	}
	return parts
}

// slowly has do answer the command that s is running on a worker, where it may block, and notes how long it took. do
// gets a copy of the arguments and may touch neither s nor its loop.
func (s *session) slowly(args [][]byte, do func(args [][]byte, w *resp.Writer)) {
	s.slowlyThen(args, do, func() {})
}

// slowlyThen is slowly, and runs then on the loop before the reply is sent.
func (s *session) slowlyThen(args [][]byte, do func(args [][]byte, w *resp.Writer), then func()) {
	e := s.client.lastCommand
	args = cloneArgs(args)
	w := &resp.Writer{RESP3: s.resp3}
	var took time.Duration
	s.work(func() {
		begun := reading()
		do(args, w)
		took = reading() - begun
	}, func() {
		s.took(e, args, took)
		then()
		s.served(e, w)
	})
}
