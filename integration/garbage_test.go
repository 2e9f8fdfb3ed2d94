package integration

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"
)

// TestBadInput sends what is no command, or only half of one, and ends its side. Both servers must answer with the same
// bytes, close where the other closes, and go on serving.
func TestBadInput(t *testing.T) {
	larder, redis := startLarder(t), startRedis(t)
	for _, input := range []string{
		"", "\r\n", "\n\n\n", "PING\n", "PING\r\nPING\r\n", "  PING  \r\n",
		"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI", "*1\r\n", "*0\r\n*1\r\n$4\r\nPING\r\n", "*-1\r\nPING\r\n",
		"*1\r\n$-2\r\n", "*1\r\n$-1\r\n", "*1\r\n$x\r\n", "*1\r\n$\r\n", "*1\r\n$999999999999\r\n", "*1\r\n$536870913\r\n",
		"*x\r\n", "*\r\n", "*99999999999\r\n", "*2147483648\r\n", "*1048576\r\n", "*1\r\n:4\r\nPING\r\n", "*1\r\nPING\r\n",
		"*1\r\n$4\r\nPINGxx", "*1\r\n$4\r\nPINGPING\r\n", "*2\r\n$4\r\nECHO\r\n$3\r\na\x00b\r\n",
		"SET k \"unbalanced\r\n", "SET k 'x'y\r\n", "ECHO \"\\x41\\n\"\r\n", "ECHO 'a\\'b'\r\n",
		"\x01\x02\xff\xfe\r\n", strings.Repeat("x", 70_000), strings.Repeat("y", 60_000) + "\r\n",
		"*1\r\n$" + strings.Repeat("1", 70_000), "*" + strings.Repeat("0", 70_000),
		"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n",
		"SET k v\r\nGET k\r\n*x\r\nGET k\r\n", "QUIT\r\nPING\r\n", "*1\r\n$0\r\n\r\nPING\r\n",
	} {
		ours, theirs := answersTo(t, larder, input), answersTo(t, redis, input)
		if ours != theirs {
			t.Errorf("%s\n  larder %s\n  redis  %s", shorten(input), shorten(ours), shorten(theirs))
		}
	}
	// More arguments than the log can hold are refused at once, as up to Redis 6.2.
	if got := answersTo(t, larder, "*1048577\r\n"); got != "-ERR Protocol error: invalid multibulk length\r\n" {
		t.Errorf("1048577 arguments: %s", shorten(got))
	}
	connect(t, larder).want(t, "+PONG\r\n", "PING")
}

// TestBrowserIsTurnedAway: a web page must not be able to have a browser talk to the server. What begins as an HTTP request
// is closed before anything in it is run as a command.
func TestBrowserIsTurnedAway(t *testing.T) {
	s := startLarder(t)
	for _, input := range []string{
		"POST / HTTP/1.1\r\n\r\nSET k v\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nSET k v\r\n",
	} {
		if answer := answersTo(t, s, input); strings.Contains(answer, "+OK") {
			t.Errorf("%s was answered with %s", shorten(input), shorten(answer))
		}
	}
	connect(t, s).want(t, "$-1\r\n", "GET", "k")
}

// answersTo is all that a server answers to the input, until it closes the connection.
func answersTo(t *testing.T, s *server, input string) string {
	t.Helper()
	w, err := dial(s.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer w.conn.Close()
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w.conn, input); err != nil {
		return "closed while it was sent"
	}
	if err := w.conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return "closed while it was sent"
	}
	answer, err := io.ReadAll(bufio.NewReader(w.conn))
	if err != nil && len(answer) == 0 {
		return "closed" // with unread input, a close is a reset
	}
	return string(answer)
}
