package store

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// stage copies everything that s holds into a replacement of another store.
func stage(t *testing.T, to, s *Store) *Replacement {
	t.Helper()
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	r, err := to.NewReplacement()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Records(r.Add); err != nil {
		t.Fatal(err)
	}
	m, _ := v.Meta()
	if err := r.Finish(m); err != nil {
		t.Fatal(err)
	}
	return r
}

// twoStores has a source at index 9 and a target at index 3 whose contents overlap, are beside each other, and differ.
func twoStores(t *testing.T) (source, target *Store, fs vfs.FS) {
	source = open(t, vfs.NewMem())
	checkpoint(t, source, 9, func(c *Checkpoint) {
		setMany(t, c, 1, 4, 100, "source")
		setMany(t, c, 3, 1, 100, "source")
		set(t, c, Position{Namespace: 3, Slot: 2, Hash: 5}, "timed", "source", 77)
		set(t, c, Position{Namespace: 3 | Nodes, Slot: 2, Hash: 1 << 60}, "", "node", 0)
	})
	fs = vfs.NewMem()
	target = open(t, fs)
	for i := uint64(1); i <= 3; i++ {
		checkpoint(t, target, i, func(c *Checkpoint) {
			setMany(t, c, 0, uint16(i), 100, "target")
			setMany(t, c, 1, 4, 150, "target")
			set(t, c, Position{Namespace: 1<<31 - 1, Slot: 16383, Hash: maxHash}, "last", "target", 50)
		})
	}
	return source, target, fs
}

func TestReplacementTakesThePlaceOfEverything(t *testing.T) {
	source, target, fs := twoStores(t)
	defer closeStore(t, source)
	before := state(t, target)
	r := stage(t, target, source)
	// Checkpoints go on beside it, and nothing of it shows.
	if !slices.Equal(state(t, target), before) {
		t.Fatal("a replacement shows before its Commit")
	}
	checkpoint(t, target, 4, func(c *Checkpoint) { setMany(t, c, 5, 5, 30, "late") })
	if err := r.Shut(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	want := state(t, source)
	for range 2 {
		if got := state(t, target); !slices.Equal(got, want) {
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
		if m := target.Metrics(); m.Sublevels > 1 {
			t.Fatalf("%+v", m)
		}
		closeStore(t, target)
		target = open(t, fs)
	}
	checkpoint(t, target, 10, func(c *Checkpoint) { c.DropNamespace(3); setMany(t, c, 0, 1, 3, "new") })
	if got := contents(t, target); len(got) != 104 { // the node's name space is another
		t.Fatalf("%d records", len(got))
	}
	closeStore(t, target)
}

func TestReplacementGivenUpLeavesTheStore(t *testing.T) {
	source, target, fs := twoStores(t)
	defer closeStore(t, source)
	before := state(t, target)
	r := stage(t, target, source)
	if err := r.Shut(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := r.Abort(); err != nil {
		t.Fatal(err)
	}
	if left, _ := fs.List("shard/" + stagingFolder); len(left) > 0 || !slices.Equal(state(t, target), before) {
		t.Fatal(left)
	}
	if err := r.Commit(); err == nil {
		t.Fatal("committed after Abort")
	}
	// An older store is refused, and so is one whose records do not fit.
	r = stage(t, source, target)
	if err := r.Shut(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err == nil {
		t.Fatal("an older store took the place of a newer one")
	}
	r, err := target.NewReplacement()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "\x10", "\x10\x00\x00\x00\x01\x00\x02\x01hash..", "\x20short", "\x30", "\x40", "\x10\x80\x00\x00\x01\x00\x02seven.."} {
		if err := r.Add([]byte(key), nil); err == nil {
			t.Fatalf("%q was taken", key)
		}
	}
	if err := r.Abort(); err != nil {
		t.Fatal(err)
	}
	closeStore(t, target)
}

func TestReplacementWaitsForViews(t *testing.T) {
	source, target, _ := twoStores(t)
	defer closeStore(t, source)
	defer closeStore(t, target)
	v, err := target.View()
	if err != nil {
		t.Fatal(err)
	}
	seen := list(t, v, All())
	r := stage(t, target, source)
	if _, err := target.NewReplacement(); err == nil {
		t.Fatal("two replacements at once")
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Shut(gone); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w, err := target.View() // views are let in again
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- r.Shut(context.Background()) }()
	for refused := false; !refused; {
		x, err := target.View()
		if refused = errors.Is(err, ErrReplacing); !refused {
			if err := errors.Join(err, x.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(list(t, v, All()), seen) {
		t.Fatal("the view has changed")
	}
	if err := errors.Join(v.Close(), w.Close(), <-done, r.Commit()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(state(t, target), state(t, source)) {
		t.Fatal("not replaced")
	}
}
