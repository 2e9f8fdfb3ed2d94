package integration

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

// TestPausedLeader stops a leader in the middle of writes (SIGSTOP), as a machine that is frozen or swaps would. Another
// leads meanwhile. When it goes on it does not know for a moment, and has requests in its sockets: none of them is answered
// with what is not so any more, and what was acknowledged, before and after, is there.
func TestPausedLeader(t *testing.T) {
	c := nodes.Start(t, nodes.Options{Program: larderProgram, Count: 3})
	for round := range 3 {
		old := leadingNode(t, c, nil)
		key := "round" + strconv.Itoa(round)
		command(t, old, "SET", key, "before")

		written, writes := make(chan outcomes, 1), make(chan struct{})
		go func() { written <- writeUntilRefused(old, key+"list", writes) }()
		<-writes // some are through, the next one may be under way
		reader, err := old.Dial(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		old.Pause()
		next := leadingNode(t, c, old)
		eventually(t, "the next leader writes", func() bool { _, err := next.TryCommand("SET", key, "after"); return err == nil })

		read := make(chan string, 1)
		go func() { // it waits in the paused process's socket
			replies, err := reader.Do(time.Minute, []string{"GET", key})
			if err != nil {
				read <- "-" + err.Error()
				return
			}
			read <- replies[0].Text
		}()
		old.Resume()
		if got := <-read; got == "before" {
			t.Errorf("round %d: a read that came after a write was acknowledged does not see it", round)
		}
		_ = reader.Close()
		w := <-written
		for _, n := range w.taken {
			if reply := command(t, leadingNode(t, c, nil), "SISMEMBER", key+"list", strconv.Itoa(n)); reply.Text != "1" {
				t.Errorf("round %d: %d was acknowledged and is gone", round, n)
			}
		}
		if w.refused >= 0 && command(t, leadingNode(t, c, nil), "SISMEMBER", key+"list", strconv.Itoa(w.refused)).Text != "0" {
			t.Errorf("round %d: %d was refused and is there", round, w.refused)
		}
		eventually(t, "the old leader knows", func() bool { reply, err := old.TryCommand("GET", key); return err == nil && reply.Text == "after" })
	}
	if _, err := c.AwaitSameData(); err != nil {
		t.Fatal(c.Describe(err))
	}
	if err := c.Fault(); err != nil {
		t.Fatal(err)
	}
}

// outcomes are what a writer was told.
type outcomes struct {
	taken   []int
	refused int // answered with an error that says that nothing was done; -1: none was
}

// writeUntilRefused adds numbers to a set over one connection until one is not taken. some is closed after a few.
func writeUntilRefused(n *nodes.Node, key string, some chan<- struct{}) outcomes {
	o := outcomes{refused: -1}
	told := sync.OnceFunc(func() { close(some) })
	defer told()
	conn, err := n.Dial(time.Minute)
	if err != nil {
		return o
	}
	defer conn.Close()
	end := time.Now().Add(20 * time.Second)
	for i := 0; time.Now().Before(end); i++ {
		if i == 100 {
			told()
		}
		replies, err := conn.Do(time.Minute, []string{"SADD", key, strconv.Itoa(i)})
		if err != nil {
			return o
		}
		if replies[0].IsError() {
			if !strings.HasPrefix(replies[0].Text, "INDETERMINATE") {
				o.refused = i
			}
			return o
		}
		o.taken = append(o.taken, i)
	}
	return o
}

func command(t *testing.T, n *nodes.Node, args ...string) (reply nodes.Reply) {
	t.Helper()
	eventually(t, "an answer", func() bool {
		var err error
		reply, err = n.TryCommand(args...)
		return err == nil
	})
	return reply
}

// leadingNode is who leads, and is not the one given.
func leadingNode(t *testing.T, c *nodes.Cluster, not *nodes.Node) (leader *nodes.Node) {
	t.Helper()
	eventually(t, "a leader", func() bool {
		for _, n := range c.Nodes {
			if n != not && n.Leads() {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}
