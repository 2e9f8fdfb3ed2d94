package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A fakeLeader takes a server's forwarded sessions and does with them what a test wants.
type fakeLeader struct {
	t      testing.TB
	leads  atomic.Bool
	leader atomic.Value // string
	conns  chan *leaderConn
	deaf   atomic.Bool // dialling fails
}

// leaderConn is one session's connection, as the leader sees it.
type leaderConn struct {
	*testClient
	node   string
	before []int // introductions that came before each command that is unanswered
	met    int   // those before the next
}

// startForwarding starts a server that forwards to l.
func startForwarding(t testing.TB, directives ...string) (*testServer, *fakeLeader) {
	l := &fakeLeader{t: t, conns: make(chan *leaderConn, 16)}
	l.leader.Store("a")
	ts := start(t, append([]string{"io-threads 1"}, directives...)...)
	ts.forwardTo(&forwarding{leads: l.leads.Load, leader: func() string { return l.leader.Load().(string) }, dial: l.dial})
	return ts, l
}

// forwardTo has the server forward as f says. It gives up on nothing by itself unless the test says how soon.
func (ts *testServer) forwardTo(f *forwarding) {
	made := newForwarding("self", slog.New(slog.DiscardHandler))
	made.leads, made.leader, made.dial, made.adopt = f.leads, f.leader, f.dial, ts.net.Adopt
	made.patience, made.drain, made.unled = patience, patience, patience
	ts.onLoop(func() { ts.forwarding = made })
}

func (l *fakeLeader) dial(_ context.Context, node string) (net.Conn, error) {
	if l.deaf.Load() {
		return nil, errors.New("nobody listens")
	}
	here, there := net.Pipe()
	l.conns <- &leaderConn{testClient: newTestClient(l.t, there), node: node}
	return here, nil
}

// accept is the next connection.
func (l *fakeLeader) accept() *leaderConn {
	l.t.Helper()
	select {
	case c := <-l.conns:
		return c
	case <-time.After(patience):
		l.t.Fatal("nobody connects")
		return nil
	}
}

// command reads one command.
func (c *leaderConn) command() ([]string, error) {
	var b bytes.Buffer
	if err := readReply(c.in, &b); err != nil {
		return nil, err
	}
	var words []string
	in := bufio.NewReader(&b)
	head, _ := in.ReadString('\n')
	n, _ := strconv.Atoi(strings.TrimSpace(head[1:]))
	for range n {
		head, _ = in.ReadString('\n')
		size, _ := strconv.Atoi(strings.TrimSpace(head[1:]))
		word := make([]byte, size+2)
		_, _ = in.Read(word) // it is all there
		words = append(words, string(word[:size]))
	}
	return words, nil
}

// gets wants a command to come next, introductions aside, which are accepted.
func (c *leaderConn) gets(want string) {
	c.t.Helper()
	for {
		words, err := c.command()
		if err != nil {
			c.t.Fatalf("waiting for %q: %v", want, err)
		}
		if words[0] == originCommand {
			c.met++
			continue
		}
		c.before, c.met = append(c.before, c.met), 0
		if got := strings.Join(words, " "); got != want {
			c.t.Fatalf("the leader got %q, want %q", got, want)
		}
		return
	}
}

// answers sends the reply of the first unanswered command.
func (c *leaderConn) answers(raw string) {
	c.t.Helper()
	c.send(strings.Repeat("+OK\r\n", c.before[0]) + raw)
	c.before = c.before[1:]
}

const (
	lost          = "-CLUSTERDOWN the connection to the shard's leader was lost\r\n"
	indeterminate = "-INDETERMINATE the outcome of this command is not known: it may or may not have been applied\r\n"
)

func TestForwardedRepliesKeepTheirPlaces(t *testing.T) {
	t.Parallel()
	ts, l := startForwarding(t)
	c := ts.dial()
	c.send(pipeline("SET a 1\nPING\nGET a\nSELECT 3\nECHO x\nGET b\nSELECT 0\nGET c"))
	up := l.accept()
	up.gets("SET a 1")
	up.gets("GET a")
	up.gets("GET b")
	up.gets("GET c")
	up.answers("+O")
	up.send("K\r\n")
	up.answers("$3\r\nabc")
	c.want("+OK\r\n")
	c.want("+PONG\r\n")
	up.send("\r\n")
	c.want("$3\r\nabc\r\n")
	c.want("+OK\r\n")
	c.want("$1\r\nx\r\n")
	up.answers("$1\r\nb\r\n")
	up.answers("$1\r\nc\r\n")
	c.want("$1\r\nb\r\n")
	c.want("+OK\r\n")
	c.want("$1\r\nc\r\n")
}

