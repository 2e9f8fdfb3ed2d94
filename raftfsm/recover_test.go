package raftfsm

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// survivor is a replica of three that has heard of nobody since entry 9 of term 5, the last two of which nobody committed as
// far as it knows.
func survivor(t *testing.T) *node {
	n := newNode(t, "a")
	n.opts.Bootstrap = []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"}}
	n.open().close()
	entries(t, n.log, 2, 9, 5)
	if err := n.stable.Group(7).SetUint64(keyCurrentTerm, 5); err != nil {
		t.Fatal(err)
	}
	n.fresh()
	return n
}

func TestSurvivorTakesOver(t *testing.T) {
	n := survivor(t)
	before, err := Inspect(n.engine, n.log, n.stable.Group(7))
	if err != nil || before.LastIndex != 9 || before.LastTerm != 5 || before.Term != 5 || before.Voters() != 3 {
		t.Fatalf("%+v, %v", before, err)
	}
	n.opts.TakeOver = true
	n.open().ready()
	if got := len(n.engine.commands()); got != 8 {
		t.Errorf("%d of 8 entries are applied", got)
	}
	if err := n.propose("x").wait(t); err != nil {
		t.Fatal(err)
	}
	servers, _ := n.group.Configuration()
	if len(servers) != 1 || servers[0].ID != "a" || n.group.Stats().Term <= 5 {
		t.Errorf("%v in term %d", servers, n.group.Stats().Term)
	}
	if err := n.group.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	n.close()

	// Asking again changes nothing, and it goes on without being asked.
	n.fresh()
	n.open().ready().close()
	n.fresh()
	n.opts.TakeOver = false
	n.open().ready()
	defer n.close()
	after, err := Inspect(n.engine, n.log, n.stable.Group(7))
	if err != nil || !after.IsSoleVoter("a") || slices.Contains(n.engine.events.take(), "reset") {
		t.Errorf("%+v, %v", after, err)
	}
}

func TestTakeOverGoesOnAfterACrash(t *testing.T) {
	for k := 0; ; k++ {
		n := survivor(t)
		n.opts.TakeOver = true
		left := k
		step := func() error {
			if left--; left < 0 {
				return errCrash
			}
			return nil
		}
		n.opts.Stable = failing{n.opts.Stable, &left}
		n.log.onStore = func([]*raft.Log) error { return step() }
		n.opts.Sync = func() error {
			err := step()
			if err == nil {
				left = 1 << 30 // later steps are Raft's own
			}
			return err
		}
		err := n.tryOpen()
		if err == nil {
			if k < 3 {
				t.Fatalf("only %d steps", k)
			}
			n.ready().close()
			return
		}
		if !errors.Is(err, errCrash) && !strings.Contains(err.Error(), errCrash.Error()) {
			t.Fatal(err)
		}
		n.log.onStore = nil
		n.fresh()
		n.open().ready()
		if servers, _ := n.group.Configuration(); len(servers) != 1 {
			t.Errorf("after %d steps: %v", k, servers)
		}
		n.close()
	}
}

func TestNothingIsNothingToTakeOver(t *testing.T) {
	n := newNode(t, "a")
	n.opts.Bootstrap, n.opts.TakeOver = nil, true
	if err := n.tryOpen(); !errors.Is(err, ErrNothingHeld) {
		t.Fatal(err)
	}
}
