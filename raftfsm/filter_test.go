package raftfsm

import (
	"testing"

	"github.com/larder-db/larder/engine"
)

func TestFilterCounts(t *testing.T) {
	var f filter
	is := func(want bool, cells ...uint16) {
		t.Helper()
		if got := f.touches(cells); got != want {
			t.Fatalf("touches(%v) = %v", cells, got)
		}
	}
	is(false, 1)
	a, b := engine.Footprint{Cells: []uint16{1, 2, 2}}, engine.Footprint{Cells: []uint16{2, 65535}}
	f.add(a)
	f.add(b)
	is(true, 1)
	is(true, 7, 2)
	is(true, 65535)
	is(false, 3, 4)
	f.remove(a)
	is(false, 1)
	is(true, 2)
	f.add(engine.Footprint{All: true})
	is(true, 3)
	is(true)
	f.remove(b)
	f.remove(engine.Footprint{All: true})
	is(false, 1, 2, 65535)
	is(false)
}

// A batch that went while nobody watched may touch everything, for as long as it is in flight.
func TestFilterIsBlindWhileOff(t *testing.T) {
	var f filter
	var b engine.Batch
	before := f.of(&b)
	f.add(before)
	f.on.Store(true)
	after := f.of(&b)
	f.add(after)
	if !f.touches([]uint16{1}) {
		t.Fatal("what went before is not seen")
	}
	f.remove(before)
	if f.touches([]uint16{1}) {
		t.Fatal("an empty batch touches something")
	}
}

func TestAdmission(t *testing.T) {
	var f filter
	f.add(engine.Footprint{Cells: []uint16{1}})
	a := Admission{filter: &f}
	if a.Free([]uint16{2, 1}) || !a.Free([]uint16{2}) {
		t.Fatal("the filter is not asked")
	}
	a.Admit(engine.Footprint{Cells: []uint16{2, 3}})
	if a.Free([]uint16{3}) || !a.Free([]uint16{4}) {
		t.Fatal("what was admitted before is not asked")
	}
	a.Admit(engine.Footprint{All: true})
	if a.Free([]uint16{4}) || a.Free(nil) || a.own.Cells != nil || !a.own.All {
		t.Fatal("something that touches everything was admitted before")
	}
}
