package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// clientField is a field of a client's line in CLIENT LIST.
func clientField(t testing.TB, asking *testClient, id, name string) string {
	t.Helper()
	reply := asking.do("CLIENT", "LIST", "ID", id)
	m := regexp.MustCompile(` ` + name + `=(\S*)`).FindStringSubmatch(reply)
	if m == nil {
		t.Fatalf("no %s in %q", name, reply)
	}
	return m[1]
}

// ownID is the number of a client's connection.
func (c *testClient) ownID() string {
	c.t.Helper()
	return strings.Trim(c.do("CLIENT", "ID"), ":\r\n")
}

func TestSlowReaderIsHeldBack(t *testing.T) {
	t.Parallel()
	ts := start(t)
	slow, watching := ts.dial(), ts.dial()
	value := strings.Repeat("x", 64<<10)
	const gets = 800
	slow.do("SET", "a", value)
	id := slow.ownID()
	go func() { // the reader notices if it fails
		_, _ = io.WriteString(slow.Conn, strings.Repeat(line("GET a"), gets)+line("PING"))
	}()
	unread := 0
	for range 200 {
		n, err := strconv.Atoi(clientField(t, watching, id, "omem"))
		if err != nil {
			t.Fatal(err)
		}
		unread = max(unread, n)
	}
	eventually(t, "replies pile up", func() bool { return clientField(t, watching, id, "omem") != "0" })
	if unread > 2*slowOutput {
		t.Errorf("%d bytes were kept for a client that does not read", unread)
	}
	want := bulk(value)
	for range gets {
		slow.want(want)
	}
	slow.want("+PONG\r\n")
}

func TestOutputLimit(t *testing.T) {
	t.Parallel()
	ts := start(t, "client-output-buffer-limit normal 1mb 0 0")
	c := ts.dial()
	c.do("SET", "big", strings.Repeat("x", 16<<20))
	c.send(line("GET big"))
	if n, err := io.Copy(io.Discard, c.in); err == nil && n > 16<<20 {
		t.Errorf("%d bytes came, all of the reply", n)
	}
	ts.dial().must("PING", "+PONG\r\n")
}

// TestSoftOutputLimit has a client leave less unread than the hard limit, for long.
func TestSoftOutputLimit(t *testing.T) {
	t.Parallel()
	ts := start(t, "client-output-buffer-limit normal 0 1mb 1")
	c, watching := ts.dial(), ts.dial()
	id := c.ownID()
	c.do("SET", "big", strings.Repeat("x", 16<<20))
	c.send(line("GET big"))
	eventually(t, "the slow client is closed", func() bool { return watching.do("CLIENT", "LIST", "ID", id) == "$0\r\n\r\n" })
	watching.must("PING", "+PONG\r\n")
}

// TestHeldRepliesAreBounded has replies wait behind a write that takes its time.
func TestHeldRepliesAreBounded(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c, watching := ts.dial(), ts.dial()
	id := c.ownID()
	c.must("SET a 0", "+OK\r\n")
	ts.node.sole().engine.Keys().RLock() // nothing is applied
	text := strings.Repeat("x", 10_000)
	const echoes = 3000
	go func() { // the reader notices if it fails
		_, _ = io.WriteString(c.Conn, line("INCR a")+strings.Repeat(encode("ECHO", text), echoes))
	}()
	eventually(t, "reading is paused", func() bool { return clientField(t, watching, id, "events") == "" })
	n, err := strconv.Atoi(clientField(t, watching, id, "tot-mem"))
	if err != nil || n > 2*slowOutput {
		t.Errorf("%d bytes are kept behind a write (%v)", n, err)
	}
	ts.node.sole().engine.Keys().RUnlock()
	c.want(":1\r\n")
	for range echoes {
		c.want(bulk(text))
	}
}

func TestMaxClients(t *testing.T) {
	t.Parallel()
	ts := start(t, "maxclients 2")
	a, b := ts.dial(), ts.dial()
	a.must("PING", "+PONG\r\n")
	b.must("PING", "+PONG\r\n")
	third := ts.dial()
	third.want("-ERR max number of clients reached\r\n")
	third.wantEnd()
	a.must("CONFIG SET maxclients 3", "+OK\r\n")
	eventually(t, "the refused connection is gone", func() bool { return ts.net.Connections() == 2 })
	ts.dial().must("PING", "+PONG\r\n")
	if refused := ts.refused.Load(); refused != 1 {
		t.Errorf("%d refused", refused)
	}
}

// TestMaxClientsOfALeader: the clients of nodes that forward count there, and not at the leader.
func TestMaxClientsOfALeader(t *testing.T) {
	t.Parallel()
	leader, follower := startPair(t)
	var theirs []*testClient
	for range 3 {
		theirs = append(theirs, follower.dial())
		theirs[len(theirs)-1].must("SET a 1", "+OK\r\n")
	}
	a := leader.dial()
	a.must("CONFIG SET maxclients 2", "+OK\r\n")
	b := leader.dial()
	b.must("PING", "+PONG\r\n")
	leader.dial().want(tooMany)
	for _, c := range theirs {
		c.must("GET a", bulk("1"))
	}
}

