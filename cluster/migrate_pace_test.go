package cluster

import (
	"testing"
	"time"
)

// A migration takes half of the time that it could have, less while others need it, and goes by what is usual of late.
func TestMigrationRests(t *testing.T) {
	const ms = time.Millisecond
	var p pacer
	expect := func(took time.Duration, busy bool, want time.Duration) {
		t.Helper()
		if got := p.rest(took, busy); got != want {
			t.Errorf("after %v, busy: %v, it rests %v, want %v", took, busy, got, want)
		}
	}
	expect(4*ms, false, 4*ms)
	expect(5*ms, false, 5*ms)
	expect(10*ms, false, 40*ms)
	expect(70*ms, false, mostRest)
	expect(4*ms, true, mostRest)
	expect(4*ms, false, 4*ms)
	for range 2 * usualRise { // the machine has become slower for good
		p.rest(10*ms, false)
	}
	expect(10*ms, false, 10*ms)
	expect(3*ms, false, 3*ms)
	expect(8*ms, false, 32*ms)
}
