package transport

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	// maxRead bounds what is read from one connection in one turn.
	maxRead = 64 << 10
	// eagerRead is the room wanted for the next read once a read has filled all there was.
	eagerRead = 32 << 10
	// maxFlush bounds what is written to one connection in one turn.
	maxFlush = 1 << 20
	// maxVector is the number of chunks that one writev takes.
	maxVector = 64
)

// socket is the link of a connection whose socket is registered with its loop's epoll instance.
type socket struct {
	c       *Conn
	poll    *poller
	sysfd   int
	events  uint32 // what the socket is registered for; EPOLLIN stays until there is something that is not wanted
	roomFor int    // the room wanted for the next read
}

// attach registers the socket.
func (s *socket) attach() error {
	s.roomFor = 1
	s.events = unix.EPOLLIN
	return s.poll.add(s.sysfd, s.events, s)
}

// ready implements pollee.
func (s *socket) ready(events uint32) {
	const dead = unix.EPOLLHUP | unix.EPOLLERR
	c := s.c
	if events&unix.EPOLLOUT != 0 {
		c.touch()
	}
	switch {
	case c.wantsData() && events&(unix.EPOLLIN|dead) != 0:
		s.read()
	case events&dead != 0: // reported for ever, wanted or not; nobody is there to talk to
		c.fail(s.lastError())
	case events&unix.EPOLLIN != 0: // most pauses are over before anything comes, and cost no system call
		if err := s.register(s.events &^ unix.EPOLLIN); err != nil {
			c.fail(err)
		}
	}
}

// register changes what the socket is registered for.
func (s *socket) register(events uint32) error {
	if events == s.events {
		return nil
	}
	if err := s.poll.modify(s.sysfd, events); err != nil {
		return err
	}
	s.events = events
	return nil
}

func (s *socket) lastError() error {
	if code, err := unix.GetsockoptInt(s.sysfd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 {
		return fmt.Errorf("transport: connection: %w", unix.Errno(code))
	}
	return io.EOF
}

func (s *socket) read() {
	c := s.c
	room := c.Parser.Buffer(s.roomFor)
	room = room[:min(len(room), maxRead)]
	n, errno := readNonblock(s.sysfd, room)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		c.Parser.Release()
	case errno != 0:
		c.fail(fmt.Errorf("transport: read: %w", errno))
	case n == 0:
		c.end()
	default:
		s.roomFor = 1
		if n == len(room) {
			s.roomFor = eagerRead
		}
		c.Parser.Wrote(n)
		c.received()
	}
}

// settle implements link.
func (s *socket) settle(c *Conn) (drained bool, err error) {
	if err := s.flush(&c.out); err != nil {
		return false, err
	}
	drained = c.out.size() == 0
	want := s.events & unix.EPOLLIN
	if c.wantsData() {
		want = unix.EPOLLIN
	}
	if !drained {
		want |= unix.EPOLLOUT
	}
	return drained, s.register(want)
}

// flush writes until all is written, the socket is full, or it has been enough for one turn.
func (s *socket) flush(out *output) error {
	if len(out.chunks) == 0 && len(out.tail) > 0 { // the common case: one short buffer
		n, errno := writeNonblock(s.sysfd, out.tail)
		if errno == 0 && n == len(out.tail) {
			out.recycleTail()
			return nil
		}
		out.seal()
		if errno == 0 {
			out.take(n)
		} else if errno != unix.EINTR {
			return blocked(errno)
		}
	}
	out.seal()
	for written := 0; out.queued > 0 && written < maxFlush; {
		n, errno := s.writeChunks(out.chunks)
		if errno != 0 && errno != unix.EINTR {
			return blocked(errno)
		}
		out.take(n)
		written += n
	}
	return nil
}

// blocked returns nil if errno only says that the socket is full.
func blocked(errno unix.Errno) error {
	if errno == unix.EAGAIN {
		return nil
	}
	return fmt.Errorf("transport: write: %w", errno)
}

func (s *socket) writeChunks(chunks []chunk) (n int, errno unix.Errno) {
	if len(chunks) == 1 {
		b := chunks[0].b[chunks[0].off:]
		return writeNonblock(s.sysfd, b[:min(len(b), maxFlush)])
	}
	var array [maxVector][]byte
	vector := array[:0]
	for size := 0; len(vector) < min(len(chunks), maxVector) && size < maxFlush; {
		k := &chunks[len(vector)]
		vector = append(vector, k.b[k.off:])
		size += len(k.b) - k.off
	}
	n, err := unix.Writev(s.sysfd, vector)
	if err != nil {
		return 0, err.(unix.Errno) // all that it returns
	}
	return n, 0
}

// unsent implements link.
func (s *socket) unsent() int { return 0 }

// fd implements link.
func (s *socket) fd() int { return s.sysfd }

// close implements link.
func (s *socket) close() {
	if s.sysfd >= 0 {
		s.poll.remove(s.sysfd)
		unix.Close(s.sysfd)
		s.sysfd = -1
	}
}