func TestForwardBreaks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, sent string
		answers    []string // what the leader says before it goes
		want       string   // what the client has then
		again      string   // what the next leader gets
	}{
		{"an unanswered write", "SET a 1", nil, indeterminate, ""},
		{"an unanswered read", "GET a", nil, "", "GET a"},
		{"a read behind a write", "SET a 1\nGET a", nil, indeterminate, "GET a"},
		{"a read before a write", "GET a\nSET a 1", nil, lost + indeterminate, ""},
		{"an answered write", "SET a 1\nGET a", []string{"+OK\r\n"}, "+OK\r\n", "GET a"},
		{"all refused", "SET a 1\nGET a\nSET b 2", []string{refusal, refusal, refusal}, "", "SET a 1\nGET a\nSET b 2"},
		{"refused, then not heard of", "SET a 1\nSET b 2", []string{refusal}, lost + indeterminate, ""},
		{"refused, then done", "SET a 1\nSET b 2\nSET c 3", []string{refusal, "+OK\r\n", refusal}, lost + "+OK\r\n", "SET c 3"},
		{"refused, then read", "SET a 1\nGET b", []string{refusal}, "", "SET a 1\nGET b"},
		{"a transaction", "MULTI\nSET a 1\nGET a\nEXEC", nil, "+OK\r\n+QUEUED\r\n+QUEUED\r\n" + indeterminate, ""},
		{"a transaction of reads", "MULTI\nGET a\nEXEC", []string{"+OK\r\n"}, "+OK\r\n+QUEUED\r\n", "MULTI\nGET a\nEXEC"},
		{"a refused transaction", "MULTI\nSET a 1\nEXEC", []string{"+OK\r\n", "+QUEUED\r\n", refusal}, "+OK\r\n+QUEUED\r\n", "MULTI\nSET a 1\nEXEC"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ts, l := startForwarding(t)
			c := ts.dial()
			c.send(pipeline(test.sent))
			up := l.accept()
			for line := range strings.Lines(test.sent) {
				up.gets(strings.TrimSpace(line))
			}
			l.leader.Store("b") // before the last answer, behind which the leader is looked for
			for _, answer := range test.answers {
				up.answers(answer)
			}
			up.Close()
			for want := test.want; want != ""; {
				got := c.reply()
				if !strings.HasPrefix(want, got) {
					t.Fatalf("got %q, want %q", got, want)
				}
				want = want[len(got):]
			}
			if test.again != "" {
				up = l.accept()
				if up.node != "b" {
					t.Errorf("sent to %s", up.node)
				}
				for line := range strings.Lines(test.again) {
					up.gets(strings.TrimSpace(line))
				}
				return
			}
			c.must("PING a", "$1\r\na\r\n")
		})
	}
}

func TestForwardWaitsForALeader(t *testing.T) {
	t.Parallel()
	ts, l := startForwarding(t)
	l.leader.Store("")
	ts.onLoop(func() { ts.forwarding.patience = 20 * time.Millisecond })
	c := ts.dial()
	c.must("SET a 1", "-CLUSTERDOWN the shard has no leader\r\n")
	l.leader.Store("a")
	l.deaf.Store(true)
	c.send(pipeline("SET a 1\nGET a\nPING"))
	c.want("-CLUSTERDOWN the shard has no leader\r\n")
	c.want("-CLUSTERDOWN the shard has no leader\r\n")
	c.want("+PONG\r\n")
	ts.onLoop(func() { ts.forwarding.patience = patience })
	l.leader.Store("")
	c.send(pipeline("SET a 1"))
	l.deaf.Store(false)
	l.leader.Store("b")
	up := l.accept()
	up.gets("SET a 1")
	up.answers("+OK\r\n")
	c.want("+OK\r\n")
}

func TestForwardGivesUpOnWhoDoesNotLead(t *testing.T) {
	t.Parallel()
	ts, l := startForwarding(t)
	ts.onLoop(func() { ts.forwarding.drain = 20 * time.Millisecond })
	c := ts.dial()
	c.send(pipeline("SET a 1"))
	silent := l.accept()
	silent.gets("SET a 1")
	l.leader.Store("b")
	ts.leadershipMoved()
	c.want(indeterminate)
	c.send(pipeline("GET a"))
	up := l.accept()
	if up.node != "b" {
		t.Error(up.node)
	}
	up.gets("GET a")
	silent.wantEnd()
}

