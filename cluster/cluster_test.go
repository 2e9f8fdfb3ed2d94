package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/larder-db/larder/raftfsm"
)

func (n *testNode) do(o Op) (*View, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return n.meta.Load().Do(ctx, o)
}

// TestClusterGrowsMovesAndHeals goes from one node to four, through a move, a drain and the loss of a node, with all
// parts in one process.
func TestClusterGrowsMovesAndHeals(t *testing.T) {
	w := newWorld(t)
	a := w.start(aNode(1, ""))
	a.found(3, 3)
	w.eventually("the shards are founded", func() bool { return w.settled(a) })

	b := w.start(aNode(2, ""))
	b.join(a)
	w.eventually("the second node learns", func() bool { return len(a.document().Shards[0].Replicas) == 2 && w.settled(a, b) })
	c := w.start(aNode(3, ""))
	c.join(b) // by way of one who does not lead
	w.eventually("three voters", func() bool { return len(a.document().Voters) == 3 && w.settled(a, b, c) })
	for _, s := range a.document().Shards {
		if len(s.Replicas) != 3 {
			t.Fatalf("%+v", s)
		}
	}
	w.eventually("the leaders are spread", func() bool {
		for _, s := range c.document().Shards {
			if s.Leader != s.Replicas[0] {
				return false
			}
		}
		return len(leads(*c.document())) == 3
	})

	d := w.start(aNode(4, ""))
	d.join(a)
	nodes := []*testNode{a, b, c, d}
	w.eventually("the fourth node takes its share", func() bool { return len(a.document().Nodes) == 4 && w.settled(nodes...) })

	shard := b.document().Shards[1]
	to := id(1 + slices.IndexFunc(nodes, func(n *testNode) bool { return !slices.Contains(shard.Replicas, n.self.ID) }))
	if _, err := b.do(MoveReplica{Shard: shard.ID, From: shard.Replicas[0], To: to}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the replica of the leader moves", func() bool {
		return slices.Contains(a.document().Shard(shard.ID).Replicas, to) && w.settled(nodes...)
	})
	if _, err := b.do(MoveReplica{Shard: shard.ID, From: shard.Replicas[0], To: to}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "no replica") {
		t.Errorf("the same move again: %v", err)
	}

	if _, err := c.do(Drain{d.self.ID}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the drained node is empty", func() bool { return b.document().removable(d.self.ID) == nil && w.settled(nodes...) })
	if _, err := c.do(Undrain{d.self.ID}); err != nil {
		t.Fatal(err)
	}
	w.eventually("it comes to rest", func() bool { return w.settled(nodes...) })

	var lost, left []*testNode
	for _, n := range nodes {
		if n.meta.Load().Leads() && len(lost) == 0 {
			lost = append(lost, n)
		} else {
			left = append(left, n)
		}
	}
	lost[0].isolate()
	w.eventually("the lost node is replaced", func() bool {
		doc := left[0].document()
		if n := doc.Node(lost[0].self.ID); n.State != NodeGone {
			return false
		}
		return !slices.ContainsFunc(doc.Shards, func(s Shard) bool { return slices.Contains(s.Replicas, lost[0].self.ID) }) && w.settled(left...)
	})
}

