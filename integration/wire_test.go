package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wire is a connection that shows replies as the bytes that arrived.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

func dial(addr string) (*wire, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, in: bufio.NewReader(conn)}, nil
}

// connect is dial for the length of a test.
func connect(t testing.TB, s *server) *wire {
	t.Helper()
	w, err := dial(s.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.conn.Close() })
	return w
}

// put adds a command to what send sends.
func (w *wire) put(args ...string) {
	w.out = fmt.Appendf(w.out, "*%d\r\n", len(args))
	for _, a := range args {
		w.out = fmt.Appendf(w.out, "$%d\r\n", len(a))
		w.out = append(append(w.out, a...), "\r\n"...)
	}
}

func (w *wire) send() error {
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := w.conn.Write(w.out)
	w.out = w.out[:0]
	return err
}

// reply reads one whole reply.
func (w *wire) reply() (string, error) {
	b, err := readReply(w.in, nil)
	return string(b), err
}

// do sends one command and returns the bytes of its reply.
func (w *wire) do(t testing.TB, args ...string) string {
	t.Helper()
	w.put(args...)
	if err := w.send(); err != nil {
		t.Fatalf("%s: %v", quoteArgs(args), err)
	}
	reply, err := w.reply()
	if err != nil {
		t.Fatalf("%s: %v", quoteArgs(args), err)
	}
	return reply
}

// want fails the test unless the reply is as given.
func (w *wire) want(t testing.TB, reply string, args ...string) {
	t.Helper()
	if got := w.do(t, args...); got != reply {
		t.Errorf("%s: got %s, want %s", quoteArgs(args), shorten(got), shorten(reply))
	}
}

// digestOf is the reply of DEBUG DIGEST, which must not be an error.
func digestOf(t testing.TB, w *wire) string {
	t.Helper()
	reply := w.do(t, "DEBUG", "DIGEST")
	if reply[0] == '-' {
		t.Fatalf("DEBUG DIGEST: %s", reply)
	}
	return reply
}

// bulk is the encoding of a string in a reply.
func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// readReply appends the bytes of one whole reply.
func readReply(in *bufio.Reader, out []byte) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return out, err
	}
	out = append(out, line...)
	n := 0
	switch line[0] {
	case '$', '=', '*', '~', '>', '%':
		if n, err = strconv.Atoi(strings.TrimSpace(string(line[1:]))); err != nil {
			return out, fmt.Errorf("bad length in %q", line)
		}
	case '+', '-', ':', ',', '#', '_', '(':
	default:
		return out, fmt.Errorf("%q is no reply", line)
	}
	switch line[0] {
	case '$', '=':
		if n < 0 {
			return out, nil
		}
		from := len(out)
		out = append(out, make([]byte, n+2)...)
		_, err = io.ReadFull(in, out[from:])
		return out, err
	case '%':
		n *= 2
	}
	for ; n > 0; n-- {
		if out, err = readReply(in, out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// elements are the parts of an aggregate reply; a reply of another kind is its own only part.
func elements(t testing.TB, reply string) []string {
	t.Helper()
	if !strings.ContainsRune("*~%>", rune(reply[0])) {
		return []string{reply}
	}
	_, rest, _ := strings.Cut(reply, "\r\n")
	var parts []string
	for rest != "" {
		part, err := readReply(bufio.NewReader(strings.NewReader(rest)), nil)
		if err != nil {
			t.Fatalf("bad reply %s", shorten(reply))
		}
		parts, rest = append(parts, string(part)), rest[len(part):]
	}
	return parts
}

// inAnyOrder is the reply with the elements of its aggregates, at every depth, sorted.
func inAnyOrder(t testing.TB, reply string) string {
	t.Helper()
	if !strings.ContainsRune("*~>%", rune(reply[0])) {
		return reply
	}
	head, _, _ := strings.Cut(reply, "\r\n")
	parts := elements(t, reply)
	for i := range parts {
		parts[i] = inAnyOrder(t, parts[i])
	}
	if reply[0] == '%' { // a name stays with its value
		pairs := parts[:0]
		for i := 0; i+1 < len(parts); i += 2 {
			pairs = append(pairs, parts[i]+parts[i+1])
		}
		parts = pairs
	}
	slices.Sort(parts)
	return head + "\r\n" + strings.Join(parts, "")
}

// text is the string that a bulk reply holds.
func text(t testing.TB, reply string) string {
	t.Helper()
	_, body, ok := strings.Cut(reply, "\r\n")
	if !ok || reply[0] != '$' || len(body) < 2 {
		t.Fatalf("%s is no string", shorten(reply))
	}
	return body[:len(body)-2]
}

// splitLine splits a line into arguments; an argument may be quoted as a Go string is, which is redis-cli's way too.
func splitLine(t testing.TB, line string) (args []string) {
	t.Helper()
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " \t") {
		if line[0] != '"' {
			word := line
			if i := strings.IndexAny(line, " \t"); i >= 0 {
				word = line[:i]
			}
			args, line = append(args, word), line[len(word):]
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			t.Fatalf("bad quoting in %s", line)
		}
		arg, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("bad quoting in %s", line)
		}
		args, line = append(args, arg), line[len(quoted):]
	}
	return args
}

func quoteArgs(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' }) {
			a = shorten(a)
		}
		quoted[i] = a
	}
	return strings.Join(quoted, " ")
}

func shorten(s string) string {
	const most = 400
	if len(s) > most {
		return fmt.Sprintf("%q… (%d bytes)", s[:most], len(s))
	}
	return strconv.Quote(s)
}
