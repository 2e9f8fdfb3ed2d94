package raftfsm

import (
	"slices"
	"testing"
)

// TestGate: batches go in rounds; one that waits can be taken back, one that has gone can not.
func TestGate(t *testing.T) {
	var gone []uint64
	g := gate{hand: func(s sealed) { gone = append(gone, s.number) }}
	want := func(numbers ...uint64) {
		t.Helper()
		if !slices.Equal(gone, numbers) {
			t.Fatalf("gone: %v, want %v", gone, numbers)
		}
	}
	for n := range uint64(4) {
		g.pass(sealed{number: n})
	}
	want(0)
	if g.recall(0) {
		t.Fatal("took back what has gone")
	}
	if !g.recall(2) || g.recall(2) {
		t.Fatal("a batch that waits is taken back once")
	}
	g.arrived(1)
	want(0, 1, 3)
	g.pass(sealed{number: 2})
	g.arrived(1)
	want(0, 1, 3)
	g.arrived(1)
	want(0, 1, 3, 2)
	g.pass(sealed{number: 5})
	g.openIfStuck()
	want(0, 1, 3, 2)
	g.openIfStuck()
	want(0, 1, 3, 2, 5)
}
