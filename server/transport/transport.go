// Package transport carries bytes between sockets and sessions. A session (Handler) knows no socket; it lives on an
// event loop, is told when bytes arrived, reads them through its connection's parser, and appends replies to its
// connection's output.
//
// # Loops
//
// There is one Loop per core, each a goroutine, and a connection stays with one loop for its life. A loop turns:
//
//	wait for ready sockets or posted functions
//	run the functions posted from other goroutines
//	read every ready socket once (at most maxRead bytes) and call Handler.Data
//	run the functions posted meanwhile
//	OnTurnEnd                         the owner seals its batches
//	settle every dirty connection     flush its output (writev), change its interest, or take it down
//
// The invariants:
//
//   - Everything that belongs to a loop's connections happens on its goroutine: all methods of Handler, all methods
//     of Conn unless they say otherwise. Other goroutines use Loop.Post.
//   - A loop never blocks but in its wait: sockets are non-blocking, and goroutines that serve a connection hand it
//     bytes and take bytes, but never hold a lock while they are in a system call.
//   - Handler.Closed is called exactly once, as the last call, at the end of a turn: never from within another call.
//   - Whatever a handler does is followed by OnTurnEnd before the loop waits: where a handler is called behind it (Closed,
//     Drained), another turn follows at once.
//   - Many posts cost one wake-up: a poster wakes the loop only if it is the first to find it asleep.
//
// # Transports
//
// On Linux, plain TCP and Unix sockets are registered with their loop's epoll instance (socket_linux.go). Everywhere
// else, and for TLS, a connection has two goroutines (stream.go): one reads and posts what arrived, and does not read
// on until the loop has taken it; one writes what the loop hands it.
package transport

import (
	"errors"
	"runtime"
	"time"
)

// Handler is one connection's session. All methods are called on the connection's loop, never concurrently.
type Handler interface {
	// Data says that bytes arrived: the handler takes commands from c.Parser with Next until there are no more. It
	// may stop earlier, with c.PauseReading, and go on later by itself. Arguments stay valid until Data returns; those
	// taken outside of Data, until the next call of Data.
	Data(c *Conn)
	// Closed says that the connection is gone: its output is dropped, its parser is empty. err is nil if the handler
	// asked for it, else what happened; io.EOF if the peer closed.
	Closed(c *Conn, err error)
}

// EOFHandler is implemented by handlers that still have replies to give when the peer has ended its side.
type EOFHandler interface {
	// EOF says that nothing will arrive any more. The handler calls CloseAfterFlush, now or when it is done. Without
	// this method, the connection is closed once its output has been flushed.
	EOF(c *Conn)
}

// DrainHandler is implemented by handlers that hold back while the peer reads slowly.
type DrainHandler interface {
	// Drained says that all output has been handed to the kernel, after some of it had had to wait, or while reading is
	// paused. It is called at the end of a turn, behind OnTurnEnd; another turn follows at once.
	Drained(c *Conn)
}

// ErrServerClosed is what Closed gets for connections that Server.Close takes down, and Listen returns after it.
var ErrServerClosed = errors.New("transport: server closed")

// Options say how a Server works.
type Options struct {
	// Loops is the number of event loops. Default: GOMAXPROCS.
	Loops int
	// NewHandler makes the session of a new connection, on the connection's loop. Required.
	NewHandler func(c *Conn) Handler
	// Accept, if set, is asked about each new connection, on the connection's loop, before NewHandler. If ok is
	// false, reply is sent and the connection closed; no handler is made for it.
	Accept func(c *Conn) (reply []byte, ok bool)
	// OnTurnEnd, if set, is called in each turn after all ready connections were read and before output is flushed.
	OnTurnEnd func(l *Loop)
	// OnTick, if set, is called on each loop about every TickInterval.
	OnTick func(l *Loop)
	// TickInterval defaults to 100 ms.
	TickInterval time.Duration
	// KeepAlive is the idle time after which TCP probes the peer (tcp-keepalive). 0 means no probes.
	KeepAlive time.Duration
	// HandshakeTimeout bounds TLS handshakes. Default: 10 s.
	HandshakeTimeout time.Duration
	// Portable serves plain connections with goroutines too, as on systems without epoll.
	Portable bool
	// OnAcceptError, if set, hears why connections cannot be accepted (no file descriptors left, for one). It is
	// called from various goroutines, at most once per listener and tick; accepting goes on by itself.
	OnAcceptError func(err error)
}

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	if o.Loops == 0 {
		o.Loops = runtime.GOMAXPROCS(0)
	}
	if o.TickInterval == 0 {
		o.TickInterval = 100 * time.Millisecond
	}
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = 10 * time.Second
	}
}

// Validate reports every fault of the options at once.
func (o *Options) Validate() error {
	var faults []error
	if o.Loops < 1 {
		faults = append(faults, errors.New("transport: Loops must be at least 1"))
	}
	if o.NewHandler == nil {
		faults = append(faults, errors.New("transport: NewHandler is missing"))
	}
	if o.TickInterval < 0 || o.KeepAlive < 0 || o.HandshakeTimeout < 0 {
		faults = append(faults, errors.New("transport: a time is negative"))
	}
	return errors.Join(faults...)
}
