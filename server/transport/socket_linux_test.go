package transport

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A pause in which nothing comes costs no system call; one in which something does is no reason to turn again and again.
func TestPauseWaitsForWhatIsNotWanted(t *testing.T) {
	h := newHouse(t, "epoll")
	c := h.client()
	conn := receive(t, "the connection", h.conns)
	waitedFor := func() uint32 { return onLoop(t, conn, func() uint32 { return conn.link.(*socket).events }) }
	for range 3 {
		c.send("PAUSE\r\n")
		c.expect("+OK\r\n")
		for start := h.turns.Load(); h.turns.Load() < start+3; {
			if got := waitedFor(); got != unix.EPOLLIN {
				t.Fatalf("events %#x in a pause", got)
			}
		}
		c.send("PING\r\n")
		waitFor(t, "what came not to be waited for", func() bool { return waitedFor() == 0 })
		conn.Loop().Post(func() { conn.User.(*session).resume(conn) })
		c.expect("*1\r\n$4\r\nPING\r\n")
		if got := waitedFor(); got != unix.EPOLLIN {
			t.Fatalf("events %#x behind a pause", got)
		}
	}
}
