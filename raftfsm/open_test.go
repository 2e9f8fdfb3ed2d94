package raftfsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
)

// entries fills a log with entries first … last of one term.
func entries(t *testing.T, log *memoryLog, first, last, term uint64) {
	t.Helper()
	for i := first; i <= last; i++ {
		b := &engine.Batch{}
		b.AddWrite(row, 0, [][]byte{fmt.Appendf(nil, "%d", i)})
		if err := log.StoreLog(&raft.Log{Index: i, Term: term, Data: b.Seal(engine.Header{})}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenReconcilesLogAndStore(t *testing.T) {
	encoded := raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}}})
	for _, c := range []struct {
		name               string
		first, last, inLog uint64 // the log and its term; last 0: empty
		index, term        uint64 // the checkpoint; index 0: none
		stable             uint64
		configuration      []byte
		reset              bool
		applied            int // after the replay
		refused            string
	}{
		{name: "log goes on behind the checkpoint", first: 10, last: 14, inLog: 3, index: 10, term: 3, stable: 3, applied: 4},
		{name: "log begins right behind it", first: 11, last: 14, inLog: 3, index: 10, term: 3, stable: 3, applied: 4},
		{name: "log ends at it", first: 10, last: 10, inLog: 3, index: 10, term: 3, stable: 4},
		{name: "log ends before it", first: 2, last: 9, inLog: 3, index: 10, term: 4, stable: 4, reset: true},
		{name: "log is empty", index: 10, term: 3, stable: 3, reset: true},
		{name: "log disagrees about the term", first: 5, last: 20, inLog: 2, index: 10, term: 3, stable: 3, reset: true},
		{name: "a hole between", first: 12, last: 14, inLog: 3, index: 10, term: 3, stable: 3, refused: "are missing"},
		{name: "store is gone", first: 5, last: 9, inLog: 3, stable: 3, refused: "no checkpoint"},
		{name: "stable store is gone", first: 10, last: 14, inLog: 3, index: 10, term: 3, refused: "in term 0"},
		{name: "stable store is old", index: 10, term: 3, stable: 2, refused: "in term 2"},
		{name: "log and store are gone", stable: 2, refused: "log and store are empty"},
		{name: "no configuration", first: 10, last: 14, inLog: 3, index: 10, term: 3, stable: 3,
			configuration: []byte{0xc1, 7}, refused: "not a Raft configuration"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, "a")
			if c.last > 0 {
				entries(t, n.log, c.first, c.last, c.inLog)
			}
			if c.index > 0 {
				*n.disk = twinDisk{ok: true, index: c.index, term: c.term, configuration: encoded, configIndex: 1}
				if c.configuration != nil {
					n.disk.configuration = c.configuration
				}
			}
			if err := n.stable.Group(7).SetUint64(keyCurrentTerm, c.stable); err != nil {
				t.Fatal(err)
			}
			n.fresh()
			err := n.tryOpen()
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatal(err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			n.ready()
			defer n.close()
			reset := slices.Contains(n.engine.events.take(), fmt.Sprintf("reset at %d term %d", c.index, c.term))
			if reset != c.reset || len(n.engine.commands()) != c.applied {
				t.Fatalf("reset: %v, %d entries applied", reset, len(n.engine.commands()))
			}
			if err := n.propose("x").wait(t); err != nil {
				t.Fatal(err)
			}
			if got := n.engine.AppliedIndex(); got <= c.index {
				t.Fatalf("the next entry is %d", got)
			}
		})
	}
}

// failing is a stable store whose k-th write, counted from 0, and all later ones fail.
type failing struct {
	raft.StableStore
	left *int
}

var errCrash = errors.New("crash")

func (f failing) SetUint64(key []byte, v uint64) error {
	if *f.left--; *f.left < 0 {
		return errCrash
	}
	return f.StableStore.SetUint64(key, v)
}

func TestBootstrapGoesOnAfterACrash(t *testing.T) {
	for k := 0; ; k++ {
		n := newNode(t, "a")
		left := k
		n.opts.Stable = failing{n.opts.Stable, &left}
		n.log.onStore = func([]*raft.Log) error {
			if left--; left < 0 {
				return errCrash
			}
			return nil
		}
		n.opts.Sync = func() error {
			if left--; left < 0 {
				return errCrash
			}
			// From here on the group is bootstrapped; later steps are Raft's own.
			left = 1 << 30
			return nil
		}
		err := n.tryOpen()
		if err == nil {
			if k < 4 {
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
		if err := n.propose("x").wait(t); err != nil {
			t.Fatal(err)
		}
		n.close()
	}
}

func TestBootstrapIsIgnoredLater(t *testing.T) {
	n := newNode(t, "a").open().ready()
	n.close()
	n.fresh()
	n.opts.Bootstrap = []raft.Server{{ID: "b", Address: "b"}}
	n.open().ready()
	defer n.close()
	if s := n.group.Stats().Servers; len(s) != 1 || s[0].ID != "a" {
		t.Fatal(s)
	}
}
