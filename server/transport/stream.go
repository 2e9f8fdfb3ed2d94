package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// idleRead is the buffer in which a reader waits for a quiet peer, busyRead the one for a busy peer.
	idleRead = 1 << 10
	busyRead = 32 << 10
	// maxWrite bounds one write, so that what is unsent is known to that precision.
	maxWrite = 256 << 10
	// softUnsent is how much a writer may have left without the connection counting as slow.
	softUnsent = 64 << 10
)

// stream is the link of a connection that has a reading and a writing goroutine.
//
// The reader owns in until it posts arrived; from then on the loop does, until it sends to more.
type stream struct {
	c      *Conn
	server *Server
	conn   net.Conn
	sysfd  int

	in      []byte        // arrived and not yet in the parser
	holding bool          // the loop owns in, and reading is paused
	more    chan struct{} // capacity 1: the reader may go on
	gone    chan struct{} // closed by close

	arrivedFn func()
	settleFn  func()

	mu struct {
		sync.Mutex
		wake   sync.Cond // the writer waits for chunks, or for closed
		chunks []chunk
		unsent int  // bytes not yet written, those in the writer's hands included
		notify bool // the loop wants to know when unsent is 0
		closed bool
	}
}

func startStream(s *Server, conn net.Conn, trusted bool) {
	c := s.newConn(conn.RemoteAddr(), conn.LocalAddr(), trusted)
	st := &stream{
		c: c, server: s, conn: conn, sysfd: descriptor(conn),
		more: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	st.mu.wake.L = &st.mu
	st.arrivedFn, st.settleFn = st.arrived, c.touch
	if t, ok := conn.(*tls.Conn); ok {
		c.secure = true
		// For the reader and the writer alike: a write before the handshake makes it, too.
		_ = t.SetDeadline(time.Now().Add(s.opts.HandshakeTimeout)) // fails if closed: so will the handshake
	}
	c.link = st
	c.loop.Post(func() {
		c.adopt()
		s.goFunc(st.read)
		s.goFunc(st.write)
	})
}

// descriptor returns the file descriptor under conn, for show, or -1.
func descriptor(conn net.Conn) int {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	fd := -1
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			_ = raw.Control(func(p uintptr) { fd = int(p) }) // fails if closed: then there is none
		}
	}
	return fd
}

// read is the reading goroutine.
func (st *stream) read() {
	if t, ok := st.conn.(*tls.Conn); ok {
		err := t.HandshakeContext(context.Background()) // bounded by the deadline that startStream set
		if err == nil {
			err = t.SetDeadline(time.Time{})
		}
		if err != nil {
			st.failed(fmt.Errorf("transport: TLS handshake: %w", err))
			return
		}
	}
	small := make([]byte, idleRead)
	buf := small
	var big []byte
	for {
		n, err := st.conn.Read(buf)
		if n > 0 {
			st.in = buf[:n]
			if !st.c.loop.Post(st.arrivedFn) {
				return
			}
			select {
			case <-st.more:
			case <-st.gone:
				return
			}
			switch {
			case n == len(buf) && big == nil:
				big = make([]byte, busyRead)
				buf = big
			case n <= idleRead/2:
				buf, big = small, nil
			}
		}
		if err != nil {
			st.failed(err)
			return
		}
	}
}

// failed tells the loop why nothing more will be read.
func (st *stream) failed(err error) {
	st.c.loop.Post(func() {
		if err == io.EOF { // wrapped, it is another matter: a handshake cut short
			st.c.end()
			return
		}
		st.c.fail(err)
	})
}

// arrived takes what the reader has read into the parser. It runs on the loop.
func (st *stream) arrived() {
	c := st.c
	st.holding = false
	for len(st.in) > 0 {
		if c.Closing() || c.ended {
			return
		}
		if c.paused {
			st.holding = true
			return
		}
		n := copy(c.Parser.Buffer(1), st.in)
		st.in = st.in[n:]
		c.Parser.Wrote(n)
		c.received()
	}
	select {
	case st.more <- struct{}{}:
	default: // the reader has its token already, or is gone
	}
}

// settle implements link.
func (st *stream) settle(c *Conn) (drained bool, err error) {
	c.out.seal()
	st.mu.Lock()
	if n := c.out.queued; n > 0 {
		st.mu.chunks = append(st.mu.chunks, c.out.chunks...)
		st.mu.unsent += n
		st.mu.wake.Signal()
		c.out.handedOver()
	}
	drained = st.mu.unsent == 0 || st.mu.unsent < softUnsent && !c.waited && !c.flushing
	st.mu.notify = !drained
	st.mu.Unlock()
	if st.holding && c.wantsData() {
		st.holding = false
		c.loop.Post(st.arrivedFn) // not here: Data comes before the end of a turn
	}
	return drained, nil
}

