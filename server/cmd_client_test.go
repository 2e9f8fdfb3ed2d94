package server

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// lineForm is a line of CLIENT LIST: Redis 7.0's fields in its order, and 7.2's last two.
var lineForm = regexp.MustCompile(`^id=\d+ addr=\S+ laddr=\S+ fd=\d+ name=\S* age=\d+ idle=\d+ flags=\w+ db=\d+ sub=0 psub=0 ssub=0 multi=-1 ` +
	`qbuf=\d+ qbuf-free=\d+ argv-mem=\d+ multi-mem=0 rbs=\d+ rbp=\d+ obl=\d+ oll=\d+ omem=\d+ tot-mem=\d+ events=\w+ cmd=\S+ user=default redir=-1 ` +
	`resp=[23] lib-name=\S* lib-ver=\S*$`)

// clientLines are the lines of CLIENT LIST or INFO.
func clientLines(t *testing.T, reply string) []string {
	t.Helper()
	_, text, _ := strings.Cut(reply, "\r\n")
	text = strings.TrimPrefix(strings.TrimSuffix(text, "\r\n"), "txt:")
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, l := range lines {
		if !lineForm.MatchString(l) {
			t.Errorf("foreign line %q", l)
		}
	}
	return lines
}

func TestClientListAsksAllLoops(t *testing.T) {
	t.Parallel()
	ts := start(t, "io-threads 3")
	var clients []*testClient
	var ids []string
	for range 9 {
		c := ts.dial()
		clients = append(clients, c)
		ids = append(ids, c.ownID())
	}
	c := clients[4]
	lines := clientLines(t, c.do("CLIENT", "LIST"))
	if len(lines) != len(clients) {
		t.Fatalf("%d clients, %d lines", len(clients), len(lines))
	}
	for i, l := range lines { // in order of age
		cmd := " cmd=client|id "
		if i == 4 {
			cmd = " cmd=client|list "
		}
		if !strings.HasPrefix(l, "id="+ids[i]+" ") || !strings.Contains(l, cmd) {
			t.Errorf("line %d: %q", i, l)
		}
	}
	lines = clientLines(t, c.do("CLIENT", "LIST", "ID", ids[7], "9999", ids[0], ids[7]))
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "id="+ids[7]+" ") || !strings.HasPrefix(lines[1], "id="+ids[0]+" ") || lines[0] != lines[2] {
		t.Errorf("by ID: %q", lines)
	}
	if n := len(clientLines(t, c.do("CLIENT", "LIST", "TYPE", "normal"))); n != len(clients) {
		t.Errorf("%d normal clients", n)
	}
	if n := len(clientLines(t, c.do("CLIENT", "LIST", "TYPE", "pubsub"))); n != 0 {
		t.Errorf("%d pubsub clients", n)
	}
}

func TestClientInfoTellsWhatIsSet(t *testing.T) {
	t.Parallel()
	c := start(t).dial()
	c.do("HELLO", "3", "SETNAME", "bob")
	c.must("CLIENT SETINFO lib-name go-redis", "+OK\r\n")
	c.must("CLIENT SETINFO LIB-VER 9.1", "+OK\r\n")
	c.must("CLIENT SETINFO lib-x 9.1", "-ERR Unrecognized option 'lib-x'\r\n")
	c.send(encode("CLIENT", "SETINFO", "lib-ver", "a b"))
	c.want("-ERR lib-ver cannot contain spaces, newlines or special characters.\r\n")
	c.must("CLIENT NO-EVICT on", "+OK\r\n")
	c.must("CLIENT NO-TOUCH on", "+OK\r\n")
	c.must("SELECT 3", "+OK\r\n")
	reply := c.do("CLIENT", "INFO")
	if !strings.HasPrefix(reply, "=") {
		t.Errorf("not verbatim: %q", reply)
	}
	l := clientLines(t, reply)[0]
	for _, want := range []string{" name=bob ", " flags=UeT ", " db=3 ", " resp=3 ", " lib-name=go-redis lib-ver=9.1", " cmd=client|info "} {
		if !strings.Contains(l+" ", want) {
			t.Errorf("no %q in %q", want, l)
		}
	}
	c.do("RESET")
	l = clientLines(t, c.do("CLIENT", "INFO"))[0]
	for _, want := range []string{" name= ", " flags=U ", " db=0 ", " resp=2 ", " lib-name=go-redis lib-ver=9.1"} {
		if !strings.Contains(l+" ", want) {
			t.Errorf("after RESET no %q in %q", want, l)
		}
	}
}