func TestForwardedWatch(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"kept", "broken before EXEC", "broken behind EXEC", "refused", "broken behind UNWATCH"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			ts, l := startForwarding(t)
			c := ts.dial()
			c.send(pipeline("WATCH a\nGET a"))
			up := l.accept()
			up.gets("WATCH a")
			up.gets("GET a")
			up.answers("+OK\r\n")
			up.answers("$1\r\n1\r\n")
			c.want("+OK\r\n")
			c.want("$1\r\n1\r\n")
			if how == "broken before EXEC" {
				up.Close()
				c.send(pipeline("GET b"))
				up = l.accept()
				up.gets("GET b")
				up.answers("$-1\r\n")
				c.want("$-1\r\n")
				c.must("WATCH b", "+OK\r\n")
			}
			if how == "broken behind UNWATCH" {
				c.must("UNWATCH", "+OK\r\n")
				up.gets("UNWATCH")
				up.answers("+OK\r\n")
				up.Close()
			}
			c.send(pipeline("MULTI\nGET a\nEXEC"))
			c.want("+OK\r\n")
			c.want("+QUEUED\r\n")
			if how == "broken before EXEC" {
				c.want("*-1\r\n")
				return
			}
			if how == "broken behind UNWATCH" {
				up = l.accept()
			}
			up.gets("MULTI")
			up.gets("GET a")
			up.gets("EXEC")
			up.answers("+OK\r\n")
			up.answers("+QUEUED\r\n")
			switch how {
			case "kept", "broken behind UNWATCH":
				up.answers("*1\r\n$1\r\n1\r\n")
				c.want("*1\r\n$1\r\n1\r\n")
			case "broken behind EXEC":
				up.Close()
				c.want("*-1\r\n")
			case "refused":
				up.answers(refusal)
				c.want("*-1\r\n")
			}
		})
	}
}

// TestForwardedTransactionWaitsAtTheLeader: how many followers have a transaction's writes only the leader knows.
func TestForwardedTransactionWaitsAtTheLeader(t *testing.T) {
	t.Parallel()
	leader, follower := startPair(t)
	f := newFakeTopology(1, 1)
	f.setProgress(1, shardProgress{Replicas: []replicaProgress{{Node: fakeID(2), Held: 1 << 40}, {Node: fakeID(3)}}})
	leader.onLoop(func() { leader.topology = f })
	here := newFakeTopology(2, 1)
	follower.onLoop(func() { follower.topology = here })
	c := follower.dial()
	c.send(pipeline("MULTI\nSET a 1\nCLIENT GETNAME\nWAIT 0 0\nGET a\nWAITAOF 0 0 0\nEXEC"))
	for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*5\r\n+OK\r\n$-1\r\n:1\r\n$1\r\n1\r\n*2\r\n:1\r\n:0\r\n"} {
		c.want(want)
	}
	c.send(pipeline("MULTI\nWAIT 0 0\nEXEC"))
	for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "*1\r\n:1\r\n"} {
		c.want(want)
	}
}

// TestForwardingIsNotSeen has a server whose clients are all forwarded answer as redis-server does.
func TestForwardingIsNotSeen(t *testing.T) {
	t.Parallel()
	theirs := startRedis(t)
	leader, ours := startPair(t)
	for _, proto := range []string{"2", "3"} {
		a, b := theirs.dial(), ours.dial()
		a.do("HELLO", proto)
		b.do("HELLO", proto)
		for _, l := range append(sameLines, strings.Split(strings.TrimSpace(forwardedLines), "\n")...) {
			words := strings.Fields(l)
			for i, word := range words {
				words[i] = strings.NewReplacer(`""`, "", `\n`, "\n", `\x00`, "\x00", `\s`, " ").Replace(word)
			}
			if words[0] == "QUIT" || strings.Contains(l, "REPLICAOF") {
				continue
			}
			want, got := a.do(words...), b.do(words...)
			if got != want {
				t.Errorf("RESP%s, %s:\n ours   %.600q\n theirs %.600q", proto, l, got, want)
			}
		}
	}
	c := leader.dial()
	if got := c.do("GET", "shared"); got != "$1\r\n7\r\n" {
		t.Error(got)
	}
	if got := c.do("CLIENT", "LIST"); !strings.Contains(got, " addr="+ours.path+":0 ") {
		t.Error(got)
	}
}

