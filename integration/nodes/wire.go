package nodes

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Reply is one reply of a server.
type Reply struct {
	Kind     byte   // '+', '-', ':', '$' or '*'
	Text     string // of '+', '-', ':' and '$'
	Nil      bool
	Elements []Reply // of '*'
}

// IsError says that the reply is an error.
func (r Reply) IsError() bool { return r.Kind == '-' }

// Conn is a connection to a server that hides nothing: it never connects again and never sends twice.
type Conn struct {
	conn net.Conn
	in   *bufio.Reader
}

// Dial connects. If it fails, nothing has been sent.
func Dial(addr string, timeout time.Duration) (*Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: conn, in: bufio.NewReader(conn)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Do sends the commands in one piece and reads a reply for each. With an error come the replies that had arrived; any of
// the other commands may or may not have been carried out, and the connection is of no more use.
func (c *Conn) Do(timeout time.Duration, commands ...[]string) ([]Reply, error) {
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	var out []byte
	for _, args := range commands {
		out = fmt.Appendf(out, "*%d\r\n", len(args))
		for _, a := range args {
			out = fmt.Appendf(out, "$%d\r\n%s\r\n", len(a), a)
		}
	}
	if _, err := c.conn.Write(out); err != nil {
		return nil, err
	}
	var replies []Reply
	for range commands {
		r, err := readReply(c.in, 0)
		if err != nil {
			return replies, err
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// Bounds of what is taken for a reply.
const (
	longestReply = 64 << 20
	deepestReply = 8
)

var errReply = errors.New("this is no reply")

func readReply(in *bufio.Reader, depth int) (Reply, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return Reply{}, err
	}
	if len(line) < 3 || line[len(line)-2] != '\r' || depth > deepestReply {
		return Reply{}, fmt.Errorf("%w: %q", errReply, line)
	}
	r := Reply{Kind: line[0], Text: line[1 : len(line)-2]}
	switch r.Kind {
	case '+', '-', ':':
		return r, nil
	case '$', '*':
	default:
		return Reply{}, fmt.Errorf("%w: %q", errReply, line)
	}
	n, err := strconv.Atoi(r.Text)
	if err != nil || n < -1 || n > longestReply {
		return Reply{}, fmt.Errorf("%w: %q", errReply, line)
	}
	r.Text, r.Nil = "", n < 0
	if r.Nil {
		return r, nil
	}
	if r.Kind == '$' {
		text := make([]byte, n+2)
		if _, err := io.ReadFull(in, text); err != nil {
			return Reply{}, err
		}
		r.Text = string(text[:n])
		return r, nil
	}
	for range n {
		e, err := readReply(in, depth+1)
		if err != nil {
			return Reply{}, err
		}
		r.Elements = append(r.Elements, e)
	}
	return r, nil
}
