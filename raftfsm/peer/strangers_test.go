package peer

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"
)

// from is a connection from an address.
type from struct {
	net.Conn
	host string
}

func (f *from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.host), Port: 1} }

// TestStrangersMakeRoom: one address does not keep the others out, nor do many that are silent.
func TestStrangersMakeRoom(t *testing.T) {
	now := time.Unix(100, 0)
	s := strangers{most: 4}
	add := func(host string) (*from, net.Conn) {
		c := &from{host: host}
		return c, s.add(c, now)
	}
	var flood []*from
	for range 4 {
		c, leaves := add("10.0.0.1")
		if leaves != nil {
			t.Fatal("there was room")
		}
		flood = append(flood, c)
	}
	if c, leaves := add("10.0.0.1"); leaves != c {
		t.Error("one of many from an address takes a place from another of them at once")
	}
	for i, host := range []string{"10.0.0.2", "10.0.0.3"} {
		if _, leaves := add(host); leaves != flood[i] {
			t.Errorf("for %s not the oldest of the many leaves", host)
		}
	}
	if _, leaves := add("10.0.0.4"); leaves != flood[2] {
		t.Error("two are no more than one")
	}
	if c, leaves := add("10.0.0.5"); leaves != c {
		t.Error("among equals another leaves than who came last")
	}
	now = now.Add(slowStranger)
	c, leaves := add("10.0.0.9")
	if leaves == nil || leaves == c {
		t.Error("who is slow does not make room")
	}
	s.remove(c)
	if _, leaves := add("10.0.0.1"); leaves != nil {
		t.Error("there was room again")
	}
	if len(s.list) != 4 {
		t.Errorf("%d are kept", len(s.list))
	}
}

// TestAFloodFromOneAddressKeepsNobodyOut: nodes connect all the same.
func TestAFloodFromOneAddressKeepsNobodyOut(t *testing.T) {
	o := options("a")
	o.MaxHandshakes = 4
	e, node := listen(t, o), listen(t, options("b"))
	e.Serve(Service{Raft, 1})
	away := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.7")}}
	for range 20 {
		c, err := away.Dial("tcp", e.Addr().String())
		if err != nil {
			t.Skip("this machine has one loopback address: ", err)
		}
		defer func() { _ = c.Close() }()
	}
	for range 3 {
		if _, err := dial(t, node, e, Service{Raft, 1}); err != nil {
			t.Error(err)
		}
	}
}

// TestQuietIsBounded: beyond what is kept in mind all that is said counts as one thing.
func TestQuietIsBounded(t *testing.T) {
	var q Quiet
	said := 0
	for i := range 5 * mostThings {
		if q.May(fmt.Sprint(i)) {
			said++
		}
	}
	if said != mostThings+1 {
		t.Errorf("%d were said", said)
	}
	if q.May("0") {
		t.Error("what was said first was forgotten")
	}
}

// TestSessionsWaitForAccept: those that lose their leader come back together, and what finds no room is told once.
func TestSessionsWaitForAccept(t *testing.T) {
	var log bytes.Buffer
	o := options("a")
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	a, b := listen(t, o), listen(t, options("b"))
	l := a.Serve(Service{Forward, 0})
	for range 4 * backlog {
		if _, err := dial(t, b, a, Service{Forward, 0}); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 * backlog {
		if _, err := l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	a.Serve(Service{Raft, 1})
	for range backlog + 10 {
		c, err := dial(t, b, a, Service{Raft, 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := c.(*Conn); !ok {
			t.Fatal("not a connection of peers")
		}
		defer func() { _ = c.Close() }()
	}
	last, err := dial(t, b, a, Service{Raft, 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(last); err != nil && !isReset(err) { // it is hung up on
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(log.Bytes(), []byte("no room")); n != 1 {
		t.Errorf("it is told %d times", n)
	}
}