const forwardedLines = `
SET shared 7
SELECT 5
SET five 5
DBSIZE
SELECT 0
GET five
MULTI
SET a 1
SELECT 5
GET five
CLIENT GETNAME
INCR five
SELECT 0
GET five
ECHO x
EXEC
GET five
MULTI
INCR
EXEC
MULTI
LPUSH a x
GET a
EXEC
WATCH w
SET w 1
MULTI
GET w
EXEC
WATCH w
MULTI
PING
EXEC
WATCH w
SET w 2
UNWATCH
MULTI
GET w
EXEC
WATCH w
MULTI
WATCH x
DISCARD
DISCARD
EXEC
WATCH w
RESET
HGETALL nosuch
CONFIG GET maxclients
HSET h f v
HGETALL h
RESET
TYPE a
`

// startPair starts a server that leads, and one that forwards to it.
func startPair(t testing.TB) (leader, follower *testServer) {
	leader, follower = start(t, "io-threads 1"), start(t, "io-threads 1")
	yes, no := func() bool { return true }, func() bool { return false }
	leader.forwardTo(&forwarding{leads: yes, leader: func() string { return "self" }})
	follower.forwardTo(&forwarding{leads: no, leader: func() string { return "leader" }, dial: func(context.Context, string) (net.Conn, error) {
		here, there := net.Pipe()
		leader.net.Adopt(there)
		return here, nil
	}})
	return leader, follower
}

// TestForwardingIsBounded has two servers that both believe the other to lead.
func TestForwardingIsBounded(t *testing.T) {
	t.Parallel()
	leader, follower := startPair(t)
	leader.onLoop(func() { leader.forwarding.leads = func() bool { return false } })
	follower.onLoop(func() { follower.forwarding.patience = 100 * time.Millisecond })
	c := follower.dial()
	for range 3 {
		c.must("INCR a", string(noLeaderReply))
	}
	leader.onLoop(func() { leader.forwarding.leads = func() bool { return true } })
	follower.onLoop(func() { follower.forwarding.patience = patience })
	c.must("INCR a", ":1\r\n")
}

// TestSessionsComeHome has the forwarding server come to lead itself.
func TestSessionsComeHome(t *testing.T) {
	t.Parallel()
	ts, l := startForwarding(t)
	c, other := ts.dial(), ts.dial()
	c.send(pipeline("WATCH a"))
	up := l.accept()
	up.gets("WATCH a")
	up.answers("+OK\r\n")
	c.want("+OK\r\n")
	other.send(pipeline("INCR a\nINCR a\nGET a"))
	second := l.accept()
	second.gets("INCR a")
	second.gets("INCR a")
	second.gets("GET a")
	l.leader.Store("self")
	l.leads.Store(true)
	second.answers(refusal)
	second.answers(refusal)
	second.answers(refusal)
	other.want(":1\r\n") // by way of a connection to itself
	other.want(":2\r\n")
	other.want("$1\r\n2\r\n")
	other.must("INCR a", ":3\r\n")
	ts.onLoop(func() {
		for s := range ts.loops[0].away {
			if s.conn.ID() == 2 {
				t.Error("it is still away")
			}
		}
	})
	c.send(pipeline("MULTI\nGET a\nEXEC\nGET a"))
	c.want("+OK\r\n")
	c.want("+QUEUED\r\n")
	c.want("*-1\r\n")
	c.want("$1\r\n3\r\n")
}

// TestWatchesEndWithLeadership has a client watch a key at a node that then leads no more: what it reads by way of the next
// leader was not watched there.
func TestWatchesEndWithLeadership(t *testing.T) {
	t.Parallel()
	ts, l := startForwarding(t)
	l.leads.Store(true)
	c := ts.dial()
	c.must("WATCH a", "+OK\r\n")
	l.leads.Store(false)
	c.send(pipeline("GET a"))
	up := l.accept()
	up.gets("GET a")
	up.answers("$1\r\n1\r\n")
	c.want("$1\r\n1\r\n")
	c.send(pipeline("MULTI\nSET a 2\nEXEC\nGET a"))
	c.want("+OK\r\n")
	c.want("+QUEUED\r\n")
	c.want("*-1\r\n")
	up.gets("GET a")
	up.answers("$1\r\n1\r\n")
	c.want("$1\r\n1\r\n")
}

// TestForwardSlowClient has a client not read: what the leader sends must not pile up here.
func TestForwardSlowClient(t *testing.T) {
	t.Parallel()
	leader, follower := startPair(t)
	d := leader.dial()
	const size = 1 << 20
	d.must("SETRANGE big "+strconv.Itoa(size-1)+" x", fmt.Sprintf(":%d\r\n", size))
	c := follower.dial()
	const gets = 60
	c.send(strings.Repeat(line("GET big"), gets))
	buffered := 0
	for range 200 {
		follower.onLoop(func() {
			for s := range follower.loops[0].away {
				buffered = max(buffered, s.conn.OutputBuffered())
			}
		})
		time.Sleep(time.Millisecond)
	}
	if buffered > 4*slowOutput {
		t.Errorf("%d bytes were kept for a client that does not read", buffered)
	}
	for range gets {
		if got := c.reply(); len(got) < size {
			t.Fatal(len(got))
		}
	}
}

