package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestHalfCommands(t *testing.T) {
	eachTransport(t, func(t *testing.T, h *house) {
		c := h.client()
		for i, in := 0, "*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\nPING\r\n"; i < len(in); i++ {
			c.send(in[i : i+1])
		}
		c.expect("*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n*1\r\n$4\r\nPING\r\n")
		c.send("*x\r\n")
		c.expect("-ERR Protocol error: invalid multibulk length\r\n")
		c.expectEnd()
		if err := receive(t, "Closed", h.reasons); err != nil {
			t.Errorf("closed because of %v", err)
		}
	})
}

func TestHugeValues(t *testing.T) {
	const size = 8 << 20
	eachTransport(t, func(t *testing.T, h *house) {
		c := h.client()
		c.send(fmt.Sprintf("*2\r\n$3\r\nLEN\r\n$%d\r\n%s\r\nBIG %d\r\nPING\r\n", size, strings.Repeat("v", size), size))
		c.expect(fmt.Sprintf(":%d\r\n$%d\r\n", size, size))
		c.expect(strings.Repeat("x", size))
		c.expect("\r\n*1\r\n$4\r\nPING\r\n")
	})
}

func TestDeepPipeline(t *testing.T) {
	const n = 50_000
	eachTransport(t, func(t *testing.T, h *house) {
		c := h.client()
		go io.WriteString(c.Conn, strings.Repeat("*1\r\n$4\r\nPING\r\n", n)) // expect finds out if it fails
		c.expect(strings.Repeat("*1\r\n$4\r\nPING\r\n", n))
	})
}

// A peer that does not read stops being read; when it reads again, all goes on.
func TestSlowReaderIsSlowedDown(t *testing.T) {
	const value, n = 256 << 10, 200
	eachTransport(t, func(t *testing.T, h *house) {
		c := h.client()
		var sender sync.WaitGroup
		sender.Go(func() { io.WriteString(c.Conn, strings.Repeat(fmt.Sprintf("BIG %d\r\n", value), n)) })
		conn := receive(t, "the connection", h.conns)
		waitFor(t, "reading to be paused", func() bool { return onLoop(t, conn, conn.ReadingPaused) })
		if got := onLoop(t, conn, conn.OutputBuffered); got > h.pauseAbove+2*value {
			t.Errorf("%d bytes of output wait", got)
		}
		for range n {
			c.expect(fmt.Sprintf("$%d\r\n", value))
			if _, err := c.r.Discard(value + 2); err != nil {
				t.Fatal(err)
			}
		}
		sender.Wait()
		if h.drained.Load() == 0 {
			t.Error("Drained was never called")
		}
	}, func(h *house, _ *Options) { h.pauseAbove = 1 << 20 })
}

func TestOutputLimit(t *testing.T) {
	eachTransport(t, func(t *testing.T, h *house) {
		c := h.client()
		c.send(strings.Repeat("BIG 1000000\r\n", 100))
		if err := receive(t, "Closed", h.reasons); err != nil {
			t.Errorf("closed because of %v", err)
		}
	}, func(h *house, _ *Options) { h.dropAbove = 20_000_000 })
}

func TestPeerClosesInMidWrite(t *testing.T) {
	eachTransport(t, func(t *testing.T, h *house) {
		c := h.client()
		c.send("BIG 50000000\r\n")
		c.expect("$50000000\r\nxxx")
		c.Close()
		if err := receive(t, "Closed", h.reasons); err == nil {
			t.Error("no reason given")
		}
	})
}

func TestPeerClosesInMidCommand(t *testing.T) {
	eachTransport(t, func(t *testing.T, h *house) {
		c := h.client()
		c.send("PING\r\n*2\r\n$100000\r\nabc")
		c.expect("*1\r\n$4\r\nPING\r\n")
		c.Close()
		if err := receive(t, "Closed", h.reasons); !errors.Is(err, io.EOF) {
			t.Errorf("closed because of %v", err)
		}
	})
}

// What was asked for before the peer ended its side is still answered.
func TestRepliesAfterEndOfInput(t *testing.T) {
	eachTransport(t, func(t *testing.T, h *house) {
		c := h.client()
		c.send("BIG 3000000\r\nPING\r\n")
		closer, ok := c.Conn.(interface{ CloseWrite() error })
		if !ok {
			t.Fatal("cannot close one side")
		}
		if err := closer.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.expect("$3000000\r\n" + strings.Repeat("x", 3_000_000) + "\r\n*1\r\n$4\r\nPING\r\n")
		c.expectEnd()
	})
}

