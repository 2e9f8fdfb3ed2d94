package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what must happen; no test passes by waiting so long.
const patience = 90 * time.Second

func id(s string) func() string { return func() string { return s } }

// options are those of a member of cluster "larder" on a port of its own.
func options(node string) Options {
	return Options{Bind: []string{"127.0.0.1"}, Secret: "s3cret", NodeID: id(node), ClusterID: id("larder"),
		HandshakeTimeout: patience}
}

func listen(t testing.TB, o Options) *Endpoint {
	t.Helper()
	e, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func dial(t testing.TB, from, to *Endpoint, s Service) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return from.Dial(ctx, to.Addr().String(), s)
}

// talk checks that what one end writes arrives at the other, both ways.
func talk(t *testing.T, a, b net.Conn) {
	t.Helper()
	for range 2 {
		if _, err := a.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(b, got); err != nil || string(got) != "hello" {
			t.Fatal(string(got), err)
		}
		a, b = b, a
	}
}

func TestConnectionsReachTheirService(t *testing.T) {
	a, b := listen(t, options("a")), listen(t, options("b"))
	for _, s := range []Service{{Raft, 0}, {Raft, 1 << 30}, {Forward, 0}, {Control, 0}, {Snapshot, 3}} {
		l := b.Serve(s)
		dialled, err := dial(t, a, b, s)
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		talk(t, dialled, accepted)
		if dialled.(*Conn).RemoteNode() != "b" || accepted.(*Conn).RemoteNode() != "a" ||
			accepted.(*Conn).RemoteCluster() != "larder" || accepted.(*Conn).Version() != highestVersion {
			t.Fatalf("%+v %+v", dialled, accepted)
		}
	}
}

// TestOtherNodesAreNotSpokenTo: whoever means a node does not get another one that has its address.
func TestOtherNodesAreNotSpokenTo(t *testing.T) {
	a, b := listen(t, options("a")), listen(t, options("b"))
	s := Service{Raft, 1}
	b.Serve(s)
	if _, err := a.DialNode(t.Context(), b.Addr().String(), "c", s); !errors.Is(err, ErrOtherNode) {
		t.Fatal(err)
	}
	c, err := a.DialNode(t.Context(), b.Addr().String(), "b", s)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func TestRefusals(t *testing.T) {
	served := Service{Raft, 1}
	for _, c := range []struct {
		name   string
		change func(dialler, acceptor *Options)
		want   error
		says   string
		s      Service
	}{
		{"another secret", func(d, _ *Options) { d.Secret = "guess" }, ErrSecret, "", served},
		{"another cluster", func(d, _ *Options) { d.ClusterID = id("pantry") }, ErrOtherCluster, `"larder"`, served},
		{"unknown group", func(_, _ *Options) {}, ErrUnknownService, "raft of group 2", Service{Raft, 2}},
		{"unknown kind", func(_, _ *Options) {}, ErrUnknownService, "", Service{'?', 0}},
		{"a joiner asks for data", func(d, _ *Options) { d.ClusterID = id("") }, ErrNotMember, "", served},
		{"a joiner is asked for data", func(_, a *Options) { a.ClusterID = id("") }, ErrNotMember, "", served},
		{"a joiner asks for control", func(d, _ *Options) { d.ClusterID = id("") }, nil, "", Service{Control, 0}},
		{"a joiner is asked for control", func(_, a *Options) { a.ClusterID = id("") }, nil, "", Service{Control, 0}},
		{"long ID", func(d, _ *Options) { d.NodeID = id(strings.Repeat("x", 256)) }, errAny, "longer", served},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, a := options("d"), options("a")
			c.change(&d, &a)
			dialler, acceptor := listen(t, d), listen(t, a)
			acceptor.Serve(served)
			acceptor.Serve(Service{Control, 0})
			_, err := dial(t, dialler, acceptor, c.s)
			if c.want == nil && err != nil || c.want != nil && err == nil ||
				c.want != errAny && !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, not %v", err, c.want)
			}
		})
	}
}

var errAny = errors.New("any error")

func TestVersionsThatDoNotOverlap(t *testing.T) {
	a, b := listen(t, options("a")), listen(t, options("b"))
	b.Serve(Service{Raft, 1})
	for _, v := range [][2]uint16{{0, 0}, {2, 9}} {
		a.lowest, a.highest = v[0], v[1]
		_, err := dial(t, a, b, Service{Raft, 1})
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "it speaks 1 … 1") {
			t.Fatal(err)
		}
	}
	a.lowest, a.highest = 0, 9
	c, err := dial(t, a, b, Service{Raft, 1})
	if err != nil || c.(*Conn).Version() != 1 {
		t.Fatal(err)
	}
}

// A stranger hears nothing but the nonce that the handshake cannot do without, and that only after a greeting.
func TestStrangersHearNothing(t *testing.T) {
	e := listen(t, options("a"))
	e.Serve(Service{Control, 0})
	greet := greeting + strings.Repeat("n", nonceSize)
	for _, c := range []struct {
		says  string
		hears int
	}{
		{"GET / HTTP/1.1\r\n\r\n", 0},
		{"*1\r\n$4\r\nPING\r\n", 0},
		{"LRDP\x02" + strings.Repeat("n", nonceSize), 0},
		{greet + "\x00\x10" + strings.Repeat("x", 48), nonceSize},
		{greet + "\xff\xff", nonceSize},
		{greet + "\x00\x00" + strings.Repeat("x", 32), nonceSize},
	} {
		conn, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(c.says)); err != nil {
			t.Fatal(err)
		}
		heard, err := io.ReadAll(conn)
		if len(heard) != c.hears || err != nil && !isReset(err) {
			t.Errorf("%q hears %d bytes, %v", c.says, len(heard), err)
		}
		_ = conn.Close()
	}
}