// write is the writing goroutine.
func (st *stream) write() {
	var chunks []chunk
	for {
		st.mu.Lock()
		for len(st.mu.chunks) == 0 && !st.mu.closed {
			st.mu.wake.Wait()
		}
		if st.mu.closed {
			st.mu.Unlock()
			return
		}
		chunks, st.mu.chunks = st.mu.chunks, chunks[:0]
		st.mu.Unlock()
		for i := range chunks {
			if err := st.writeChunk(&chunks[i]); err != nil {
				st.c.loop.Post(func() { st.c.fail(fmt.Errorf("transport: write: %w", err)) })
				return
			}
		}
		clear(chunks)
	}
}

func (st *stream) writeChunk(k *chunk) error {
	for k.off < len(k.b) {
		n, err := st.conn.Write(k.b[k.off:min(len(k.b), k.off+maxWrite)])
		if err != nil {
			return err
		}
		k.off += n
		st.mu.Lock()
		st.mu.unsent -= n
		tell := st.mu.unsent == 0 && st.mu.notify
		st.mu.Unlock()
		if tell {
			st.c.loop.Post(st.settleFn)
		}
	}
	k.free()
	return nil
}

// unsent implements link.
func (st *stream) unsent() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.mu.unsent
}

// fd implements link.
func (st *stream) fd() int { return st.sysfd }

// close implements link. Closing a TLS connection writes, which may block: a goroutine does it.
func (st *stream) close() {
	st.mu.Lock()
	st.mu.closed = true
	st.mu.wake.Signal()
	st.mu.Unlock()
	close(st.gone)
	st.server.goFunc(func() {
		_ = st.conn.Close() // the peer may be gone: nobody is left to tell
	})
}

// streamListener accepts connections in a goroutine.
type streamListener struct {
	server  *Server
	ln      net.Listener
	config  *tls.Config // nil: not TLS
	trusted bool
	done    chan struct{}
}

// ListenTLS listens for TLS connections. The server must have been started.
func (s *Server) ListenTLS(network, addr string, config *tls.Config) (net.Addr, error) {
	if config == nil {
		return nil, errors.New("transport: TLS needs a configuration")
	}
	return s.addListener(func() (listener, net.Addr, error) { return s.openStreamListener(network, addr, config) })
}

// ServeTrusted takes connections from a listener whose peers have proved already who they are: Conn.Trusted says so. The
// listener is closed with the server, which must have been started.
func (s *Server) ServeTrusted(ln net.Listener) error {
	_, err := s.addListener(func() (listener, net.Addr, error) {
		sl := &streamListener{server: s, ln: ln, trusted: true, done: make(chan struct{})}
		s.goFunc(sl.run)
		return sl, ln.Addr(), nil
	})
	return err
}

// Adopt takes a connection whose peer is trusted, or closes it if the server is not running.
func (s *Server) Adopt(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || !s.mu.started {
		_ = conn.Close() // nobody has used it yet
		return
	}
	startStream(s, conn, true)
}

func (s *Server) openStreamListener(network, addr string, config *tls.Config) (listener, net.Addr, error) {
	ln, err := listenConfig.Listen(context.Background(), network, addr)
	if err != nil {
		return nil, nil, fmt.Errorf("transport: %w", err)
	}
	sl := &streamListener{server: s, ln: ln, config: config, done: make(chan struct{})}
	s.goFunc(sl.run)
	return sl, ln.Addr(), nil
}

func (sl *streamListener) run() {
	defer close(sl.done)
	s := sl.server
	for {
		conn, err := sl.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptors, most likely: wait for some to be freed
			s.acceptError(fmt.Errorf("transport: accept: %w", err))
			if !s.pause() {
				return
			}
			continue
		}
		if t, ok := conn.(*net.TCPConn); ok {
			_ = t.SetKeepAliveConfig(s.keepAliveConfig()) // a refusal does no harm
		}
		if sl.config != nil {
			conn = tls.Server(conn, sl.config)
		}
		startStream(s, conn, sl.trusted)
	}
}

func (s *Server) keepAliveConfig() net.KeepAliveConfig {
	d := time.Duration(s.keepAlive.Load())
	return net.KeepAliveConfig{Enable: d > 0, Idle: d, Interval: max(d/keepAliveProbes, time.Second), Count: keepAliveProbes}
}

// pause waits for a tick and returns false if the server closes meanwhile.
func (s *Server) pause() bool {
	t := time.NewTimer(s.opts.TickInterval)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stopAccepting:
		return false
	}
}

// close implements listener.
func (sl *streamListener) close() error {
	err := sl.ln.Close()
	<-sl.done
	return err
}
