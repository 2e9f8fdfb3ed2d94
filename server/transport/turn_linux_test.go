package transport

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/larder-db/larder/server/resp"
)

// committer stands for the log: a goroutine that each loop hands its batch of writes to, one at a time, and that posts
// the completion back. It is what a server's turn looks like to the scheduler.
type committer struct {
	loop     *Loop
	batch    []*benchSession
	inFlight []*benchSession
	busy     bool
	hand     chan []*benchSession
	wg       sync.WaitGroup
	done     func()
}

func newCommitter(l *Loop) *committer {
	m := &committer{loop: l, hand: make(chan []*benchSession, 1)}
	m.done = m.complete
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		for range m.hand {
			l.Post(m.done)
		}
	}()
	return m
}

func (m *committer) seal() {
	if m.busy || len(m.batch) == 0 {
		return
	}
	m.busy = true
	m.batch, m.inFlight = m.inFlight[:0], m.batch
	m.hand <- m.inFlight
}

func (m *committer) complete() {
	m.busy = false
	for _, s := range m.inFlight {
		s.pending--
		out := s.c.Out()
		*out = append(*out, "+OK\r\n"...)
	}
}

// benchSession answers GET at once and SET by way of the committer.
type benchSession struct {
	c       *Conn
	pending int
}

var benchValue = fmt.Appendf(nil, "$64\r\n%064d\r\n", 1)

func (s *benchSession) Data(c *Conn) {
	lim := resp.DefaultLimits()
	m := c.Loop().User.(*committer)
	for {
		args, ok, err := c.Parser.Next(&lim)
		if err != nil {
			c.Close()
			return
		}
		if !ok {
			return
		}
		switch string(args[0]) {
		case "SET":
			s.pending++
			m.batch = append(m.batch, s)
		case "GET":
			out := c.Out()
			*out = append(*out, benchValue...)
		default:
			out := c.Out()
			*out = append(*out, "*0\r\n"...)
		}
	}
}

func (s *benchSession) Closed(*Conn, error) {}

// TestTurnsUnderLoad prints what redis-benchmark measures of a server that does nothing; it is run by hand:
// LARDER_TRANSPORT_BENCH=1 go test -run TurnsUnderLoad -v
func TestTurnsUnderLoad(t *testing.T) {
	if os.Getenv("LARDER_TRANSPORT_BENCH") == "" {
		t.Skip("set LARDER_TRANSPORT_BENCH to measure")
	}
	s, err := New(Options{
		NewHandler: func(c *Conn) Handler { return &benchSession{c: c} },
		OnTurnEnd:  func(l *Loop) { l.User.(*committer).seal() },
		Portable:   os.Getenv("LARDER_TRANSPORT_BENCH") == "portable",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.Loops() {
		l.User = newCommitter(l)
	}
	s.Start()
	addr, err := s.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr.String())
	for _, args := range [][]string{
		{"-t", "set,get", "-P", "1", "-n", "300000"},
		{"-t", "set,get", "-P", "16", "-n", "2000000"},
	} {
		args = append(args, "-p", port, "-c", "50", "-d", "64", "-r", "1000000", "-q")
		before := processorTime(t)
		out, err := exec.Command("redis-benchmark", args...).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.2f s of processor time in the server", args[3], processorTime(t)-before)
		for _, line := range strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' || r == '\r' }) {
			if strings.Contains(line, "requests per second") {
				t.Logf("%s: %s", args[3], strings.TrimSpace(line))
			}
		}
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	for _, l := range s.Loops() {
		m := l.User.(*committer)
		close(m.hand)
		m.wg.Wait()
	}
}

// processorTime returns the seconds that this process has used so far.
func processorTime(t *testing.T) float64 {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
