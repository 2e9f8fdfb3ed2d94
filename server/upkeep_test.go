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
		wanted  []cluster.NodeID
		servers []raft.Server
		want    bool
	}{
		{[]cluster.NodeID{"a"}, servers, false},            // b is to learn only
		{[]cluster.NodeID{"a", "b"}, servers, true},        // it is on its way
		{[]cluster.NodeID{"a", "missing"}, servers, false}, // it may never come
		{[]cluster.NodeID{"a", "b"}, nil, true},            // this is b, who has nothing yet
		{nil, nil, false},
	} {
		if got := catchesUp(c.wanted, c.servers); got != c.want {
			t.Errorf("%v of %v: %v", c.wanted, c.servers, got)
		}
	}
}