// modelLeader is a counter that several leaders in turn keep, and that breaks, refuses and tarries at random.
type modelLeader struct {
	mu     sync.Mutex
	rand   *rand.Rand
	runs   []int // how often each command was run, by its number
	order  []int
	active int // the connections that were made
}

// serve is a leader's side of one connection.
func (m *modelLeader) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	c := &leaderConn{testClient: &testClient{Conn: conn, in: in}}
	refused := false
	for {
		words, err := c.command()
		if err != nil {
			return
		}
		m.mu.Lock()
		dice := m.rand.IntN(100)
		m.mu.Unlock()
		answer := "+OK\r\n"
		switch {
		case words[0] == originCommand:
		case refused || dice < 8:
			answer, refused = refusal, true
		case dice < 12: // gone before it is run
			return
		default:
			n, _ := strconv.Atoi(words[1])
			m.mu.Lock()
			m.runs[n]++
			m.order = append(m.order, n)
			m.mu.Unlock()
			if answer = ":" + words[1] + "\r\n"; dice < 16 { // gone before it says so
				return
			}
		}
		if dice%20 == 0 {
			time.Sleep(time.Millisecond)
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			return
		}
	}
}

// TestForwardingNeverRepeats sends numbered commands by way of leaders that fail at random, and compares what the client
// was told with what was run.
func TestForwardingNeverRepeats(t *testing.T) {
	t.Parallel()
	const commands = 400
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := &modelLeader{rand: rand.New(rand.NewPCG(seed, 1)), runs: make([]int, commands)}
			ts := start(t, "io-threads 1")
			var joined sync.WaitGroup
			t.Cleanup(func() {
				ts.end(false)
				joined.Wait()
			})
			ts.forwardTo(&forwarding{leads: func() bool { return false }, leader: func() string {
				m.mu.Lock()
				defer m.mu.Unlock()
				return fmt.Sprint(m.active)
			}, dial: func(context.Context, string) (net.Conn, error) {
				here, there := net.Pipe()
				m.mu.Lock()
				m.active++ // the next is another node: it is tried without delay
				m.mu.Unlock()
				joined.Go(func() { m.serve(there) })
				return here, nil
			}})
			c := ts.dial()
			read := rand.New(rand.NewPCG(seed, 2))
			isRead := make([]bool, commands)
			told := make([]string, commands)
			for n := 0; n < commands; {
				var b strings.Builder
				first := n
				for ; n < min(commands, first+1+read.IntN(20)); n++ {
					if isRead[n] = read.IntN(3) == 0; isRead[n] {
						b.WriteString(encode("GET", strconv.Itoa(n)))
					} else {
						b.WriteString(encode("APPEND", strconv.Itoa(n), "x"))
					}
				}
				c.send(b.String())
				for i := first; i < n; i++ {
					told[i] = c.reply()
				}
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			check(t, m, told, isRead)
		})
	}
}

func check(t *testing.T, m *modelLeader, told []string, isRead []bool) {
	t.Helper()
	unknown := 0
	for n, got := range told {
		runs := m.runs[n]
		switch {
		case got == fmt.Sprintf(":%d\r\n", n):
			if runs < 1 || runs > 1 && !isRead[n] {
				t.Errorf("%d was acknowledged, and run %d times", n, runs)
			}
		case isRead[n]:
			if got != lost && got != string(noLeaderReply) {
				t.Errorf("read %d: %q", n, got)
			}
		case got == indeterminate:
			unknown++
			if runs > 1 {
				t.Errorf("%d is indeterminate, and was run %d times", n, runs)
			}
		case got == lost || got == string(noLeaderReply):
			if runs > 0 {
				t.Errorf("%d was said not to be done, and was run", n)
			}
		default:
			t.Errorf("%d: %q", n, got)
		}
	}
	last := -1
	for _, n := range m.order {
		if !isRead[n] {
			if n < last {
				t.Errorf("%d was run behind %d", n, last)
			}
			last = n
		}
	}
	if unknown == len(told) || last < 0 {
		t.Errorf("nothing came through: %d unknown, %q", unknown, told[:10])
	}
}
