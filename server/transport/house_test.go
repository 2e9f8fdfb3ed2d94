package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/larder-db/larder/server/resp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen before it gives up.
const patience = 90 * time.Second

// house is a server under test with all that its sessions report.
type house struct {
	t      *testing.T
	server *Server
	addr   net.Addr
	dial   func() (net.Conn, error)

	opened, closed, drained atomic.Int64
	turns                   atomic.Int64
	reasons                 chan error
	conns                   chan *Conn
	pauseAbove              int // sessions pause reading while more output than this waits; 0: never
	dropAbove               int // sessions close when more output than this waits; 0: never
}

// session echoes: it answers each command with its arguments, and knows a few commands of its own.
type session struct {
	h      *house
	limits resp.Limits
	last   bool // Closed has been called
}

func (s *session) Data(c *Conn) {
	if s.last || c.ReadingPaused() || c.Closing() {
		s.h.t.Error("Data on a connection that is paused or closed")
	}
	s.commands(c)
}

func (s *session) commands(c *Conn) {
	for !c.ReadingPaused() && !c.Closing() {
		args, ok, err := c.Parser.Next(&s.limits)
		if err != nil {
			c.Write([]byte("-ERR " + err.Error() + "\r\n"))
			c.CloseAfterFlush()
			return
		}
		if !ok {
			return
		}
		s.command(c, args)
	}
}

func (s *session) command(c *Conn, args [][]byte) {
	w := resp.Writer{Buf: *c.Out()}
	switch string(args[0]) {
	case "LEN":
		w.Int(int64(len(args[1])))
	case "BIG": // as many bytes as asked for, handed over
		n, _ := strconv.Atoi(string(args[1]))
		w.Buf = fmt.Appendf(w.Buf, "$%d\r\n", n)
		*c.Out() = w.Buf
		c.WriteOwned(bytes.Repeat([]byte{'x'}, n))
		c.Write([]byte("\r\n"))
		w.Buf = *c.Out()
	case "QUIT":
		w.Simple("OK")
		c.CloseAfterFlush()
	case "DROP":
		c.Close()
	case "PAUSE": // until somebody resumes
		w.Simple("OK")
		c.PauseReading()
	default:
		w.Array(len(args))
		for _, a := range args {
			w.Bulk(a)
		}
	}
	*c.Out() = w.Buf
	if max := s.h.pauseAbove; max > 0 && c.OutputBuffered() > max {
		c.PauseReading()
	}
	if max := s.h.dropAbove; max > 0 && c.OutputBuffered() > max {
		c.Close()
	}
}

func (s *session) resume(c *Conn) {
	c.ResumeReading()
	s.commands(c)
}

func (s *session) Drained(c *Conn) {
	s.h.drained.Add(1)
	if s.h.pauseAbove > 0 && c.ReadingPaused() {
		s.resume(c)
	}
}

func (s *session) Closed(c *Conn, err error) {
	if s.last {
		s.h.t.Error("Closed called twice")
	}
	s.last = true
	c.Write([]byte("nobody reads this"))
	c.Close()
	s.h.closed.Add(1)
	select {
	case s.h.reasons <- err:
	default:
	}
}

// transports are all ways to connect; the conformance tests run over each.
var transports = []string{"epoll", "unix", "portable", "tls"}

func eachTransport(t *testing.T, test func(t *testing.T, h *house), change ...func(h *house, o *Options)) {
	for _, kind := range transports {
		t.Run(kind, func(t *testing.T) { test(t, newHouse(t, kind, change...)) })
	}
}

func newHouse(t *testing.T, kind string, change ...func(h *house, o *Options)) *house {
	t.Helper()
	files := openFiles(t)
	h := &house{t: t, reasons: make(chan error, 10_000), conns: make(chan *Conn, 10_000)}
	opts := Options{
		Loops:    2,
		Portable: kind == "portable",
		NewHandler: func(c *Conn) Handler {
			h.opened.Add(1)
			h.conns <- c
			s := &session{h: h, limits: resp.DefaultLimits()}
			c.User = s
			return s
		},
		OnTurnEnd:     func(*Loop) { h.turns.Add(1) },
		OnAcceptError: func(err error) { t.Error(err) },
	}
	for _, fn := range change {
		fn(h, &opts)
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	h.server = s
	h.dial = func() (net.Conn, error) { return net.Dial(h.addr.Network(), h.addr.String()) }
	switch kind {
	case "tls":
		serverConfig, clientConfig := certificates(t)
		h.addr, err = s.ListenTLS("tcp", "127.0.0.1:0", serverConfig)
		h.dial = func() (net.Conn, error) { return tls.Dial("tcp", h.addr.String(), clientConfig) }
	case "unix":
		h.addr, err = s.ListenUnix(filepath.Join(t.TempDir(), "s"), 0o700)
	default:
		h.addr, err = s.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Close(ctx); err != nil && !errors.Is(err, ErrServerClosed) {
			t.Errorf("close: %v", err)
		}
		if h.opened.Load() != h.closed.Load() {
			t.Errorf("%d connections opened, %d closed", h.opened.Load(), h.closed.Load())
		}
		if s.Connections() != 0 {
			t.Errorf("%d connections left", s.Connections())
		}
		waitFor(t, "file descriptors to be closed", func() bool { return openFiles(t) <= files })
	})
	return h
}

// certificates makes a server's certificate and a client that trusts it.
func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool}
}

// openFiles counts this process's file descriptors, where the system tells.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		link, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && (strings.HasPrefix(link, "socket:") || strings.Contains(link, "eventpoll")) {
			n++
		}
	}
	return n
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func receive[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// client is the other end of a connection.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (h *house) client() *client {
	h.t.Helper()
	conn, err := h.dial()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return &client{t: h.t, Conn: conn, r: bufio.NewReader(conn)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) expect(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.r, got)
	if err != nil || string(got) != want {
		c.t.Fatalf("got %.100q, %v; want %.100q", got[:n], err, want)
	}
}

func (c *client) expectEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if len(rest) > 0 || err != nil {
		c.t.Fatalf("got %.100q, %v; want the end", rest, err)
	}
}

// onLoop returns what fn returns when it runs on the connection's loop.
func onLoop[T any](t *testing.T, c *Conn, fn func() T) T {
	t.Helper()
	result := make(chan T, 1)
	if !c.Loop().Post(func() { result <- fn() }) {
		t.Fatal("the loop has stopped")
	}
	return receive(t, "the loop", result)
}

func TestConnectionsSpreadOverSomeLoops(t *testing.T) {
	s, err := New(Options{Loops: 3, NewHandler: func(*Conn) Handler { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, l := range s.loops {
			l.poll.close()
		}
	}()
	for _, c := range []struct{ spread, want int }{{3, 3}, {1, 1}, {2, 2}, {0, 1}, {9, 3}} {
		s.Spread(c.spread)
		for _, l := range s.loops {
			l.load.Store(0)
		}
		used := map[int]int{}
		for range 6 {
			used[s.newConn(nil, nil, false).loop.ID()]++
		}
		if len(used) != c.want || used[0] != 6/c.want {
			t.Errorf("spread over %d: %v", c.spread, used)
		}
	}
}
