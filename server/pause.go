package server

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/server/resp"
)

// What CLIENT PAUSE has wait; the greater includes the lesser.
const (
	pausedNothing int32 = iota
	pausedWrites        // and keys whose time has come stay
	pausedAll
)

// pause is CLIENT PAUSE's doing. Commands that have to wait stay with their sessions, which loop.paused lists.
type pause struct {
	what atomic.Int32 // looked at for every command

	mu struct {
		sync.Mutex
		until time.Time
		timer *time.Timer
	}
}

// holds says whether a command has to wait.
func (p *pause) holds(row *command.Command) bool {
	switch p.what.Load() {
	case pausedNothing:
		return false
	case pausedWrites:
		return row.Flags&command.Write != 0
	}
	return true
}

// extend pauses, until end calls back. Of two pauses, the wider and the longer count.
func (p *pause) extend(what int32, length time.Duration, end func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.what.Load() == pausedNothing {
		p.mu.until = now
	}
	p.what.Store(max(p.what.Load(), what))
	if until := now.Add(length); until.After(p.mu.until) {
		p.mu.until = until
	}
	if p.mu.timer != nil {
		p.mu.timer.Stop()
	}
	p.mu.timer = time.AfterFunc(p.mu.until.Sub(now), func() {
		p.mu.Lock()
		over := !time.Now().Before(p.mu.until)
		p.mu.Unlock()
		if over { // else it was extended while the timer went off
			end()
		}
	})
}

// end ends the pause. What waits has to be told afterwards.
func (p *pause) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what.Store(pausedNothing)
	if p.mu.timer != nil {
		p.mu.timer.Stop()
	}
}

// unpause lets what waits go on.
func (srv *Server) unpause() {
	srv.node.pause.end()
	for _, l := range srv.loops {
		l.loop.Post(l.resumePaused)
	}
}

// postpone has the session wait until the pause is over, and give its command again.
func (s *session) postpone() bool {
	s.postponed = true
	s.loop.paused = append(s.loop.paused, s)
	return false
}

// resumePaused runs on the loop.
func (l *loop) resumePaused() {
	paused := l.paused
	l.paused = nil
	for _, s := range paused {
		s.postponed = false
		s.goOn()
	}
}

// maxPause keeps the end of a pause a time.
const maxPause = math.MaxInt64 / int64(time.Millisecond)

func clientPause(s *session, args [][]byte, w *resp.Writer) {
	what := pausedAll
	switch {
	case len(args) > 4:
		w.Error("ERR unknown subcommand or wrong number of arguments for '" + string(shortened(args[1], shownBytes)) + "'. Try CLIENT HELP.")
		return
	case len(args) == 4 && isWord(args[3], "WRITE"):
		what = pausedWrites
	case len(args) == 4 && !isWord(args[3], "ALL"):
		w.Error("ERR CLIENT PAUSE mode must be WRITE or ALL")
		return
	}
	millis, ok := value.ParseInt(args[2])
	switch {
	case !ok:
		w.Error("ERR timeout is not an integer or out of range")
	case millis < 0:
		w.Error("ERR timeout is negative")
	case millis > maxPause:
		w.Error("ERR timeout is out of range")
	default:
		s.server.node.pause.extend(what, time.Duration(millis)*time.Millisecond, s.server.unpause)
		w.Simple(reply.OK)
	}
}

func clientUnpause(s *session, _ [][]byte, w *resp.Writer) {
	s.server.unpause()
	w.Simple(reply.OK)
}
