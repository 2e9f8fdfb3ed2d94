package keyspace

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
)

// TestHolesAreNoNodes: a piece of a long string that was never written is none for a view either, when somebody has looked
// for it before.
func TestHolesAreNoNodes(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	k := []byte("k")
	h.write(func(tx *Tx) { tx.Lengthen(0, k).Write(4<<20, []byte("end")) })
	h.checkpoint()
	h.chill()
	h.write(func(tx *Tx) { tx.LongString(0, k).AppendTo(nil, 0, 100) }) // leaves a clean tombstone
	_, err := h.Detach([]Key{{0, k}}, false, 0, h.now, 1, func(tx *Tx) {
		x := &home{tx: tx, key: k, kind: value.String}
		if b, enc := x.Root(); b == nil || enc != value.Large {
			t.Fatal("the string is not stored in pieces")
		}
		if x.HasNode(0) {
			t.Error("a view has a node where none was written")
		}
		if s := tx.LongString(0, k); string(s.AppendTo(nil, 4<<20-1, 4<<20+3)) != "\x00end" {
			t.Error("the string's end is wrong")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLengthenOfADueKey: nothing of a string whose time has come is left in the one that takes its place.
func TestLengthenOfADueKey(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	h.set("k", "old", h.now-1)
	h.write(func(tx *Tx) {
		s := tx.Lengthen(0, []byte("k"))
		if n := s.Len(); n != 0 {
			t.Errorf("%d bytes are left", n)
		}
		s.Write(0, []byte("new"))
		if e, ok := tx.Get(0, []byte("k")); !ok || e.Expire != 0 {
			t.Errorf("there: %t, time to live: %d", ok, e.Expire)
		}
	})
}

// TestDamagedNeighbour: a record that cannot be read does not keep the others of its slot from being read.
func TestDamagedNeighbour(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	h.set("{a}1", "one", 0)
	h.set("{a}2", "two", 0)
	h.checkpoint()
	m, _ := h.store.Meta()
	c, err := h.store.NewCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	bad := []byte("{a}2")
	p := store.Position{Namespace: h.mu.dbs[0].Number, Slot: Slot(bad), Hash: h.hash(bad)}
	broken := appendRecord(nil, front.Item{Kind: value.Hash, Value: []byte{9}})
	if err := c.Set(p, bad, broken, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(m); err != nil {
		t.Fatal(err)
	}
	h.chill()
	h.want("{a}1", "one")
	_, err = h.Detach([]Key{{0, bad}}, false, 0, h.now, 1, func(*Tx) {})
	if err == nil {
		t.Fatal("a damaged record was read")
	}
}

// TestTrialsAreBounded: a command that misses ever more, or reads much before its first change, is not tried to its end.
func TestTrialsAreBounded(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	const n = 600_000
	k := []byte("l")
	h.write(func(tx *Tx) {
		l := tx.List(0, k)
		for i := range n {
			l.Insert(i, fmt.Appendf(nil, "%032d", i))
		}
	})
	var tx Tx
	reached := 0
	read := func(tx *Tx) {
		for i := range tx.List(0, k).From(0) {
			reached = i
		}
	}
	if err := h.try(&tx, 0, read); err != nil || reached == n-1 {
		t.Fatalf("a trial has read all of a long list, %v", err)
	}
	h.checkpoint()
	h.chill()
	h.want("l", func() string { v, _ := h.get("l"); return v }()) // the root alone
	misses := func(tx *Tx) {
		for i := range n {
			tx.List(0, k).At(i)
		}
	}
	if err := h.try(&tx, 0, misses); err != nil || len(tx.missing) > mostFills {
		t.Fatalf("a trial notes %d nodes, %v", len(tx.missing), err)
	}
}
