package raftfsm

import (
	"net"
	"sync"
	"time"
)

// pacedConn is a dialled connection beneath the stock transport, whose time-out is the same for a heartbeat and for half a
// gigabyte: here each message has longer, by what it takes on the slowest link and the slowest disk that count as working. The
// transport sets a deadline before each message, for both directions or, in a pipeline, for writing; one for reading, in a
// pipeline, before it waits for the answer to the first message that has none.
type pacedConn struct {
	net.Conn

	mu      sync.Mutex
	due     time.Time // of the message that is being written, were it empty
	whole   bool      // and of its answer
	written []int     // bytes of messages whose answers are not waited for yet; the last is being written
}

// linkPace is what a link that works carries at least, bytes per second.
const linkPace = 1 << 20

// allowance is how much longer a message of this size may take than an empty one: it travels, and is written (diskPace).
func allowance(bytes int) time.Duration {
	return time.Duration(bytes)*time.Second/linkPace + time.Duration(bytes)*time.Second/diskPace
}

// smallMessage is what gets no longer.
const smallMessage = 64 << 10

// SetDeadline begins a message, and says when its answer is due.
func (c *pacedConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	c.due, c.whole, c.written = t, true, []int{0}
	c.mu.Unlock()
	return c.Conn.SetDeadline(t)
}

// SetWriteDeadline begins a message of a pipeline.
func (c *pacedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	if c.whole {
		c.whole, c.written = false, nil
	}
	c.due, c.written = t, append(c.written, 0)
	c.mu.Unlock()
	return c.Conn.SetWriteDeadline(t)
}

// SetReadDeadline says when the answer to the pipeline's next message is due.
func (c *pacedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	if len(c.written) > 0 {
		if n := c.written[0]; n > smallMessage {
			t = t.Add(allowance(n))
		}
		c.written = c.written[1:]
	}
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(t)
}

// Write writes a part of the message.
func (c *pacedConn) Write(b []byte) (int, error) {
	if err := c.extend(len(b)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// extend moves the deadline for more of the message.
func (c *pacedConn) extend(more int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.written) - 1
	if last < 0 {
		return nil
	}
	c.written[last] += more
	switch until := c.due.Add(allowance(c.written[last])); {
	case c.written[last] <= smallMessage:
		return nil
	case c.whole:
		return c.Conn.SetDeadline(until)
	default:
		return c.Conn.SetWriteDeadline(until)
	}
}
