package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/larder-db/larder/server/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what must happen; no test passes by waiting so long.
const patience = 90 * time.Second

// testServer is a server in this process, on a folder of its own, that listens on a Unix socket and on what the
// directives add.
type testServer struct {
	*Server
	t     testing.TB
	path  string
	ended sync.Once
}

// end stops the server and waits until it has.
func (ts *testServer) end(save bool) {
	ts.ended.Do(func() {
		ts.Stop(save)
		if err := ts.Wait(); err != nil {
			ts.t.Errorf("the server does not stop well: %v", err)
		}
	})
}

// start starts a server that ends with the test. Directives are lines of redis.conf.
func start(t testing.TB, directives ...string) *testServer {
	t.Helper()
	ts, err := tryStart(t, directives...)
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func tryStart(t testing.TB, directives ...string) (*testServer, error) {
	folder, err := os.MkdirTemp("", "larder") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) }) // left over at worst
	path := filepath.Join(folder, "s")
	file := filepath.Join(folder, "larder.conf")
	lines := append([]string{"dir " + folder, "port 0", "unixsocket " + path, "maxmemory 256mb", "log-segment-size 4mb"}, directives...)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(config.Options{Version: Version, Args: []string{file}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	srv, err := Start(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	ts := &testServer{Server: srv, t: t, path: path}
	t.Cleanup(func() { ts.end(false) })
	return ts, nil
}

// tcpPort is a port that was free just now, and that no connection that goes out is given: systems take higher ones.
func tcpPort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", fmt.Sprint(":", port)); err == nil {
			_ = l.Close() // it was only to see
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// dial connects a client.
func (ts *testServer) dial() *testClient {
	ts.t.Helper()
	conn, err := net.Dial("unix", ts.path)
	if err != nil {
		ts.t.Fatal(err)
	}
	return newTestClient(ts.t, conn)
}

// testClient speaks to a server, byte by byte as the test wants.
type testClient struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

func newTestClient(t testing.TB, conn net.Conn) *testClient {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() }) // often closed already
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &testClient{conn, t, bufio.NewReader(conn)}
}

// encode is a command as clients send it.
func encode(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

// line splits a command at its spaces.
func line(command string) string { return encode(strings.Fields(command)...) }

// pipeline is commands, one to a line, as clients send them.
func pipeline(commands string) string {
	var b strings.Builder
	for l := range strings.Lines(commands) {
		if fields := strings.Fields(l); len(fields) > 0 {
			b.WriteString(encode(fields...))
		}
	}
	return b.String()
}

func (c *testClient) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, raw); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// do sends a command and returns its reply.
func (c *testClient) do(args ...string) string {
	c.t.Helper()
	c.send(encode(args...))
	return c.reply()
}

// must sends a line's command and wants that reply.
func (c *testClient) must(command, want string) {
	c.t.Helper()
	c.send(line(command))
	c.want(want)
}

// reply reads one reply, as it is on the wire.
func (c *testClient) reply() string {
	c.t.Helper()
	var b bytes.Buffer
	if err := readReply(c.in, &b); err != nil {
		c.t.Fatalf("after %.100q: %v", b.String(), err)
	}
	return b.String()
}

// want reads one reply and compares it.
func (c *testClient) want(want string) {
	c.t.Helper()
	if got := c.reply(); got != want {
		c.t.Fatalf("got %.300q, want %.300q", got, want)
	}
}

// wantEnd wants the server to have closed the connection.
func (c *testClient) wantEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(c.in)
	if len(rest) > 0 {
		c.t.Fatalf("got %.300q, want the end", rest)
	}
	if e, ok := err.(net.Error); ok && e.Timeout() {
		c.t.Fatal("the connection is still open")
	}
}

func readReply(in *bufio.Reader, out *bytes.Buffer) error {
	head, err := in.ReadString('\n')
	out.WriteString(head)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(head[1:])) // 0 where it is no number, and then not used
	switch head[0] {
	case '$', '=':
		if n < 0 {
			return nil
		}
		_, err = io.CopyN(out, in, int64(n)+2)
		return err
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return nil
	}
	for range n {
		if err := readReply(in, out); err != nil {
			return err
		}
	}
	return nil
}

// bulk is a bulk string's reply.
func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
