package history

import (
	"errors"
	"fmt"
	"testing"
	"time"

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