// TestUpdatesAreSerial: changes by many at once are all made, each upon the one before.
func TestUpdatesAreSerial(t *testing.T) {
	w := newWorld(t)
	a := w.start(aNode(1, ""))
	a.found(1, 3)
	b := w.start(aNode(2, ""))
	b.join(a)
	w.eventually("the second node knows the document", func() bool { return len(b.document().Nodes) == 2 && w.settled(a, b) })
	const each = 5
	var all sync.WaitGroup
	for _, n := range []*testNode{a, b, a, b} {
		all.Go(func() {
			for range each {
				if _, err := n.do(AddShards{1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := len(a.document().Shards); got != 1+4*each {
		t.Errorf("%d shards", got)
	}
}

func TestJoinIsRefused(t *testing.T) {
	w := newWorld(t)
	a := w.start(aNode(1, ""))
	a.found(1, 3)
	b := w.start(aNode(2, ""))
	b.join(a)
	w.eventually("the second node knows the document", func() bool { return len(b.document().Nodes) == 2 })
	ctx := context.Background()
	for want, self := range map[string]func(*Node){
		"has the address": func(n *Node) { n.Client = a.self.Client },
		"do not match":    func(n *Node) { n.FeatureLevel = 9 },
		"not host:port":   func(n *Node) { n.Peer = "x" },
	} {
		n := aNode(3, "")
		self(&n)
		if _, err := b.client.Join(ctx, b.self.Peer, "", n); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("wanted %q, got %v", want, err)
		}
	}
	if _, err := b.client.Join(ctx, a.self.Peer, strings.Repeat("a", 40), aNode(3, "")); !errors.Is(err, ErrRefused) {
		t.Errorf("of another cluster: %v", err)
	}
	stranger := w.start(aNode(3, ""))
	if _, err := b.client.Join(ctx, stranger.self.Peer, "", aNode(4, "")); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("by one who is no member: %v", err)
	}
	if _, err := b.client.Join(ctx, "10.0.0.99:1", "", aNode(4, "")); !errors.Is(err, errCut) || errors.Is(err, raftfsm.ErrIndeterminate) {
		t.Errorf("by nobody: %v", err)
	}
	// A wiped disk: a new node at the address of an old one.
	wiped := aNode(9, "")
	wiped.Peer, wiped.Client = b.self.Peer, b.self.Client
	if _, err := stranger.client.Join(ctx, a.self.Peer, "", wiped); !errors.Is(err, ErrRefused) {
		t.Errorf("at the address of one who answers: %v", err)
	}
	fresh := w.start(wiped)
	if _, err := fresh.client.Join(ctx, a.self.Peer, "", wiped); err != nil {
		t.Error(err)
	}
}

func TestTransferOverTheControlAPI(t *testing.T) {
	w := newWorld(t)
	nodes := []*testNode{w.start(aNode(1, "")), w.start(aNode(2, "")), w.start(aNode(3, ""))}
	nodes[0].found(1, 3)
	nodes[1].join(nodes[0])
	nodes[2].join(nodes[0])
	w.eventually("three voters", func() bool {
		d := nodes[0].document()
		return len(d.Voters) == 3 && len(d.Shards[0].Replicas) == 3 && w.settled(nodes...)
	})
	ctx := context.Background()
	w.eventually("the meta group is handed on", func() bool {
		for _, n := range nodes[:2] {
			_ = nodes[2].client.Transfer(ctx, n.self.Peer, MetaGroup, nodes[2].self.ID)
		}
		return nodes[2].meta.Load().Leads()
	})
	w.eventually("it is handed on to whoever is furthest", func() bool {
		_ = nodes[0].client.Transfer(ctx, nodes[2].self.Peer, MetaGroup, "")
		return !nodes[2].meta.Load().Leads()
	})
	w.eventually("it is handed back", func() bool {
		for _, n := range nodes[:2] {
			_ = nodes[2].client.Transfer(ctx, n.self.Peer, MetaGroup, nodes[2].self.ID)
		}
		return nodes[2].meta.Load().Leads()
	})
	if err := nodes[0].client.Transfer(ctx, nodes[2].self.Peer, MetaGroup, id(9)); !errors.Is(err, ErrRefused) {
		t.Errorf("to nobody: %v", err)
	}
	if err := nodes[0].client.Transfer(ctx, nodes[2].self.Peer, 77, id(1)); !errors.Is(err, raftfsm.ErrNotLeader) {
		t.Errorf("of a group that is not there: %v", err)
	}
	s, err := nodes[0].client.Status(ctx, nodes[2].self.Peer)
	if err != nil || s.Node != nodes[2].self.ID || len(s.Replicas) != 2 {
		t.Errorf("%v %+v", err, s)
	}
}