func TestClientKill(t *testing.T) {
	t.Parallel()
	ts := start(t, "io-threads 3")
	c := ts.dial()
	victim := ts.dial()
	id := victim.ownID()
	c.must("CLIENT KILL ID "+id+" ADDR 1.2.3.4:5", ":0\r\n")
	c.must("CLIENT KILL ID "+id+" TYPE pubsub", ":0\r\n")
	victim.must("PING", "+PONG\r\n")
	c.must("CLIENT KILL ID "+id+" TYPE normal USER default", ":1\r\n")
	victim.wantEnd()

	others := []*testClient{ts.dial(), ts.dial(), ts.dial(), ts.dial()}
	for _, o := range others {
		o.must("PING", "+PONG\r\n")
	}
	c.must("CLIENT KILL ADDR "+ts.path+":0", ":4\r\n")
	for _, o := range others {
		o.wantEnd()
	}
	c.must("CLIENT KILL LADDR "+ts.path+":0 SKIPME yes", ":0\r\n")

	c.send(line("SET a 1") + line("CLIENT KILL SKIPME no ID "+c.ownID()) + line("SET a 2"))
	c.want("+OK\r\n")
	c.want(":1\r\n")
	c.wantEnd()

	last := ts.dial()
	last.must("GET a", bulk("1"))
	last.must("CLIENT KILL "+ts.path+":0", "+OK\r\n")
	last.wantEnd()
}

// TestNoTouch looks at idle times, which a read resets and a read of such a client does not.
func TestNoTouch(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	keys := ts.node.sole().engine.Keys()
	idle := func() bool {
		keys.SetRecencyClock(uint32(1 << 31)) // far away from now: what is touched is idle for 0 s no more
		return c.do("OBJECT", "IDLETIME", "a") != ":0\r\n"
	}
	c.must("SET a 1", "+OK\r\n")
	c.must("CLIENT NO-TOUCH on", "+OK\r\n")
	keys.SetRecencyClock(uint32(1 << 31))
	c.must("GET a", bulk("1"))
	c.send(line("SET b 1") + line("GET a"))
	c.want("+OK\r\n")
	c.want(bulk("1"))
	if !idle() {
		t.Error("a read that should not has counted as a use")
	}
	eventually(t, "TOUCH counts as a use", func() bool { // the server sets the clock, too, once a second
		keys.SetRecencyClock(uint32(1 << 31))
		c.must("TOUCH a", ":1\r\n")
		return !idle()
	})
}

// TestPause has writes wait, then everything, until the pause is over or ended.
func TestPause(t *testing.T) {
	t.Parallel()
	ts := start(t, "io-threads 2")
	c, other, third := ts.dial(), ts.dial(), ts.dial()
	for _, each := range []*testClient{c, other, third} {
		each.must("PING", "+PONG\r\n")
	}
	postponed := func(want int) {
		t.Helper()
		eventually(t, "commands wait", func() bool {
			sum := 0
			for _, n := range ask(ts.Server, func(l *loop) int { return len(l.paused) }) {
				sum += n
			}
			return sum == want
		})
	}
	c.must("CLIENT PAUSE 100000 WRITE", "+OK\r\n")
	other.send(line("GET a") + line("INCR a") + line("GET a"))
	other.want("$-1\r\n")
	third.send(line("INCR b"))
	postponed(2)
	c.must("GET a", "$-1\r\n")
	if list := c.do("CLIENT", "LIST"); strings.Count(list, "flags=Ub") != 2 {
		t.Errorf("CLIENT LIST has\n%s", list)
	}
	if err := third.Close(); err != nil { // one that waits goes away
		t.Fatal(err)
	}
	c.must("CLIENT UNPAUSE", "+OK\r\n")
	other.want(":1\r\n")
	other.want(bulk("1"))
	c.must("INCR a", ":2\r\n")

	c.must("CLIENT PAUSE 100000 WRITE", "+OK\r\n")
	c.must("CLIENT PAUSE 50 WRITE", "+OK\r\n") // the longer one counts
	c.send(line("INCR a"))
	postponed(1)
	other.must("CLIENT UNPAUSE", "+OK\r\n")
	c.want(":3\r\n")

	c.must("CLIENT PAUSE 5 ALL", "+OK\r\n")
	other.must("GET a", bulk("3")) // once it is over
	c.must("INCR a", ":4\r\n")
}

// TestStopWhilePaused: nobody waits for the end of a pause when the server ends.
func TestStopWhilePaused(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.must("CLIENT PAUSE 100000", "+OK\r\n")
	c.send(line("SET a 1"))
	eventually(t, "the command waits", func() bool {
		return slices.Contains(ask(ts.Server, func(l *loop) int { return len(l.paused) }), 1)
	})
	ts.end(true)
}