func TestCloseFromAnotherGoroutine(t *testing.T) {
	eachTransport(t, func(t *testing.T, h *house) {
		for _, command := range []string{"QUIT", "DROP"} {
			c := h.client()
			conn := receive(t, "the connection", h.conns)
			c.send("PING\r\n") // the handshake, if any, is over
			c.expect("*1\r\n$4\r\nPING\r\n")
			if command == "DROP" {
				conn.Loop().Post(conn.Close)
			} else {
				conn.Loop().Post(func() {
					conn.Write([]byte("+bye\r\n"))
					conn.CloseAfterFlush()
				})
				c.expect("+bye\r\n")
			}
			c.expectEnd()
			if err := receive(t, "Closed", h.reasons); err != nil {
				t.Errorf("closed because of %v", err)
			}
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	eachTransport(t, func(t *testing.T, h *house) {
		c := h.client()
		conn := receive(t, "the connection", h.conns)
		for range 20 {
			c.send("PAUSE\r\nPING\r\n") // the session refuses what Data brings while it pauses
			c.expect("+OK\r\n")
			c.send("ECHO x\r\n")
			// The loop turns a few times: nothing may arrive.
			for start := h.turns.Load(); h.turns.Load() < start+3; {
				onLoop(t, conn, conn.ReadingPaused)
			}
			conn.Loop().Post(func() { conn.User.(*session).resume(conn) })
			c.expect("*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n")
		}
		c.send("PAUSE\r\n")
		c.expect("+OK\r\n")
		conn.Loop().Post(conn.Close) // while paused
		c.expectEnd()
	})
}

func TestManyConnections(t *testing.T) {
	eachTransport(t, func(t *testing.T, h *house) {
		total := 2000
		if h.addr.Network() == "tcp" && t.Name() == "TestManyConnections/tls" {
			total = 200 // handshakes are dear
		}
		var workers sync.WaitGroup
		for w := range 8 {
			workers.Go(func() {
				for i := range total / 8 {
					conn, err := h.dial()
					if err != nil {
						t.Error(err)
						return
					}
					conn.SetDeadline(time.Now().Add(patience))
					if (i+w)%3 > 0 {
						io.WriteString(conn, "PING\r\n")
					}
					if (i+w)%3 > 1 {
						if _, err := io.ReadFull(conn, make([]byte, len("*1\r\n$4\r\nPING\r\n"))); err != nil {
							t.Error(err)
						}
					}
					conn.Close()
				}
			})
		}
		workers.Wait()
		waitFor(t, "all to be closed", func() bool { return h.server.Connections() == 0 })
	}, func(_ *house, o *Options) { o.Accept = nil })
}

func TestRefusedConnections(t *testing.T) {
	const refusal = "-ERR max number of clients reached\r\n"
	var admitted atomic.Int64
	eachTransport(t, func(t *testing.T, h *house) {
		admitted.Store(0)
		first := h.client()
		first.send("PING\r\n")
		first.expect("*1\r\n$4\r\nPING\r\n")
		second := h.client()
		second.expect(refusal)
		second.expectEnd()
		if h.opened.Load() != 1 {
			t.Errorf("%d sessions made", h.opened.Load())
		}
	}, func(_ *house, o *Options) {
		o.Accept = func(*Conn) ([]byte, bool) { return []byte(refusal), admitted.Add(1) == 1 }
	})
}

// Close flushes what can be flushed, and gives up on the rest when its context ends.
func TestServerClose(t *testing.T) {
	eachTransport(t, func(t *testing.T, h *house) {
		good, stuck := h.client(), h.client()
		good.send("PING\r\n")
		good.expect("*1\r\n$4\r\nPING\r\n")
		stuck.send("BIG 100000000\r\n")
		stuck.expect("$100000000\r\n")
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error)
		go func() { result <- h.server.Close(ctx) }()
		good.expectEnd()
		select {
		case err := <-result:
			t.Fatalf("did not wait for the slow peer: %v", err)
		default:
		}
		cancel()
		if err := receive(t, "Close", result); !errors.Is(err, context.Canceled) {
			t.Errorf("close: %v", err)
		}
		if _, err := h.dial(); err == nil {
			t.Error("still accepting")
		}
		if h.server.Loops()[0].Post(func() {}) {
			t.Error("a stopped loop takes functions")
		}
		if _, err := h.server.Listen("tcp", "127.0.0.1:0"); !errors.Is(err, ErrServerClosed) {
			t.Errorf("listen: %v", err)
		}
	})
}

func TestPostOrderAndTicks(t *testing.T) {
	ticked := make(chan struct{}, 100)
	h := newHouse(t, "epoll", func(_ *house, o *Options) {
		o.TickInterval = time.Millisecond
		o.OnTick = func(l *Loop) {
			select {
			case ticked <- struct{}{}:
			default:
			}
		}
	})
	l := h.server.Loops()[1]
	const posters, each = 4, 5000
	next := make([]int, posters)
	var workers sync.WaitGroup
	for p := range posters {
		workers.Go(func() {
			for i := range each {
				l.Post(func() {
					if next[p] != i {
						t.Errorf("poster %d: %d came after %d", p, i, next[p])
					}
					next[p] = i + 1
				})
			}
		})
	}
	workers.Wait()
	done := make(chan struct{})
	l.Post(func() { close(done) })
	receive(t, "the posts", done)
	for range 3 {
		receive(t, "a tick", ticked)
	}
}
