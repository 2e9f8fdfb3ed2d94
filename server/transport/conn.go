package transport

import (
	"io"
	"net"
	"time"

	"github.com/larder-db/larder/server/resp"
)

// Conn is one client's connection. Its methods are for its loop's goroutine, unless they say otherwise.
type Conn struct {
	// Parser splits what arrived into commands.
	Parser resp.Parser
	// User is the owner's.
	User any

	id      uint64
	loop    *Loop
	link    link
	handler Handler
	remote  net.Addr
	local   net.Addr
	secure  bool
	trusted bool

	out  output
	last time.Time

	dirty    bool // in loop.dirty
	paused   bool
	ended    bool  // the peer has ended its side: there is nothing to read
	waited   bool  // output had to wait for the peer since the handler was last told that it is drained
	flushing bool  // close once the output is flushed
	closing  bool  // close at the end of the turn
	closed   bool  // Closed has been called
	reason   error // for Closed
}

// A link is what carries a connection's bytes. Its methods are called on the loop.
type link interface {
	// settle writes as much of c.out as can be written without blocking; drained is false if the peer is too slow for
	// all of it, and then settle will be called again. It makes reading stop or go on as c.wantsData says.
	settle(c *Conn) (drained bool, err error)
	// unsent returns the number of bytes taken from c.out that have not been written yet.
	unsent() int
	// fd returns the file descriptor, or -1.
	fd() int
	// close takes the link down. It does not block.
	close()
}

// adopt makes c a connection of its loop. It runs on the loop.
func (c *Conn) adopt() {
	l := c.loop
	c.last = l.now
	l.conns[c.id] = c
	if l.server.closing.Load() {
		c.closeForServer()
		return
	}
	if accept := l.server.opts.Accept; accept != nil {
		if refusal, ok := accept(c); !ok {
			c.Write(refusal)
			c.CloseAfterFlush()
			return
		}
	}
	c.handler = l.server.opts.NewHandler(c)
	c.touch()
}

// ID returns the connection's number, unique within the server, from 1. Any goroutine may call it.
func (c *Conn) ID() uint64 { return c.id }

// Loop returns the loop that the connection belongs to. Any goroutine may call it.
func (c *Conn) Loop() *Loop { return c.loop }

// RemoteAddr returns the peer's address. Any goroutine may call it.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr returns this side's address. Any goroutine may call it.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// Secure says whether the connection is a TLS one. Any goroutine may call it.
func (c *Conn) Secure() bool { return c.secure }

// Trusted says whether the peer proved who it is before the connection came here. Any goroutine may call it.
func (c *Conn) Trusted() bool { return c.trusted }

// Fd returns the socket's file descriptor for show, or -1 if the transport does not know it.
func (c *Conn) Fd() int { return c.link.fd() }

// LastInteraction returns when bytes last arrived.
func (c *Conn) LastInteraction() time.Time { return c.last }

// Out returns the slice that output is appended to and has it flushed at the end of the turn. The pointer is good
// until the next call of any method.
func (c *Conn) Out() *[]byte {
	c.touch()
	return c.out.open()
}

// Write appends a copy of p to the output, to be flushed at the end of the turn.
func (c *Conn) Write(p []byte) {
	if len(p) == 0 || c.closed {
		return
	}
	c.touch()
	tail := c.out.open()
	*tail = append(*tail, p...)
}

// WriteOwned appends p, which is the connection's from now on, to the output, without a copy if it is long.
func (c *Conn) WriteOwned(p []byte) {
	if len(p) < smallOwned {
		c.Write(p)
		return
	}
	if c.closed {
		return
	}
	c.touch()
	c.out.pushOwned(p)
}

// OutputBuffered returns how many bytes of output the peer has not taken yet (client-output-buffer-limit).
func (c *Conn) OutputBuffered() int { return c.out.size() + c.link.unsent() }

// PauseReading stops reading from the peer: its bytes stay in the kernel, and it slows down. Data is not called
// while reading is paused.
func (c *Conn) PauseReading() {
	if !c.paused {
		c.paused = true
		c.touch()
	}
}

// ResumeReading ends the pause. Commands that are already in the parser are the handler's to take: Data is called
// only when more bytes arrive.
func (c *Conn) ResumeReading() {
	if c.paused {
		c.paused = false
		c.touch()
	}
}

// ReadingPaused says whether reading is paused.
func (c *Conn) ReadingPaused() bool { return c.paused }

// CloseAfterFlush closes the connection as soon as all output has been written. Nothing more is read.
func (c *Conn) CloseAfterFlush() {
	c.flushing = true
	c.touch()
}

// Close drops the output and closes the connection at the end of the turn.
func (c *Conn) Close() {
	c.closing = true
	c.touch()
}

// Closing says whether the connection is closed or about to be: Data will not be called any more.
func (c *Conn) Closing() bool { return c.closing || c.flushing || c.closed }

// wantsData says whether bytes from the peer are to be read.
func (c *Conn) wantsData() bool { return !c.paused && !c.ended && !c.Closing() }

// touch has the loop settle the connection at the end of the turn.
func (c *Conn) touch() {
	if !c.dirty && !c.closed {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// received tells the handler that bytes are in the parser.
func (c *Conn) received() {
	c.last = c.loop.now
	c.handler.Data(c)
	c.Parser.Release()
}

// end says that the peer has ended its side.
func (c *Conn) end() {
	if c.ended || c.Closing() {
		return
	}
	c.ended = true
	c.touch()
	if h, ok := c.handler.(EOFHandler); ok {
		h.EOF(c)
		return
	}
	c.reason = io.EOF
	c.flushing = true
}

// fail closes the connection because of err.
func (c *Conn) fail(err error) {
	if c.reason == nil && !c.closing {
		c.reason = err
	}
	c.closing = true
	c.touch()
}

// settle flushes the output and closes the connection if that is due.
func (c *Conn) settle() {
	if c.closed {
		return
	}
	wrote := c.out.size() > 0
	drained := false
	if !c.closing {
		var err error
		if drained, err = c.link.settle(c); err != nil {
			c.fail(err)
		}
	}
	switch {
	case c.closing || c.flushing && drained:
		c.takeDown()
	case !drained:
		c.waited = true
	case c.waited || c.paused && wrote:
		c.waited = false
		if h, ok := c.handler.(DrainHandler); ok {
			c.loop.again = true
			h.Drained(c)
		}
	}
}

// closeForServer closes the connection because the server closes.
func (c *Conn) closeForServer() {
	if c.reason == nil && !c.Closing() {
		c.reason = ErrServerClosed
	}
	c.CloseAfterFlush()
}

// takeDown ends the connection.
func (c *Conn) takeDown() {
	c.closing, c.closed = true, true
	c.link.close()
	c.out.drop()
	c.Parser.Reset()
	delete(c.loop.conns, c.id)
	if c.handler != nil {
		c.loop.again = true
		c.handler.Closed(c, c.reason)
	}
	c.loop.server.left(c)
}
