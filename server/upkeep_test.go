package server

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/cluster"
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

func TestOneWhoIsToVoteCatchesUp(t *testing.T) {
	servers := []raft.Server{{ID: "a"}, {ID: "b", Suffrage: raft.Nonvoter}}
	for _, c := range []struct {
		wanted []cluster.NodeID
		want   bool
	}{
		{[]cluster.NodeID{"a"}, false},            // b is to learn only
		{[]cluster.NodeID{"a", "b"}, true},        // it is on its way
		{[]cluster.NodeID{"a", "missing"}, false}, // it may never come
	} {
		if got := catchesUp(c.wanted, servers); got != c.want {
			t.Errorf("%v: %v", c.wanted, got)
		}
	}
}