func TestMaxClientsBeyondTheSystem(t *testing.T) {
	c := start(t).dial()
	got := c.do("CONFIG", "SET", "maxclients", "4294967295")
	if !strings.HasPrefix(got, "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating system is not able") {
		t.Errorf("got %q", got)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	ts := start(t)
	idle := ts.dial()
	idle.must("PING", "+PONG\r\n")
	ts.dial().must("CONFIG SET timeout 1", "+OK\r\n")
	idle.wantEnd()
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	ts := start(t, "requirepass secret")
	c := ts.dial()
	const noAuth = "-NOAUTH Authentication required.\r\n"
	for _, x := range []struct{ command, want string }{
		{"PING", noAuth},
		{"GET a", noAuth},
		{"CLIENT LIST", noAuth},
		{"GET", "-ERR wrong number of arguments for 'get' command\r\n"},
		{"AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
		{"AUTH default wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n"},
		{"SET a 1", noAuth},
		{"AUTH secret", "+OK\r\n"},
		{"SET a 1", "+OK\r\n"},
		{"RESET", "+RESET\r\n"},
		{"GET a", noAuth},
		{"AUTH default secret", "+OK\r\n"},
		{"GET a", bulk("1")},
	} {
		c.must(x.command, x.want)
	}
	if got := ts.dial().do("HELLO", "3"); !strings.HasPrefix(got, "-NOAUTH HELLO must be called") {
		t.Errorf("got %q", got)
	}
	if got := ts.dial().do("HELLO", "3", "AUTH", "default", "secret"); !strings.HasPrefix(got, "%7\r\n") {
		t.Errorf("got %q", got)
	}
}

func TestPasswordChangesAtRunTime(t *testing.T) {
	t.Parallel()
	ts := start(t)
	before := ts.dial()
	before.must("CONFIG SET requirepass secret", "+OK\r\n")
	before.must("PING", "+PONG\r\n") // who was in stays in
	after := ts.dial()
	after.must("PING", "-NOAUTH Authentication required.\r\n")
	before.must("CONFIG SET requirepass new", "+OK\r\n")
	after.must("AUTH secret", "-WRONGPASS invalid username-password pair or user is disabled.\r\n")
	before.do("CONFIG", "SET", "requirepass", "")
	after.must("PING", "+PONG\r\n")
	after.do("SET", "a", strings.Repeat("x", 64<<10)) // more than the unknown may send
	after.must("STRLEN a", ":65536\r\n")
}

func TestLimitsOfTheUnauthenticated(t *testing.T) {
	t.Parallel()
	ts := start(t, "requirepass secret")
	for _, x := range []struct{ send, want string }{
		{"*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n"},
		{"*2\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"},
	} {
		c := ts.dial()
		c.send(x.send)
		c.want(x.want)
		c.wantEnd()
	}
	c := ts.dial()
	c.send(line("AUTH secret") + encode("SET", "a", strings.Repeat("x", 100_000)))
	c.want("+OK\r\n")
	c.want("+OK\r\n")
}

// TestQueryBufferLimit cannot see an error: like Redis, the server just closes.
func TestQueryBufferLimit(t *testing.T) {
	t.Parallel()
	ts := start(t)
	ts.dial().must("CONFIG SET client-query-buffer-limit 1mb", "+OK\r\n")
	c := ts.dial()
	_, _ = io.WriteString(c.Conn, fmt.Sprintf("*2\r\n$4\r\nECHO\r\n$%d\r\n%s", 100<<20, strings.Repeat("x", 2<<20))) // cut short
	c.wantEnd()
}

func TestProtectedMode(t *testing.T) {
	t.Parallel()
	var outside net.IP
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			outside = n.IP
		}
	}
	if outside == nil {
		t.Skip("this machine has no address but loopback ones")
	}
	port := tcpPort(t)
	ts := start(t, fmt.Sprintf("port %d", port), "bind *")
	dial := func(ip net.IP) *testClient {
		conn, err := net.Dial("tcp", net.JoinHostPort(ip.String(), strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		return newTestClient(t, conn)
	}
	c := dial(outside)
	c.want(denied)
	c.wantEnd()
	local := dial(net.IPv4(127, 0, 0, 1))
	local.must("CONFIG SET protected-mode no", "+OK\r\n")
	dial(outside).must("PING", "+PONG\r\n")
	ts.dial().must("PING", "+PONG\r\n")
}

func TestUnixSocketInClientList(t *testing.T) {
	t.Parallel()
	ts := start(t)
	reply := ts.dial().do("CLIENT", "INFO")
	if !strings.Contains(reply, " addr="+ts.path+":0 laddr="+ts.path+":0 ") || !strings.Contains(reply, " flags=U ") {
		t.Errorf("got %q", reply)
	}
}

// TestCloseUnderLoad stops a server whose clients are all at it: every reply that came is right, and nothing is left
// running (see TestMain).
func TestCloseUnderLoad(t *testing.T) {
	t.Parallel()
	ts := start(t)
	done := make(chan error, 8)
	for range cap(done) {
		c := ts.dial()
		go func() {
			_, _ = io.WriteString(c.Conn, strings.Repeat(line("INCR n")+line("KEYS *")+line("CLIENT LIST"), 3000))
		}() // until closed
		go func() { done <- readAll(c) }()
	}
	eventually(t, "work is done", func() bool { return ts.node.sole().engine.AppliedIndex() > 20 })
	ts.end(true)
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// readAll reads replies to the end; an error reply but for the shutdown is an error.
func readAll(c *testClient) error {
	for {
		var b bytes.Buffer
		if err := readReply(c.in, &b); err != nil {
			return nil // closed, in the middle of a reply perhaps
		}
		if b.Bytes()[0] == '-' && !strings.Contains(b.String(), "shutting down") {
			return fmt.Errorf("got %q", b.String())
		}
	}
}

func TestRepliesInPieces(t *testing.T) {
	t.Parallel()
	c := start(t).dial()
	c.in = bufio.NewReaderSize(c.Conn, 16)
	text := strings.Repeat("x", 300_000)
	c.do("SET", "a", text)
	c.send(strings.Repeat(line("GET a"), 30))
	for range 30 {
		c.want(bulk(text))
	}
}
