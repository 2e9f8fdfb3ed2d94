package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// whereCommand is how a node that wants to join asks a member for its cluster port: all that it knows is the clients'.
// The answer is no secret, and nothing else is said to who has not proven anything.
const whereCommand = "LARDER.WHERE"

// tellWhere answers LARDER.WHERE: the cluster port's address and the admin API's, empty where there is none. The command
// is in no list: it is for nodes and for larder's own tools.
func (s *session) tellWhere() bool {
	s.loop.endRead()
	m := s.server.node.member
	peer := m.at.peer
	if m.endpoint == nil {
		peer = ""
	}
	w := s.writer()
	w.Array(2)
	w.Bulk([]byte(peer))
	w.Bulk([]byte(m.at.admin))
	s.finish(w)
	return true
}

// Where asks a node, at its address for clients, for the addresses of its cluster port and of its admin API; empty: it has
// none. A port that does not answer is asked once more with TLS, where own is what this end shows if it has to show a
// certificate. The other end's is not looked at: nothing is told it, and whoever is at the addresses has to prove himself.
func Where(ctx context.Context, node string, own ...tls.Certificate) (peer, admin string, err error) {
	peer, admin, err = where(ctx, node, nil)
	var silence silent
	if !errors.As(err, &silence) {
		return peer, admin, err
	}
	secure := &tls.Config{InsecureSkipVerify: true, Certificates: own, MinVersion: tls.VersionTLS12}
	peer, admin, e := where(ctx, node, secure)
	if e != nil {
		e = fmt.Errorf("%w; nor with TLS: %w", err, e)
	}
	return peer, admin, e
}

// silent is an error of a node that does not speak RESP.
type silent struct{ error }

func (s silent) Unwrap() error { return s.error }

// where asks once; secure is nil for a port without TLS.
func where(ctx context.Context, node string, secure *tls.Config) (peer, admin string, err error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", node)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = c.Close() }()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(10 * time.Second)
	}
	if err := c.SetDeadline(deadline); err != nil {
		return "", "", err
	}
	if secure != nil {
		c = tls.Client(c, secure)
	}
	if _, err := fmt.Fprintf(c, "*1\r\n$%d\r\n%s\r\n", len(whereCommand), whereCommand); err != nil {
		return "", "", err
	}
	r := bufio.NewReaderSize(c, 1<<10)
	line, err := readLine(r)
	if err != nil {
		return "", "", silent{fmt.Errorf("%s does not answer: %w", node, err)}
	}
	if reason, refused := strings.CutPrefix(line, "-"); refused {
		return "", "", fmt.Errorf("%s refuses: %s", node, reason)
	}
	if line != "*2" {
		return "", "", silent{fmt.Errorf("%s is no Larder server", node)}
	}
	for _, into := range []*string{&peer, &admin} {
		if _, err = readLine(r); err == nil { // the length; an address has no line break
			*into, err = readLine(r)
		}
		if err != nil {
			return "", "", fmt.Errorf("%s does not answer: %w", node, err)
		}
	}
	return peer, admin, nil
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n') // no longer than the buffer
	return strings.TrimSuffix(string(line), "\r\n"), err
}
