package server

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRepliesComeInOrder sends long pipelines in which all ways of answering are mixed, cut up at random, and checks each
// reply against a model.
func TestRepliesComeInOrder(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"always", "everysec"} {
		t.Run(policy, func(t *testing.T) {
			ts := start(t, "appendfsync "+policy)
			ts.node.expireOff.Store(true)
			m := newModel(t, rand.New(rand.NewPCG(1, 2)))
			c := ts.dial()
			c.do("FLUSHALL")
			for range 12 {
				m.makeDue(c)
				ts.makeCold()
				commands, want := m.pipeline(400)
				go sendInPieces(c, commands, rand.New(rand.NewPCG(m.random.Uint64(), 0)))
				for i := range want {
					if got := c.reply(); want[i] != "" && got != want[i] {
						t.Fatalf("reply %d: got %.200q, want %.200q", i, got, want[i])
					}
				}
			}
		})
	}
}

// TestNobodysRepliesAreNotKept: what the log deletes before a read is answered to nobody.
func TestNobodysRepliesAreNotKept(t *testing.T) {
	t.Parallel()
	ts := start(t, "io-threads 1")
	ts.node.expireOff.Store(true)
	c := ts.dial()
	for range 5 {
		c.must("SET k v PX 1", "+OK\r\n")
		eventually(t, "its time has come", func() bool { return c.do("GET", "k") == "$-1\r\n" })
	}
	ts.onLoop(func() {
		if n := ts.loops[0].nobody; n.early.count > 0 || n.finished > 0 {
			t.Errorf("%d replies are kept, %d were counted", n.early.count, n.finished)
		}
	})
}

// makeCold has the store alone hold all keys, and the front nothing.
func (ts *testServer) makeCold() {
	ts.t.Helper()
	if err := ts.node.checkpoint(); err != nil {
		ts.t.Fatal(err)
	}
	if err := ts.node.reload(); err != nil {
		ts.t.Fatal(err)
	}
}

// sendInPieces ends when all is sent or the connection is gone, which the reader notices.
func sendInPieces(c *testClient, text string, random *rand.Rand) {
	for len(text) > 0 {
		n := min(1+random.IntN(3000), len(text))
		if _, err := io.WriteString(c.Conn, text[:n]); err != nil {
			return
		}
		text = text[n:]
	}
}

// model knows what replies must be.
type model struct {
	t      *testing.T
	random *rand.Rand
	keys   map[string]string
	resp3  bool
}

func newModel(t *testing.T, random *rand.Rand) *model {
	return &model{t: t, random: random, keys: map[string]string{}}
}

func (m *model) key() string { return "k" + strconv.Itoa(m.random.IntN(200)) }

// makeDue sets keys whose time has come when it returns, and which nobody has deleted.
func (m *model) makeDue(c *testClient) {
	m.t.Helper()
	for range 20 {
		k := m.key()
		c.do("SET", k, "due", "PX", "1")
		delete(m.keys, k)
	}
	begun := time.Now()
	eventually(m.t, "two milliseconds pass", func() bool { return time.Since(begun) > 2*time.Millisecond })
}

func (m *model) null() string {
	if m.resp3 {
		return "_\r\n"
	}
	return "$-1\r\n"
}

func (m *model) get(k string) string {
	if v, ok := m.keys[k]; ok {
		return bulk(v)
	}
	return m.null()
}

// pipeline returns n commands and their replies, "" for those that are not foretold.
func (m *model) pipeline(n int) (commands string, want []string) {
	var b strings.Builder
	add := func(reply string, args ...string) {
		b.WriteString(encode(args...))
		want = append(want, reply)
	}
	for i := range n {
		k, text := m.key(), strconv.Itoa(i)
		switch m.random.IntN(14) {
		case 0, 1, 2:
			m.keys[k] = text
			add("+OK\r\n", "SET", k, text)
		case 3:
			old := m.get(k)
			m.keys[k] = text
			add(old, "GETSET", k, text)
		case 4, 5, 6:
			add(m.get(k), "GET", k)
		case 7:
			k2 := m.key()
			add("*2\r\n"+m.get(k)+m.get(k2), "MGET", k, k2)
		case 8:
			add(bulk(text), "ECHO", text)
		case 9:
			add("", "CLIENT", "LIST")
		case 10:
			add(m.found(k), "KEYS", k)
		case 11:
			_, ok := m.keys[k]
			delete(m.keys, k)
			add(integer(ok), "DEL", k)
		case 12:
			m.resp3 = !m.resp3
			add("", "HELLO", map[bool]string{false: "2", true: "3"}[m.resp3])
		case 13:
			add("-ERR wrong number of arguments for 'get' command\r\n", "GET")
		}
	}
	return b.String(), want
}