func TestSilentStrangersAreHungUpOn(t *testing.T) {
	o := options("a")
	o.HandshakeTimeout = 50 * time.Millisecond
	o.MaxHandshakes = 2
	e := listen(t, o)
	for range 8 { // more than may be under way: some are hung up on at once, the others in time
		conn, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if heard, err := io.ReadAll(conn); len(heard) > 0 || err != nil && !isReset(err) {
			t.Fatal(heard, err)
		}
	}
}

// TestTooManyHandshakes: who comes beyond is hung up on, and the log tells of it once, however often it happens.
func TestTooManyHandshakes(t *testing.T) {
	o := options("a")
	o.MaxHandshakes = 1
	var said lines
	o.Logger = slog.New(slog.NewTextHandler(&said, nil))
	e := listen(t, o)
	first, err := net.Dial("tcp", e.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	if _, err := first.Write([]byte(greeting + strings.Repeat("n", nonceSize))); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(first, make([]byte, nonceSize)); err != nil { // it is under way
		t.Fatal(err)
	}
	for range 10 {
		second, err := net.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = second.Close() }()
		if heard, err := io.ReadAll(second); len(heard) > 0 || err != nil && !isReset(err) {
			t.Fatal(heard, err)
		}
	}
	if n := said.n.Load(); n != 1 {
		t.Errorf("the log has %d lines about it", n)
	}
}

// lines counts the lines of a log.
type lines struct{ n atomic.Int64 }

func (l *lines) Write(b []byte) (int, error) {
	l.n.Add(1)
	return len(b), nil
}

// An impostor that listens cannot make use of a dialler: it does not know the secret, whatever it repeats.
func TestImpostorsAreNotBelieved(t *testing.T) {
	e := listen(t, options("a"))
	for name, answer := range map[string]func(hello, said []byte) []byte{
		"nothing":    func([]byte, []byte) []byte { return nil },
		"reflection": func(_, said []byte) []byte { return said },
		"garbage":    func([]byte, []byte) []byte { return append([]byte{0, 9}, make([]byte, 9+32)...) },
		"too much":   func([]byte, []byte) []byte { return []byte{0xff, 0xff} },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			hello := make([]byte, len(greeting)+nonceSize)
			if _, err := io.ReadFull(c, hello); err != nil {
				return
			}
			// The dialler's own nonce as the acceptor's: what it then proves looks as much as possible like an answer.
			_, _ = c.Write(hello[len(greeting):])
			statement, proof, err := readStatement(c)
			if err != nil {
				return
			}
			var said bytes.Buffer
			_ = writeStatement(&said, statement, proof)
			_, _ = c.Write(answer(hello, said.Bytes()))
		}()
		_, err = e.Dial(context.Background(), l.Addr().String(), Service{Raft, 1})
		if !errors.Is(err, ErrSecret) && !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		_ = l.Close()
		<-done
	}
}

// TestListenNeedsASecret: also on this machine, where others may have no business with the node.
func TestListenNeedsASecret(t *testing.T) {
	for _, bind := range []string{"127.0.0.1", "localhost", "*"} {
		o := options("a")
		o.Bind, o.Secret = []string{bind}, ""
		if e, err := Listen(o); err == nil {
			t.Errorf("it listens on %s", bind)
			_ = e.Close()
		}
	}
}

// TestStrangersWhoSpeakTheProtocolGetNothing: it takes the secret, also where somebody tries none at all.
func TestStrangersWhoSpeakTheProtocolGetNothing(t *testing.T) {
	e, stranger := listen(t, options("a")), listen(t, options("b"))
	for _, secret := range []string{"", "guess"} {
		stranger.opts.Secret = secret
		for _, s := range []Service{{Control, 0}, {Forward, 0}, {Raft, 1}, {Snapshot, 1}} {
			e.Serve(s)
			if c, err := dial(t, stranger, e, s); !errors.Is(err, ErrSecret) {
				t.Errorf("%q, %v: %v, %v", secret, s, c, err)
			}
		}
	}
}

func TestServeAgainTakesOver(t *testing.T) {
	a, b := listen(t, options("a")), listen(t, options("b"))
	s := Service{Raft, 1}
	first := b.Serve(s)
	second := b.Serve(s)
	if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil { // it takes nothing away from its successor
		t.Fatal(err)
	}
	if _, err := dial(t, a, b, s); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Accept(); err != nil {
		t.Fatal(err)
	}
	_ = second.Close()
	if _, err := dial(t, a, b, s); !errors.Is(err, ErrUnknownService) {
		t.Fatal(err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	a, b := listen(t, options("a")), listen(t, options("b"))
	l := b.Serve(Service{Raft, 1})
	conn, err := dial(t, a, b, Service{Raft, 1})
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := dial(t, a, b, Service{Raft, 1}) // nobody accepts it
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{conn, accepted, waiting} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("the connection is open")
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := dial(t, b, a, Service{Raft, 1}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, err := b.Serve(Service{Raft, 2}).Accept(); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	e := listen(t, options("a"))
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithCancelCause(context.Background())
	reason := errors.New("enough")
	var dialled atomic.Bool
	o := e.opts.Random
	e.opts.Random = readerFunc(func(b []byte) (int, error) { // drawn once the connection is there
		if dialled.CompareAndSwap(false, true) {
			cancel(reason)
		}
		return o.Read(b)
	})
	if _, err := e.Dial(ctx, l.Addr().String(), Service{Raft, 1}); !errors.Is(err, reason) {
		t.Fatal(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
