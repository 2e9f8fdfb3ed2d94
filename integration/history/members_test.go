package history

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/integration/nodes"
)

// partition is a cluster whose leader is cut off from the others while something is done to its members. Its faults are steps
// of one plan, and remember what those before them did.
type partition struct {
	cut  *nodes.Node   // who led, and has been cut off
	rest []*nodes.Node // the others
}

// find finds out who leads, and who does not.
func (p *partition) find(c *nodes.Cluster) error {
	for deadline := time.Now().Add(healPatience); p.cut == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("no node leads")
		}
		for _, n := range c.Nodes {
			if n.Leads() {
				p.cut = n
				break
			}
		}
	}
	for _, n := range c.Nodes {
		if n != p.cut {
			p.rest = append(p.rest, n)
		}
	}
	return nil
}

// cutLeader isolates who leads. Clients still reach it.
func (p *partition) cutLeader(c *nodes.Cluster, s Step) (string, func() error, error) {
	if err := p.find(c); err != nil {
		return "isolate the leader", nothing, err
	}
	s.Nodes = []int{p.cut.Index}
	for _, n := range p.rest {
		s.Nodes = append(s.Nodes, n.Index)
	}
	what, undo, err := isolate(c, s)
	return what + " (leader)", undo, err
}

// awaitSuccessor waits until one of the others leads.
func (p *partition) awaitSuccessor() (*nodes.Node, error) {
	for deadline := time.Now().Add(healPatience); ; time.Sleep(10 * time.Millisecond) {
		for _, n := range p.rest {
			if n.Leads() {
				return n, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("nobody leads without %s", p.cut.Name())
		}
	}
}

// TestPartitionWhileMembersChange: while a leader is cut off, and the other two go on without it, one of them loses its disk
// and comes back as a new node, by way of the other. The one that is left may not form a majority with it: nothing is
// answered before the old leader is back. And what the two had acknowledged is there still.
func TestPartitionWhileMembersChange(t *testing.T) {
	c := whole(t)
	if c.Net == nil {
		t.Skip(c.Why)
	}
	var p partition
	var h *History
	var wiped, healed time.Duration
	replace := func(c *nodes.Cluster, s Step) (string, func() error, error) {
		led, err := p.awaitSuccessor()
		if err != nil {
			return "replace", nothing, err
		}
		lost, left := p.rest[0], p.rest[1]
		if lost == led {
			lost, left = left, lost // the successor keeps its disk, so that it goes on as soon as it is let
		}
		time.Sleep(time.Second) // of acknowledged writes that the old leader does not have
		if err := lost.Wipe(); err != nil {
			return "replace", nothing, err
		}
		wiped = h.Now()
		lost.JoinBy(left)
		return fmt.Sprintf("wipe %s, which joins by way of %s, while %s is cut off", lost.Name(), left.Name(), p.cut.Name()),
			func() error { healed = h.Now(); return nil }, lost.Start()
	}
	steps := []Step{
		{At: time.Second, Length: 8 * time.Second, Fault: "cut"},
		{At: 1500 * time.Millisecond, Length: 7 * time.Second, Fault: "replace"},
	}
	h = check(t, &Run{Cluster: c, Seed: 1, Length: 10 * time.Second, Clients: 8, Steps: steps,
		Faults: []Fault{{Name: "cut", Do: p.cutLeader}, {Name: "replace", Do: replace}},
		Begin:  func(begun *History) { h = begun }}, keepIn(t.Name()))
	before := 0
	for _, o := range h.Ops() {
		switch {
		case o.Outcome != OK:
		case o.Call > wiped && o.Return < healed:
			t.Errorf("%s answered, with one of three voters: %s", nodeName(o.Node), shortened(o.String()))
		case o.Return < wiped && o.Call > wiped-time.Second && o.Node != p.cut.Index:
			before++
		}
	}
	if before == 0 || healed-wiped < time.Second {
		t.Errorf("%d operations were answered by the two, and for %v there was one", before, healed-wiped)
	}
}

// TestLeaderComesBackToOtherMembers: while a leader is cut off, its place is given to a fourth node, and the shard goes on with
// it. The old leader comes back, to whom nobody has told that it is no member any more.
func TestLeaderComesBackToOtherMembers(t *testing.T) {
	t.Parallel()
	c := nodes.Start(t, nodes.Options{Program: larder, Count: 4, Replicas: 3, Seed: 1})
	if c.Net == nil {
		t.Skip(c.Why)
	}
	var p partition
	drain := func(c *nodes.Cluster, _ Step) (string, func() error, error) {
		what := "drain " + p.cut.Name() + ", which led"
		through, err := p.awaitSuccessor()
		if err == nil {
			_, err = c.Larder(moveTime, "cluster", "drain", p.cut.Addr(), "--addr", through.Addr())
		}
		if err == nil {
			err = p.awaitLetGo(c, through)
		}
		return what, nothing, err
	}
	check(t, &Run{Cluster: c, Seed: 1, Length: 6 * time.Second, Clients: 8, Steps: []Step{
		{At: time.Second, Length: 4 * time.Second, Fault: "cut"},
		{At: 1500 * time.Millisecond, Length: 3 * time.Second, Fault: "drain"},
	}, Faults: []Fault{{Name: "cut", Do: p.cutLeader}, {Name: "drain", Do: drain}}}, keepIn(t.Name()))
}

// awaitLetGo waits until the shard has three voters, and who is cut off is none of them: the change of members is
// committed, and the other side of the cut does not know.
func (p *partition) awaitLetGo(c *nodes.Cluster, through *nodes.Node) error {
	for deadline := time.Now().Add(healPatience); ; time.Sleep(50 * time.Millisecond) {
		r, err := c.Report(moveTime, through)
		if err == nil {
			err = p.letGo(r)
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

func (p *partition) letGo(r cluster.Report) error {
	at := slices.IndexFunc(r.Nodes, func(n cluster.NodeReport) bool { return n.Client == p.cut.Addr() })
	if at < 0 {
		return fmt.Errorf("%s is no member", p.cut.Name())
	}
	for _, g := range r.Groups {
		if g.Group == cluster.MetaGroup {
			continue
		}
		for _, replica := range g.Replicas {
			if replica.Node == r.Nodes[at].ID {
				return fmt.Errorf("%s is still %s of shard %d", p.cut.Name(), replica.Role, g.Group)
			}
		}
		if g.Leader == "" || g.Voters != 3 {
			return fmt.Errorf("shard %d has %d voters, and the leader %q", g.Group, g.Voters, g.Leader)
		}
	}
	return nil
}