// found is KEYS's reply for a pattern without wildcards.
func (m *model) found(k string) string {
	if _, ok := m.keys[k]; ok {
		return "*1\r\n" + bulk(k)
	}
	return "*0\r\n"
}

func integer(one bool) string {
	if one {
		return ":1\r\n"
	}
	return ":0\r\n"
}

func TestHalfCommands(t *testing.T) {
	t.Parallel()
	c := start(t).dial()
	text := pipeline("SET a 1\nGET a\nPING\nKEYS a") + "INCR a\r\n"
	for i := range text {
		c.send(text[i : i+1])
	}
	for _, want := range []string{"+OK\r\n", bulk("1"), "+PONG\r\n", "*1\r\n" + bulk("a"), ":2\r\n"} {
		c.want(want)
	}
}

func TestProtocolErrorBehindWrites(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.send(strings.Repeat(line("INCR n"), 500) + "*1\r\n$-5\r\n" + line("SET never 1"))
	for i := range 500 {
		c.want(fmt.Sprintf(":%d\r\n", i+1))
	}
	c.want("-ERR Protocol error: invalid bulk length\r\n")
	c.wantEnd()
	ts.dial().must("GET never", "$-1\r\n")
}

// Reads are taken from the parser several at a time: what stands behind them is still understood as of its own place.
func TestReadsTakenTogether(t *testing.T) {
	t.Parallel()
	ts := start(t, "requirepass secret")
	c := ts.dial()
	many := "DEL" + strings.Repeat(" no", 100) // more arguments than may be sent before the password
	c.send(pipeline("GET a\nGET a\nAUTH secret\n"+many+"\nSET a 1") + strings.Repeat(line("GET a"), 40) +
		pipeline("KEYS a\nGET a\nNOSUCH\nGET a\nGET a\nSET a 2\nGET a") + "*x\r\n" + line("SET a 3"))
	c.want("-NOAUTH Authentication required.\r\n")
	c.want("-NOAUTH Authentication required.\r\n")
	c.want("+OK\r\n")
	c.want(":0\r\n")
	c.want("+OK\r\n")
	for range 40 {
		c.want(bulk("1"))
	}
	c.want("*1\r\n" + bulk("a"))
	c.want(bulk("1"))
	c.want("-ERR unknown command 'NOSUCH', with args beginning with: \r\n")
	for _, want := range []string{bulk("1"), bulk("1"), "+OK\r\n", bulk("2"), "-ERR Protocol error: invalid multibulk length\r\n"} {
		c.want(want)
	}
	c.wantEnd()
}

