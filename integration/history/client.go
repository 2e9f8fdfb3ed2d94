package history

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

// System is what clients talk to.
type System interface {
	// Nodes is how many nodes there are.
	Nodes() int
	// Dial connects to a node. If it fails, nothing has been sent.
	Dial(node int) (Conn, error)
	// Find returns the node that clients reach at the address, or -1.
	Find(addr string) int
}

// Conn is a connection to a node. It sends what it is told once, never again, and returns the replies that arrived; an
// error means that the commands without a reply may or may not have been, or be, carried out.
type Conn interface {
	Do(timeout time.Duration, commands ...[]string) ([]nodes.Reply, error)
	Close() error
}

// refusals are the first words of errors that say for certain: not done, and it will not be.
var refusals = []string{"MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "READONLY", "LOADING", "OOM", "MISCONF", "MASTERDOWN", "BUSY",
	"EXECABORT", "NOREPLICAS"}

// stopping is what a server answers that is about to end; it has not done the command.
const stopping = "ERR the server is shutting down"

// meaning tells what an error reply says of its command. With odd set, it is none that a right system gives.
func meaning(text string) (outcome Outcome, odd bool) {
	word, _, _ := strings.Cut(text, " ")
	switch {
	case word == "INDETERMINATE":
		return Unknown, false
	case slices.Contains(refusals, word), text == stopping:
		return Failed, false
	}
	return Unknown, true
}

// client is one client, on one goroutine.
type client struct {
	id      int
	system  System
	history *History
	timeout time.Duration

	node    int // whom it talks to
	conn    Conn
	moved   map[string]int // by key: who has said to have it
	session int            // connections so far, which makes tokens unique
	tokens  int
}

// result is what came of an attempt.
type result struct {
	out     []string
	outcome Outcome
	err     string
}

func failed(err string) result  { return result{outcome: Failed, err: err} }
func unknown(err string) result { return result{outcome: Unknown, err: err} }
func done(out ...string) result { return result{outcome: OK, out: out} }

// run carries out the operation and writes it down.
func (c *client) run(o *Op) {
	if node, ok := c.moved[o.Key]; ok && node != c.node {
		c.leave()
		c.node = node
	}
	o.Client, o.Node, o.Call = c.id, c.node, c.history.Now()
	r := c.attempt(o)
	o.Return, o.Outcome, o.Error = c.history.Now(), r.outcome, r.err
	if r.outcome == OK {
		o.Out = r.out
	}
	c.history.Add(o)
}

func (c *client) attempt(o *Op) result {
	if c.conn == nil {
		conn, err := c.system.Dial(c.node)
		if err != nil {
			return failed("no connection: " + err.Error())
		}
		c.conn = conn
		c.session++
	}
	r := operations[o.Name](c, o)
	if r.outcome == Unknown || r.outcome == Failed && strings.HasPrefix(r.err, "connection") {
		c.leave() // a reply that comes late must not be taken for another's
	}
	return r
}

// leave ends the connection. The next operation makes a new one.
func (c *client) leave() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// close gives up the connection, with all that it has.
func (c *client) close() { c.leave() }

// refused turns an error reply into a result and follows MOVED.
func (c *client) refused(o *Op, text string) result {
	outcome, odd := meaning(text)
	if odd {
		c.history.Odd("%s %s %v on %s was answered %q", o.Name, o.Key, o.In, nodeName(o.Node), text)
	}
	if words := strings.Fields(text); len(words) == 3 && words[0] == "MOVED" {
		if node := c.system.Find(words[2]); node >= 0 {
			c.moved[o.Key] = node
		} else {
			c.history.Odd("%s sends clients to %s, which is not there", nodeName(o.Node), words[2])
		}
	} else {
		delete(c.moved, o.Key)
	}
	return result{outcome: outcome, err: text}
}

func nodeName(node int) string { return "n" + strconv.Itoa(node+1) }

// single sends one command, now and then between two others whose replies are known, so that crossed replies show.
func (c *client) single(o *Op, args ...string) result {
	commands, at := [][]string{args}, 0
	c.tokens++
	token := fmt.Sprintf("c%d.%d.%d", c.id, c.session, c.tokens)
	if c.tokens%4 == 0 {
		commands, at = [][]string{{"ECHO", token + "a"}, args, {"ECHO", token + "b"}}, 1
	}
	replies, err := c.conn.Do(c.timeout, commands...)
	for i, suffix := range []string{"a", "", "b"} {
		if at == 1 && i != 1 && i < len(replies) && replies[i].Text != token+suffix && !replies[i].IsError() {
			c.history.Odd("%s answered ECHO %s with %q", nodeName(o.Node), token+suffix, replies[i].Text)
		}
	}
	if len(replies) <= at {
		return unknown(fmt.Sprint("connection: ", err))
	}
	if replies[at].IsError() {
		return c.refused(o, replies[at].Text)
	}
	if err != nil {
		c.leave()
	}
	return done(words(replies[at])...)
}

// words shows a reply as strings: one for each element of an array.
func words(r nodes.Reply) []string {
	if r.Kind == '*' && !r.Nil {
		out := make([]string, 0, len(r.Elements))
		for _, e := range r.Elements {
			out = append(out, words(e)...)
		}
		return out
	}
	if r.Nil {
		return []string{Missing}
	}
	return []string{r.Text}
}

// before sends what a transaction begins with: nothing of it changes anything, so whatever goes wrong, it has failed.
func (c *client) before(o *Op, args ...string) (nodes.Reply, *result) {
	replies, err := c.conn.Do(c.timeout, args)
	if err != nil {
		r := failed(fmt.Sprint("connection: ", err))
		return nodes.Reply{}, &r
	}
	if replies[0].IsError() {
		r := c.refused(o, replies[0].Text)
		c.leave() // and with it MULTI and WATCH, if they are in force
		r.outcome = Failed
		return nodes.Reply{}, &r
	}
	return replies[0], nil
}

// watchFailed is why an EXEC did nothing whose watched keys had changed.
const watchFailed = "a watched key has changed"

// transaction sends MULTI, the commands and EXEC. Its result has the words of all replies.
func (c *client) transaction(o *Op, commands ...[]string) result {
	if _, r := c.before(o, "MULTI"); r != nil {
		return *r
	}
	for _, args := range commands {
		reply, r := c.before(o, args...)
		if r != nil {
			return *r
		}
		if reply.Text != "QUEUED" {
			c.history.Odd("%s carried out %v within a MULTI: %v", nodeName(o.Node), args, words(reply))
			return unknown("a command within a MULTI was carried out")
		}
	}
	replies, err := c.conn.Do(c.timeout, []string{"EXEC"})
	switch {
	case err != nil:
		return unknown(fmt.Sprint("connection: ", err))
	case replies[0].IsError():
		r := c.refused(o, replies[0].Text)
		c.leave()
		return r
	case replies[0].Nil:
		return failed(watchFailed)
	case len(replies[0].Elements) != len(commands):
		c.history.Odd("EXEC of %d commands has %d replies", len(commands), len(replies[0].Elements))
		return unknown("EXEC with a wrong number of replies")
	}
	for _, e := range replies[0].Elements {
		if e.IsError() {
			c.history.Odd("a command of EXEC was answered %q", e.Text)
			return unknown("a command of EXEC failed")
		}
	}
	return done(words(replies[0])...)
}
