package raftfsm

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

func voters(g *Group) (voters, learners int) {
	servers, _ := g.Configuration()
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters++
		} else {
			learners++
		}
	}
	return voters, learners
}

// TestMembershipChanges: followers lose vote and place, the leader keeps its own until it has handed the leadership on,
// and the last voter keeps it for ever.
func TestMembershipChanges(t *testing.T) {
	_, leader, others := threeVoters(t)
	g, self := leader.group, leader.opts.ID
	b, c := others[0].opts.ID, others[1].opts.ID
	_, index := g.Configuration()
	for what, err := range map[error]error{
		ErrOwnPlace:             g.RemoveServer(self, 0),
		ErrNoMember:             g.RemoveServer("nobody", 0),
		ErrConfigurationChanged: g.RemoveServer(b, index+1),
		ErrNotLeader:            others[0].group.RemoveServer(c, 0),
	} {
		if !errors.Is(err, what) {
			t.Errorf("wanted %v, got %v", what, err)
		}
	}
	if err := g.DemoteVoter(b, index); err != nil {
		t.Fatal(err)
	}
	if v, l := voters(g); v != 2 || l != 1 {
		t.Fatalf("%d voters, %d learners", v, l)
	}
	if err := g.DemoteVoter(c, index); !errors.Is(err, ErrConfigurationChanged) {
		t.Errorf("by an old configuration: %v", err)
	}
	if err := g.RemoveServer(c, 0); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{g.DemoteVoter(self, 0), g.RemoveServer(self, 0)} {
		if !errors.Is(err, ErrLastVoter) {
			t.Errorf("wanted %v, got %v", ErrLastVoter, err)
		}
	}
	if err := g.AddVoter(b, raft.ServerAddress(b), 0); err != nil {
		t.Fatal(err)
	}
	if err := g.AddNonvoter(c, raft.ServerAddress(c), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the leadership is handed on", func() bool {
		return g.TransferLeadership(b, raft.ServerAddress(b)) == nil || others[0].group.CanRead()
	})
	eventually(t, "the other serves", others[0].group.CanRead)
	if err := others[0].group.RemoveServer(self, 0); err != nil {
		t.Fatal(err)
	}
	if v, l := voters(others[0].group); v != 1 || l != 1 {
		t.Fatalf("%d voters, %d learners", v, l)
	}
}