func TestProtocolSwitchInPipeline(t *testing.T) {
	t.Parallel()
	c := start(t).dial()
	c.send(pipeline("GET no\nSET a 1\nGET no\nHELLO 3\nGET no\nSET a 2\nGET no\nHELLO 2\nGET no\nSET a 3\nGET no\nHELLO 3\nRESET\nGET no"))
	for _, want := range []string{"$-1", "+OK", "$-1", "%7", "_", "+OK", "_", "*14", "$-1", "+OK", "$-1", "%7", "+RESET", "$-1"} {
		if got := c.reply(); !strings.HasPrefix(got, want+"\r\n") {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestClientReply(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.send(pipeline(`
		SET a 1
		CLIENT REPLY SKIP
		SET a 2
		GET a
		CLIENT REPLY SKIP
		GET a
		INCR a
		CLIENT REPLY OFF
		SET a 10
		GET a
		KEYS *
		CLIENT LIST
		NOSUCH
		CLIENT REPLY SKIP
		INCR a
		CLIENT REPLY ON
		INCR a
		CLIENT REPLY SKIP
		KEYS *
		PING`))
	for _, want := range []string{"+OK\r\n", bulk("2"), ":3\r\n", "+OK\r\n", ":12\r\n", "+PONG\r\n"} {
		c.want(want)
	}
	c.send(pipeline("CLIENT REPLY SKIP\nCLIENT KILL ID 123456\nCLIENT REPLY SKIP\nNOSUCH\nINCR a"))
	c.want(":13\r\n")
	ts.makeCold()
	c.send(pipeline("CLIENT REPLY SKIP\nGET a\nPING"))
	c.want("+PONG\r\n")
}

func TestQuitBehindWrites(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.send(strings.Repeat(line("INCR n"), 300) + line("QUIT") + line("INCR n"))
	for i := range 300 {
		c.want(fmt.Sprintf(":%d\r\n", i+1))
	}
	c.want("+OK\r\n")
	c.wantEnd()
	ts.dial().must("GET n", bulk("300"))
}

func TestEndOfInputBehindCommands(t *testing.T) {
	t.Parallel()
	ts := start(t)
	for _, last := range []string{"INCR n", "KEYS *", "CLIENT LIST", "CONFIG SET timeout 0"} {
		c := ts.dial()
		c.send(line("SET n 0") + strings.Repeat(line("INCR n"), 300) + line(last))
		if err := c.Conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		c.want("+OK\r\n")
		for i := range 300 {
			c.want(fmt.Sprintf(":%d\r\n", i+1))
		}
		c.reply()
		c.wantEnd()
	}
}

func TestDeepPipelines(t *testing.T) {
	t.Parallel()
	ts := start(t, "appendfsync no")
	const deep = 10_000
	done := make(chan string, 2)
	for n := range cap(done) {
		c := ts.dial()
		go func() {
			var b strings.Builder
			for i := range deep {
				b.WriteString(encode("SET", fmt.Sprint(n, i), strconv.Itoa(i)) + encode("GET", fmt.Sprint(n, i)) + encode("PING"))
			}
			if _, err := io.WriteString(c.Conn, b.String()); err != nil {
				done <- err.Error()
			}
		}()
		go func() {
			for i := range deep {
				for _, want := range []string{"+OK\r\n", bulk(strconv.Itoa(i)), "+PONG\r\n"} {
					if got := c.reply(); got != want {
						done <- fmt.Sprintf("connection %d, round %d: got %q, want %q", n, i, got, want)
						return
					}
				}
			}
			done <- ""
		}()
	}
	for range cap(done) {
		if problem := <-done; problem != "" {
			t.Fatal(problem)
		}
	}
}

func TestHugeValues(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	value := strings.Repeat("0123456789abcdef", 4<<20)
	go func() { // the reader notices if it fails
		_, _ = io.WriteString(c.Conn, encode("SET", "huge", value)+line("GET huge")+line("STRLEN huge")+line("GET huge")+line("PING"))
	}()
	for _, want := range []string{"+OK\r\n", bulk(value), fmt.Sprintf(":%d\r\n", len(value)), bulk(value), "+PONG\r\n"} {
		if got := c.reply(); got != want {
			t.Fatalf("got %d bytes, %.40q…, want %d, %.40q…", len(got), got, len(want), want)
		}
	}
}

// TestWaitingCommandKeepsItsArguments has a command wait while more arrives.
func TestWaitingCommandKeepsItsArguments(t *testing.T) {
	t.Parallel()
	c := start(t).dial()
	for i := range 200 {
		k := fmt.Sprintf("key:%d", i)
		c.send(encode("SET", k, k) + encode("KEYS", k) + encode("SET", "other", strings.Repeat("x", i)) + encode("CONFIG", "GET", "port") + encode("ECHO", k))
		c.send(strings.Repeat(encode("PING", "filler"), 20))
		c.want("+OK\r\n")
		c.want("*1\r\n" + bulk(k))
		c.want("+OK\r\n")
		c.want("*2\r\n" + bulk("port") + bulk("0"))
		c.want(bulk(k))
		for range 20 {
			c.want(bulk("filler"))
		}
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	t.Parallel()
	ts := start(t, "appendfsync everysec")
	const clients, rounds = 40, 50
	failed := make(chan string, clients)
	for i := range clients {
		c := ts.dial()
		go func() {
			k := "c" + strconv.Itoa(i)
			for n := range rounds {
				text := strings.Repeat("v", n)
				c.send(encode("SET", k, text) + encode("GET", k) + encode("INCR", "shared") + encode("STRLEN", k))
				got := []string{c.reply(), c.reply(), c.reply(), c.reply()}
				if want := []string{"+OK\r\n", bulk(text), got[2], fmt.Sprintf(":%d\r\n", n)}; !slices.Equal(got, want) {
					failed <- fmt.Sprintf("got %q, want %q", got, want)
					return
				}
			}
			failed <- ""
		}()
	}
	for range clients {
		if problem := <-failed; problem != "" {
			t.Error(problem)
		}
	}
	ts.dial().must("GET shared", bulk(strconv.Itoa(clients*rounds)))
}
