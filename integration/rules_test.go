package integration

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/integration/nodes"
)

// rules is a client of a cluster that does what ioredis does, and no more, so that replies which only lenient clients
// understand are noticed: it takes the map from CLUSTER SLOTS of whoever answers; it splits errors at their blanks, goes where
// MOVED says, at once, and asks for the map again; after TRYAGAIN, CLUSTERDOWN and a connection that has closed it waits for
// a tenth of a second; and it gives up after sixteen times. It asks with ASKING where it is told ASK.
type rules struct {
	known []string // all nodes that it has heard of
	slots [keyspace.SlotCount]string
	conns map[string]*nodes.Conn
}

const (
	rulesTries = 16
	rulesPause = 100 * time.Millisecond
	rulesTime  = 10 * time.Second
)

func ofRules(t *testing.T, members []*server) keeper {
	t.Helper()
	r := &rules{known: addrsOf(members), conns: map[string]*nodes.Conn{}}
	t.Cleanup(func() {
		for _, c := range r.conns {
			_ = c.Close()
		}
	})
	return keeper{
		name: "rules",
		set:  func(key, value string) error { _, err := r.do(key, "SET", key, value); return err },
		get:  func(key string) (string, error) { return r.do(key, "GET", key) },
	}
}

// on asks one node. A connection that breaks is closed.
func (r *rules) on(addr string, commands ...[]string) ([]nodes.Reply, error) {
	c := r.conns[addr]
	if c == nil {
		var err error
		if c, err = nodes.Dial(addr, rulesTime); err != nil {
			return nil, err
		}
		r.conns[addr] = c
		// As the library does before it takes a node for ready.
		for _, ready := range [][2]string{{"INFO", "loading:0\r\n"}, {"CLUSTER INFO", "cluster_state:"}} {
			replies, err := c.Do(rulesTime, strings.Fields(ready[0]))
			if err == nil && !strings.Contains(replies[0].Text, ready[1]) {
				err = fmt.Errorf("%w: %s answers %q", errWrong, ready[0], replies[0].Text)
			}
			if err != nil {
				r.hangUp(addr)
				return nil, err
			}
		}
	}
	replies, err := c.Do(rulesTime, commands...)
	if err != nil {
		r.hangUp(addr)
	}
	return replies, err
}

func (r *rules) hangUp(addr string) {
	_ = r.conns[addr].Close()
	delete(r.conns, addr)
}

// refresh takes the map from the first node that answers.
func (r *rules) refresh() error {
	var errs error
	for _, addr := range r.known {
		replies, err := r.on(addr, []string{"CLUSTER", "SLOTS"})
		if err == nil && replies[0].IsError() {
			err = errors.New(replies[0].Text)
		}
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		for _, item := range replies[0].Elements {
			if err := r.learn(item); err != nil {
				return err
			}
		}
		return nil
	}
	return errs
}

// learn takes in one item of CLUSTER SLOTS: from, to, then the nodes, the one that leads first.
func (r *rules) learn(item nodes.Reply) error {
	wrong := fmt.Errorf("%w: CLUSTER SLOTS has %+v", errWrong, item)
	if len(item.Elements) < 3 || len(item.Elements[2].Elements) < 2 {
		return wrong
	}
	from, err := strconv.Atoi(item.Elements[0].Text)
	if err != nil {
		return wrong
	}
	to, err := strconv.Atoi(item.Elements[1].Text)
	if err != nil || from > to || from < 0 || to >= len(r.slots) {
		return wrong
	}
	for i, n := range item.Elements[2:] {
		host, port := n.Elements[0].Text, n.Elements[1].Text
		if net.ParseIP(host) == nil || n.Elements[1].Kind != ':' {
			return wrong
		}
		if i > 0 {
			continue
		}
		for slot := from; slot <= to; slot++ {
			r.slots[slot] = net.JoinHostPort(host, port)
		}
	}
	return nil
}

func (r *rules) do(key string, args ...string) (string, error) {
	slot := keyspace.Slot([]byte(key))
	asking := ""
	var err error
	for range rulesTries {
		at, commands := r.slots[slot], [][]string{args}
		if asking != "" {
			at, commands, asking = asking, [][]string{{"ASKING"}, args}, ""
		}
		if at == "" {
			if err = r.refresh(); errors.Is(err, errWrong) {
				return "", err
			}
			if err != nil {
				time.Sleep(rulesPause)
			}
			continue
		}
		var replies []nodes.Reply
		if replies, err = r.on(at, commands...); err != nil {
			if errors.Is(err, errWrong) {
				return "", err
			}
			time.Sleep(rulesPause)
			if e := r.refresh(); errors.Is(e, errWrong) {
				return "", e
			}
			continue
		}
		reply := replies[len(replies)-1]
		if !reply.IsError() {
			return reply.Text, nil
		}
		err = errors.New(reply.Text)
		words := strings.Split(reply.Text, " ")
		switch words[0] {
		case "MOVED":
			if len(words) != 3 || words[1] != strconv.Itoa(int(slot)) {
				return "", fmt.Errorf("%w: %s", errWrong, reply.Text)
			}
			if e := r.refresh(); errors.Is(e, errWrong) {
				return "", e
			}
			r.slots[slot] = words[2]
		case "ASK":
			asking = words[2]
		case "TRYAGAIN", "CLUSTERDOWN":
			time.Sleep(rulesPause)
		default:
			return "", err
		}
	}
	return "", fmt.Errorf("too many redirections: %w", err)
}
