package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// keepAliveProbes is how many probes a silent peer may miss. As in Redis, they come a third of the idle time apart.
const keepAliveProbes = 3

// listenConfig leaves keep-alive to each connection, and multipath TCP (which costs, and which no client asks for) off.
var listenConfig = func() (c net.ListenConfig) {
	c.KeepAlive = -1
	c.SetMultipathTCP(false)
	return c
}()

// Server owns the loops, the listeners and every goroutine of this package.
type Server struct {
	opts      Options
	loops     []*Loop
	keepAlive atomic.Int64 // time.Duration
	lastID    atomic.Uint64
	alive     atomic.Int64 // connections, those on their way to their loop included
	trusted   atomic.Int64 // of these, those whose peers are trusted
	spread    atomic.Int32 // over how many loops new connections are spread
	closing   atomic.Bool
	idle      chan struct{} // gets a token when the last connection has left while closing
	stop      chan struct{} // closed when the loops end

	stopAccepting chan struct{} // closed when the listeners end

	lookout    chan struct{} // has the lookout run
	goroutines sync.WaitGroup

	mu struct {
		sync.Mutex
		started   bool
		closed    bool
		listeners []listener
	}
}

// A listener brings new connections until it is closed; close returns when no more can come.
type listener interface {
	close() error
}

// New makes a server with its loops, which do not run yet.
func New(opts Options) (*Server, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Server{opts: opts, idle: make(chan struct{}, 1), stop: make(chan struct{}), stopAccepting: make(chan struct{}), lookout: make(chan struct{}, 1)}
	s.SetKeepAlive(opts.KeepAlive)
	for id := range opts.Loops {
		l, err := newLoop(id, s)
		if err != nil {
			for _, l := range s.loops {
				l.poll.close()
			}
			return nil, err
		}
		s.loops = append(s.loops, l)
	}
	s.Spread(opts.Loops)
	return s, nil
}

// Loops returns the loops, by ID.
func (s *Server) Loops() []*Loop { return s.loops }

// Connections returns the number of open connections, refused ones included until they are gone. Any goroutine may
// call it.
func (s *Server) Connections() int { return int(s.alive.Load()) }

// Strangers returns how many of them are not trusted. Any goroutine may call it.
func (s *Server) Strangers() int { return int(s.alive.Load() - s.trusted.Load()) }

// SetKeepAlive changes Options.KeepAlive for connections to come. Any goroutine may call it.
func (s *Server) SetKeepAlive(d time.Duration) { s.keepAlive.Store(int64(d)) }

// Start starts the loops.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.started || s.mu.closed {
		return
	}
	s.mu.started = true
	for _, l := range s.loops {
		s.goFunc(l.run)
	}
	s.goFunc(s.runTicker)
	s.goFunc(s.runLookout)
}

// goFunc starts a goroutine that Close waits for.
func (s *Server) goFunc(fn func()) {
	s.goroutines.Add(1)
	go func() {
		defer s.goroutines.Done()
		fn()
	}()
}

func (s *Server) runTicker() {
	t := time.NewTicker(s.opts.TickInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			for _, l := range s.loops {
				l.requestTick()
			}
		case <-s.stop:
			return
		}
	}
}

// lookoutAfter is how long a loop may be busy before it has the lookout run.
const lookoutAfter = 200 * time.Microsecond

// runLookout is a goroutine that does nothing: running it makes Go's scheduler look for ready sockets. A thread that gets
// a loop from the runtime's poller leaves the poller to nobody, and if the loop then stays busy, a processor that is idle
// sleeps through what becomes ready for the other loops until the runtime's monitor polls, 10 to 20 ms later. The thread
// that is woken to run this one finds nothing else to do, and waits for sockets.
func (s *Server) runLookout() {
	for {
		select {
		case <-s.lookout:
		case <-s.stop:
			return
		}
	}
}

// postLookout has the lookout run where a processor is idle.
func (s *Server) postLookout() {
	select {
	case s.lookout <- struct{}{}:
	default: // it has not run since: no processor is idle
	}
}

// ListenUnix listens on a Unix socket, replacing a socket that is there already, with these permissions unless they
// are 0. The server must have been started.
func (s *Server) ListenUnix(path string, perm fs.FileMode) (net.Addr, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("transport: old socket: %w", err)
		}
	}
	addr, err := s.Listen("unix", path)
	if err != nil || perm == 0 {
		return addr, err
	}
	if err := os.Chmod(path, perm); err != nil {
		return nil, fmt.Errorf("transport: socket permissions: %w", err)
	}
	return addr, nil
}

// addListener keeps what open makes, unless the server is not running.
func (s *Server) addListener(open func() (listener, net.Addr, error)) (net.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || !s.mu.started {
		return nil, ErrServerClosed
	}
	ln, addr, err := open()
	if err != nil {
		return nil, err
	}
	s.mu.listeners = append(s.mu.listeners, ln)
	return addr, nil
}

func (s *Server) acceptError(err error) {
	if s.opts.OnAcceptError != nil {
		s.opts.OnAcceptError(err)
	}
}

// Spread has new connections go to the first so many loops, and those that there are stay where they are. Until it is called
// they go to all. It may be called from any goroutine.
func (s *Server) Spread(loops int) { s.spread.Store(int32(max(1, min(loops, len(s.loops))))) }

// newConn makes a connection for the loop that has the fewest.
func (s *Server) newConn(remote, local net.Addr, trusted bool) *Conn {
	best := s.loops[0]
	for _, l := range s.loops[1:s.spread.Load()] {
		if l.load.Load() < best.load.Load() {
			best = l
		}
	}
	best.load.Add(1)
	if trusted { // before it counts: at no moment it is a stranger
		s.trusted.Add(1)
	}
	s.alive.Add(1)
	return &Conn{id: s.lastID.Add(1), loop: best, remote: remote, local: local, trusted: trusted}
}

// left counts a connection that is gone.
func (s *Server) left(c *Conn) {
	c.loop.load.Add(-1)
	last := s.alive.Add(-1) == 0
	if c.trusted {
		s.trusted.Add(-1)
	}
	if last && s.closing.Load() {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// Close stops accepting, lets every connection write out what it has, closes it, and ends all goroutines. When ctx
// is done first, what has not been written is dropped, and the context's error is returned.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.mu.closed = true
	started, listeners := s.mu.started, s.mu.listeners
	s.mu.listeners = nil
	s.mu.Unlock()

	s.closing.Store(true)
	close(s.stopAccepting)
	if !started {
		for _, l := range s.loops {
			l.poll.close()
		}
		return nil
	}
	var errs []error
	for _, ln := range listeners {
		errs = append(errs, ln.close())
	}
	s.eachConn((*Conn).closeForServer)
	errs = append(errs, s.waitIdle(ctx))
	close(s.stop)
	for _, l := range s.loops {
		l.Post(func() { l.quit = true })
	}
	s.goroutines.Wait()
	return errors.Join(errs...)
}

// eachConn has fn called for all connections, each on its loop.
func (s *Server) eachConn(fn func(c *Conn)) {
	for _, l := range s.loops {
		l.Post(func() {
			for _, c := range l.conns {
				fn(c)
			}
		})
	}
}

// waitIdle waits until all connections are gone, the hard way once ctx is done.
func (s *Server) waitIdle(ctx context.Context) error {
	var err error
	done := ctx.Done()
	for s.alive.Load() > 0 {
		select {
		case <-s.idle:
		case <-done:
			err, done = ctx.Err(), nil
			s.eachConn((*Conn).Close)
		}
	}
	return err
}
