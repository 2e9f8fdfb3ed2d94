package raftfsm

import (
	"fmt"
	"testing"
)

// TestReplayLongerThanReadAhead: Raft looks through the whole tail of the log before anything is applied; the bound on
// what is read ahead must not make it wait for the FSM then.
func TestReplayLongerThanReadAhead(t *testing.T) {
	n := newNode(t, "a")
	n.opts.ReadAhead = 1
	n.open().ready()
	for i := range 200 {
		if err := n.propose(fmt.Sprint("SET ", i)).wait(t); err != nil {
			t.Fatal(err)
		}
	}
	n.close()
	n.fresh()
	n.open().ready()
	defer n.close()
	if got := len(n.engine.commands()); got != 200 {
		t.Fatalf("%d commands after the replay, want 200", got)
	}
}
