package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// whereCommand is how a node that wants to join asks a member for its cluster port: all that it knows is the clients'.
// The answer is no secret, and nothing else is said to who has not proven anything.
const whereCommand = "LARDER.WHERE"

// tellWhere answers LARDER.WHERE. The command is in no list: it is for nodes.
func (s *session) tellWhere() bool {
	s.loop.endRead()
	w := s.writer()
	if m := s.server.node.member; m.endpoint == nil {
		w.Error("ERR this node has no cluster port")
	} else {
		w.Bulk([]byte(m.at.peer))
	}
	s.finish(w)
	return true
}

// maxWhere bounds the answer.
const maxWhere = 300

// askPeerAddress asks a member, at its address for clients, where other nodes reach it.
func askPeerAddress(ctx context.Context, member string) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", member)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	} else {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	if _, err := fmt.Fprintf(c, "*1\r\n$%d\r\n%s\r\n", len(whereCommand), whereCommand); err != nil {
		return "", err
	}
	r := bufio.NewReaderSize(c, 1<<10)
	line, err := r.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the member %s does not answer: %w", member, err)
	}
	line = strings.TrimSuffix(line, "\r\n")
	if reason, refused := strings.CutPrefix(line, "-"); refused {
		return "", fmt.Errorf("the member %s refuses: %s", member, reason)
	}
	length, ok := strings.CutPrefix(line, "$")
	n, err := strconv.Atoi(length)
	if !ok || err != nil || n < 3 || n > maxWhere {
		return "", fmt.Errorf("%s is no Larder server, or has no cluster port", member)
	}
	answer, err := r.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the member %s does not answer: %w", member, err)
	}
	answer = strings.TrimSuffix(answer, "\r\n")
	if _, _, err := net.SplitHostPort(answer); err != nil {
		return "", errors.Join(fmt.Errorf("%s answers with no address", member), err)
	}
	return answer, nil
}
