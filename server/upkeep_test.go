package server

import (
	"testing"
	"time"
)

// While slots move, the more of the background sleeps at the same time, the longer: together it uses no more than one alone.
func TestTheBackgroundSharesItsRest(t *testing.T) {
	if got := restOf(3, false); got != restSpell {
		t.Errorf("%v while nothing moves", got)
	}
	for n := int32(1); n < 5; n++ {
		if got := restOf(n, true); got != time.Duration(n)*longSpell {
			t.Errorf("%v for one of %d", got, n)
		}
	}
}
