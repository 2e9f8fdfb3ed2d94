package transport

import (
	"sync"
	"sync/atomic"
	"time"
)

// Loop is one event loop: a goroutine that serves its connections turn by turn.
type Loop struct {
	// User is the owner's. Set it between New and Start, or on the loop.
	User any

	id     int
	server *Server
	poll   *poller

	posted struct {
		sync.Mutex
		fns     []func()
		stopped bool
	}
	asleep atomic.Bool // the loop waits, or is about to, and nobody has woken it yet
	ticks  atomic.Bool // a tick is queued
	load   atomic.Int64

	// The rest belongs to the loop's goroutine.
	running []func() // the other one of two slices that take turns with posted.fns
	conns   map[uint64]*Conn
	dirty   []*Conn
	now     time.Time
	busy    time.Time // since when the loop has neither waited nor posted the lookout
	tickFn  func()
	again   bool // a handler was called behind OnTurnEnd: turn once more before waiting
	quit    bool
}

func newLoop(id int, s *Server) (*Loop, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &Loop{id: id, server: s, poll: p, conns: make(map[uint64]*Conn), now: time.Now()}
	l.tickFn = l.tick
	return l, nil
}

// ID returns the loop's number, from 0. It may be called from any goroutine.
func (l *Loop) ID() int { return l.id }

// Now returns the time at which the turn under way began.
func (l *Loop) Now() time.Time { return l.now }

// Conns calls visit for each connection of the loop, in no order, until it returns false.
func (l *Loop) Conns(visit func(c *Conn) bool) {
	for _, c := range l.conns {
		if !visit(c) {
			return
		}
	}
}

// Conn returns the loop's connection of that ID, or nil.
func (l *Loop) Conn(id uint64) *Conn { return l.conns[id] }

// Post has fn run on the loop, after all that was posted before. It may be called from any goroutine, the loop's own
// included. It returns false, and fn will not run, once the loop has stopped.
func (l *Loop) Post(fn func()) bool {
	l.posted.Lock()
	if l.posted.stopped {
		l.posted.Unlock()
		return false
	}
	l.posted.fns = append(l.posted.fns, fn)
	if l.asleep.Load() && l.asleep.CompareAndSwap(true, false) {
		l.poll.wake() // under the lock, so that it cannot meet a poller that is closed
	}
	l.posted.Unlock()
	return true
}

// run is the loop's goroutine.
func (l *Loop) run() {
	for !l.quit {
		waited := l.wait()
		l.now = time.Now()
		if waited {
			l.busy = l.now
		} else if l.now.Sub(l.busy) > lookoutAfter {
			l.busy = l.now
			l.server.postLookout()
		}
		l.runPosted()
		l.poll.dispatch()
		l.runPosted()
		if l.server.opts.OnTurnEnd != nil {
			l.server.opts.OnTurnEnd(l)
		}
		l.settle()
	}
	l.posted.Lock()
	l.posted.stopped = true
	rest := l.posted.fns
	l.posted.fns = nil
	l.posted.Unlock()
	for _, fn := range rest {
		fn()
	}
	l.settle()
	l.poll.close()
}

// wait returns when a socket is ready or something is posted, and whether the loop had to give up its processor for that.
func (l *Loop) wait() (waited bool) {
	if l.poll.collect() || l.hasPosted() || l.again {
		l.again = false
		return false
	}
	l.asleep.Store(true)
	if l.hasPosted() { // posted before asleep was set: nobody wakes us
		l.asleep.Store(false)
		return false
	}
	l.poll.block()
	l.asleep.Store(false)
	return true
}

func (l *Loop) hasPosted() bool {
	l.posted.Lock()
	defer l.posted.Unlock()
	return len(l.posted.fns) > 0
}

// runPosted runs what has been posted so far, and not what those functions post in turn.
func (l *Loop) runPosted() {
	l.posted.Lock()
	l.running, l.posted.fns = l.posted.fns, l.running[:0]
	l.posted.Unlock()
	for i, fn := range l.running {
		l.running[i] = nil
		fn()
	}
}

func (l *Loop) tick() {
	l.ticks.Store(false)
	l.poll.tick()
	if l.server.opts.OnTick != nil {
		l.server.opts.OnTick(l)
	}
}

// requestTick is called by the server's ticker.
func (l *Loop) requestTick() {
	if l.ticks.CompareAndSwap(false, true) {
		l.Post(l.tickFn)
	}
}

// settle brings every connection that changed in this turn to rest.
func (l *Loop) settle() {
	for i := 0; i < len(l.dirty); i++ { // handlers may make more connections dirty
		c := l.dirty[i]
		l.dirty[i] = nil
		c.dirty = false
		c.settle()
	}
	l.dirty = l.dirty[:0]
}
