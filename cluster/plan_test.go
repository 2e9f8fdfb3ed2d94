package cluster

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// nodesOf makes n nodes, spread over some zones; 0: none has one.
func nodesOf(first, n, zones int) []Node {
	var list []Node
	for i := first; i < first+n; i++ {
		zone := ""
		if zones > 0 {
			zone = fmt.Sprintf("z%d", i%zones)
		}
		list = append(list, aNode(i, zone))
	}
	return list
}

// TestRingMovesOnlyToWhoCame: a node that joins takes at most one replica of a shard, and nothing moves between the
// others; together that is about its share.
func TestRingMovesOnlyToWhoCame(t *testing.T) {
	const shards, replicas = 500, 3
	for _, zones := range []int{0, 2, 3, 5} {
		for _, n := range []int{3, 4, 6, 12} {
			before, after := NewRing(nodesOf(1, n, zones)), NewRing(nodesOf(1, n+1, zones))
			moved := 0
			for s := range uint32(shards) {
				a, b := before.Place(s, replicas), after.Place(s, replicas)
				fresh := missingFrom(b, a)
				if len(fresh) > 1 || len(fresh) == 1 && fresh[0] != id(n+1) {
					t.Fatalf("%d nodes, %d zones, shard %d: from %v to %v", n, zones, s, a, b)
				}
				moved += len(fresh)
			}
			share := float64(moved) / (shards * replicas)
			if fair := 1 / float64(n+1); zones == 0 && (share < fair*0.7 || share > fair*1.3) {
				t.Errorf("%d nodes and one more: %.3f of the replicas moved, fair is %.3f", n, share, fair)
			}
		}
	}
}

func TestRingProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, zones := rapid.IntRange(1, 20).Draw(t, "nodes"), rapid.IntRange(0, 4).Draw(t, "zones")
		r, shard := rapid.IntRange(1, 7).Draw(t, "replicas"), rapid.Uint32Range(1, 1000).Draw(t, "shard")
		nodes := nodesOf(1, n, zones)
		place := NewRing(nodes).Place(shard, r)
		if len(place) != min(r, n) {
			t.Fatalf("%d replicas on %d nodes: %v", r, n, place)
		}
		seen, in := map[NodeID]bool{}, map[string]int{}
		for _, p := range place {
			seen[p] = true
			in[nodes[slices.IndexFunc(nodes, func(n Node) bool { return n.ID == p })].Zone]++
		}
		if len(seen) != len(place) {
			t.Fatalf("a node has two: %v", place)
		}
		if want := min(max(zones, 1), n, len(place)); len(in) < want {
			t.Fatalf("%d zones of %d have a replica: %v", len(in), want, place)
		}
		shuffled := rapid.Permutation(nodes).Draw(t, "order")
		if !reflect.DeepEqual(NewRing(shuffled).Place(shard, r), place) {
			t.Fatal("the order of the nodes makes a difference")
		}
	})
}

// TestGrowth: a lone node has all; the second learns; with three, all three hold the one shard and vote; a fourth takes
// about a quarter of many.
func TestGrowth(t *testing.T) {
	d := settle(t, founded(t, 1, 3), nil)
	for n := 2; n <= 7; n++ {
		d = settle(t, must(t, d, Join{Node: aNode(n, "")}), nil)
		voters, learners := d.Desired(1)
		if want := []int{0, 1, 1, 3, 3, 3, 3, 3}[n]; len(voters) != want || len(voters)+len(learners) != min(n, 3) {
			t.Errorf("%d nodes: voters %v, learners %v", n, voters, learners)
		}
		voters, learners = d.Desired(MetaGroup)
		if want := []int{0, 1, 1, 3, 3, 5, 5, 5}[n]; len(voters) != want || len(voters)+len(learners) != n {
			t.Errorf("%d nodes: %d voters of the meta group, %d learners", n, len(voters), len(learners))
		}
	}
	d = three(t, 64)
	next := settle(t, must(t, d, Join{Node: aNode(4, "")}), nil)
	moved := 0
	for i := range d.Shards {
		fresh := missingFrom(next.Shards[i].Replicas, d.Shards[i].Replicas)
		if len(fresh) > 1 || len(fresh) == 1 && fresh[0] != id(4) {
			t.Fatalf("from %v to %v", d.Shards[i].Replicas, next.Shards[i].Replicas)
		}
		moved += len(fresh)
	}
	if moved < 64*3/4*7/10 || moved > 64*3/4*13/10 {
		t.Errorf("%d of %d replicas moved to the fourth node", moved, 64*3)
	}
}

// leads counts what each node should lead.
func leads(d Document) map[NodeID]int {
	m := map[NodeID]int{}
	for _, n := range d.upNodes() {
		m[n.ID] = 0
	}
	for _, s := range d.Shards {
		m[s.Replicas[0]]++
	}
	return m
}

// TestPlannerComesToRest: whatever happens to nodes, the plan ends, holds together, keeps replicas apart, has no shard
// short that need not be, and spreads the leaders.
func TestPlannerComesToRest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := founded(t, rapid.IntRange(1, 40).Draw(rt, "shards"), rapid.IntRange(1, 5).Draw(rt, "replicas"))
		silence := Silence{}
		last := 1
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			node := id(rapid.IntRange(1, last).Draw(rt, "node"))
			switch rapid.IntRange(0, 6).Draw(rt, "what") {
			case 0, 1, 2:
				last++
				d = must(t, d, Join{Node: nodesOf(last, 1, 3)[0]})
			case 3:
				d = tryStep(d, Drain{node})
			case 4:
				d = tryStep(d, Undrain{node})
			case 5:
				silence[node] = time.Hour
			case 6:
				delete(silence, node)
				silence[node] = 0
			}
			d = settle(t, d, silence)
			d = tryStep(d, Remove{node})
		}
		checkPlan(rt, d)
	})
}

// TestNothingBreaksTheDocument: Ops, plans and nodes that come and go, in any order and with moves half done, never lead
// to a change that does not hold together; and all comes to rest once the moves end.
func TestNothingBreaksTheDocument(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := founded(t, rapid.IntRange(1, 8).Draw(rt, "shards"), rapid.IntRange(1, 5).Draw(rt, "replicas"))
		p := Planner{ReplaceAfter: 1000, Seen: 10, MaxMoves: 3}
		silence := Silence{}
		last := 1
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			node, other := id(rapid.IntRange(1, last).Draw(rt, "node")), id(rapid.IntRange(1, last).Draw(rt, "other"))
			number := uint64(rapid.IntRange(1, int(d.NextID)).Draw(rt, "number"))
			shard := uint32(rapid.IntRange(1, len(d.Shards)).Draw(rt, "shard"))
			list := []Op{
				Join{Node: nodesOf(last+1, 1, 3)[0]}, Drain{node}, Undrain{node}, Remove{node}, Rebalance{},
				SetReplicationFactor{rapid.IntRange(1, 5).Draw(rt, "replicas")}, AddShards{1}, RemoveShard{shard},
				MoveReplica{Shard: shard, From: node, To: other}, PauseMove{number}, ResumeMove{number}, CancelMove{number},
				PreferLeader{shard, node}, SetBorn{shard, node}, SetLeader{shard, node, number},
			}
			switch what := rapid.IntRange(0, len(list)+4).Draw(rt, "what"); {
			case what == 0:
				last++
				fallthrough
			case what < len(list):
				next, _, err := step(d, list[what].Apply)
				if err != nil && !errors.Is(err, ErrRefused) {
					rt.Fatalf("%T %+v: %v", list[what], list[what], err)
				}
				d = next
			case what == len(list):
				silence[node] = time.Hour
			case what == len(list)+1:
				silence[node] = 0
			case what == len(list)+2 && len(d.Moves) > 0:
				m := d.Moves[int(number)%len(d.Moves)]
				d = must(t, d, EndMove{m.ID, m.To})
			default:
				next, _, err := step(d, func(d Document) (Document, error) { return p.Plan(d, silence, 0) })
				if err != nil {
					rt.Fatalf("plan: %v", err)
				}
				d = next
			}
		}
		for _, m := range d.Moves {
			d = must(t, d, EndMove{m.ID, m.To})
		}
		for _, s := range d.Shards {
			d = must(t, d, SetBorn{s.ID, s.Founder})
		}
		checkPlan(rt, settle(t, d, silence))
	})
}

func tryStep(d Document, o Op) Document {
	next, _, err := step(d, o.Apply)
	if err != nil {
		return d
	}
	return next
}

func checkPlan(t *rapid.T, d Document) {
	up := map[NodeID]bool{}
	for _, n := range d.upNodes() {
		up[n.ID] = true
	}
	if len(up) == 0 {
		return
	}
	for _, s := range d.Shards {
		holders := 0
		for _, r := range s.Replicas {
			if up[r] {
				holders++
			}
		}
		if want := min(d.ReplicationFactor, len(up)); holders != want {
			t.Fatalf("shard %d has %d replicas on nodes that are up, and could have %d: %+v", s.ID, holders, want, d)
		}
	}
	// With all nodes holding all shards the spread is perfect; otherwise as good as the places allow: no shard could be
	// handed on from a node to one that leads two less.
	m := leads(d)
	for _, s := range d.Shards {
		if s.Pinned {
			continue
		}
		for _, to := range s.Replicas[1:VotersOf(len(s.Replicas))] {
			if up[to] && m[s.Replicas[0]] >= m[to]+2 {
				t.Fatalf("shard %d should be handed on from %s to %s: %v", s.ID, s.Replicas[0], to, m)
			}
		}
	}
}

func TestLeadersSpread(t *testing.T) {
	for _, shards := range []int{1, 3, 16, 64} {
		m := slices.Collect(maps.Values(leads(three(t, shards))))
		if slices.Max(m)-slices.Min(m) > 1 {
			t.Errorf("%d shards on three nodes: %v", shards, m)
		}
	}
	d := settle(t, must(t, three(t, 64), Join{Node: aNode(4, "")}, Join{Node: aNode(5, "")}), nil)
	if m := slices.Collect(maps.Values(leads(d))); slices.Max(m)-slices.Min(m) > 2 {
		t.Errorf("64 shards on five nodes: %v", m)
	}
}

// TestGoneNode: with a spare its replicas go there, and no others move; without, it keeps its places; what comes back is
// used again.
func TestGoneNode(t *testing.T) {
	d := three(t, 8)
	gone := Silence{id(2): time.Hour}
	alone := settle(t, d, gone)
	for _, s := range alone.Shards {
		if len(s.Replicas) != 3 || s.Replicas[0] == id(2) {
			t.Errorf("without a spare: %v", s.Replicas)
		}
	}
	if alone.Node(id(2)).State != NodeGone || len(alone.Voters) != 3 {
		t.Errorf("%+v", alone)
	}
	repaired := settle(t, must(t, alone, Join{Node: aNode(4, "")}), gone)
	for i, s := range repaired.Shards {
		if slices.Contains(s.Replicas, id(2)) || !slices.Contains(s.Replicas, id(4)) || len(missingFrom(s.Replicas, d.Shards[i].Replicas)) != 1 {
			t.Errorf("with a spare: %v became %v", d.Shards[i].Replicas, s.Replicas)
		}
	}
	if slices.Contains(repaired.Voters, id(2)) {
		t.Errorf("it still votes: %v", repaired.Voters)
	}
	if back := settle(t, repaired, Silence{id(2): 0}); back.Node(id(2)).State != NodeUp {
		t.Error("it does not come back")
	}
	if still := settle(t, d, Silence{id(2): 500}); !reflect.DeepEqual(still, d) {
		t.Error("a node that is silent for less than replace-after was given up")
	}
}

// TestNoReplicaForTheSilent: a node that has not been heard of lately gets nothing.
func TestNoReplicaForTheSilent(t *testing.T) {
	d := must(t, founded(t, 2, 3), Join{Node: aNode(2, "")})
	if after := settle(t, d, Silence{id(2): 100}); len(after.Moves) > 0 || len(after.Shards[0].Replicas) != 1 {
		t.Errorf("%+v", after)
	}
}

func TestMovesAtATime(t *testing.T) {
	p := Planner{MaxMoves: 3}
	p.EnsureDefaults()
	d := must(t, founded(t, 16, 3), Join{Node: aNode(2, "")})
	d, err := p.Plan(d, nil, 77)
	if err != nil || len(d.Moves) != 3 || d.Moves[0].Begun != 77 || d.Moves[0].To != id(2) || d.Moves[0].From != "" {
		t.Fatalf("%v %+v", err, d.Moves)
	}
	d.Moves[0].Paused = true
	if d, _ = p.Plan(d, nil, 77); len(d.Moves) != 4 {
		t.Errorf("a paused move holds up others: %d", len(d.Moves))
	}
}

// TestMoveToANodeThatGoes: it gets another aim, or is taken back.
func TestMoveToANodeThatGoes(t *testing.T) {
	d := must(t, three(t, 1), Join{Node: aNode(4, "")}, Join{Node: aNode(5, "")})
	from := d.Shards[0].Replicas[0]
	d = must(t, d, MoveReplica{Shard: 1, From: from, To: id(4)})
	p := Planner{ReplaceAfter: 1000}
	p.EnsureDefaults()
	silence := Silence{id(4): time.Hour}
	back, err := p.Plan(d, silence, 0)
	if err != nil || len(back.Moves) != 1 || back.Moves[0].To != from || !back.Moves[0].Canceled || !slices.Contains(back.Shards[0].Replicas, from) {
		t.Errorf("%v %+v", err, back)
	}
	d = must(t, d, Drain{from})
	on, err := p.Plan(d, silence, 0)
	if err != nil || len(on.Moves) != 2 || on.Moves[0].To != id(5) || !slices.Contains(on.Shards[0].Replicas, id(5)) {
		t.Errorf("%v %+v", err, on)
	}
}

// TestMoveThatIsSentElsewhereKeepsBothInMind: the node that a move led to may have got the replica, and even the vote, by the
// time that it is sent elsewhere. So it is not removed before the shard's group has let it go.
func TestMoveThatIsSentElsewhereKeepsBothInMind(t *testing.T) {
	d := must(t, three(t, 1), Join{Node: aNode(4, "")}, Join{Node: aNode(5, "")})
	from := d.Shards[0].Replicas[0]
	d = must(t, d, MoveReplica{Shard: 1, From: from, To: id(4)}, Drain{from}, Drain{id(4)})
	p := Planner{}
	p.EnsureDefaults()
	d, err := p.Plan(d, nil, 0)
	if err != nil || d.Moves[0].To != id(5) {
		t.Fatalf("%v %+v", err, d)
	}
	for _, node := range []NodeID{from, id(4)} {
		if _, err := (Remove{node}).Apply(d); !errors.Is(err, ErrRefused) {
			t.Errorf("node %s is removed in the middle of the move: %v", node, err)
		}
	}
	for _, m := range d.Moves {
		d = must(t, d, EndMove{m.ID, m.To})
	}
	d = settle(t, d, nil)
	must(t, d, Remove{from}, Remove{id(4)})
}

// TestDrainAndRemove: a drained node has nothing left and can go.
func TestDrainAndRemove(t *testing.T) {
	d := settle(t, must(t, three(t, 8), Join{Node: aNode(4, "")}), nil)
	d = settle(t, must(t, d, Drain{id(1)}), nil)
	d = must(t, d, Remove{id(1)})
	if len(d.Nodes) != 3 {
		t.Errorf("%+v", d.Nodes)
	}
	d = settle(t, must(t, d, SetReplicationFactor{2}), nil)
	d = settle(t, must(t, d, Drain{id(2)}), nil)
	if d = must(t, d, Remove{id(2)}); len(d.Voters) != 1 {
		t.Errorf("%+v", d)
	}
}

// TestWipedNodeIsReplacedByItsSuccessor: a node whose disk was wiped is gone, though it was heard of a moment ago, and the node
// that is there now takes its place: nobody else's replica moves.
func TestWipedNodeIsReplacedByItsSuccessor(t *testing.T) {
	for wiped := 1; wiped <= 3; wiped++ {
		d := three(t, 4)
		successor := aNode(9, "")
		successor.Peer, successor.Client = d.Node(id(wiped)).Peer, d.Node(id(wiped)).Client
		d = must(t, d, Join{Node: successor, Superseded: []NodeID{id(wiped)}})
		p := Planner{ReplaceAfter: 1000, Seen: 10, MaxMoves: 100}
		d, err := p.Plan(d, Silence{id(wiped): 5, id(9): 0}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := d.Node(id(wiped)); n != nil && n.State != NodeGone {
			t.Errorf("the wiped node %d is %s", wiped, n.State)
		}
		for _, m := range d.Moves {
			if m.From != id(wiped) || m.To != id(9) {
				t.Errorf("wiped %d: %+v", wiped, m)
			}
		}
		if len(d.Moves) != 4 {
			t.Errorf("%d replicas move", len(d.Moves))
		}
	}
}

// TestNobodyIsGoneWithoutReplaceAfter: with 0 a node may be silent for as long as it likes.
func TestNobodyIsGoneWithoutReplaceAfter(t *testing.T) {
	d := must(t, three(t, 2), Join{Node: aNode(4, "")})
	p := Planner{ReplaceAfter: 0}
	p.EnsureDefaults()
	next, err := p.Plan(d, Silence{id(2): 1 << 62}, 0)
	if err != nil || next.Node(id(2)).State != NodeUp {
		t.Errorf("%v: %+v", err, next.Nodes)
	}
}

// TestWhoStaysIsReplacedByWhoWasToGo: of three replicas one is to stay, on a node that turns out to be gone before the
// others could go. One of those stays in its place.
func TestWhoStaysIsReplacedByWhoWasToGo(t *testing.T) {
	d := three(t, 8)
	p := Planner{ReplaceAfter: 1000, Seen: 10}
	p.EnsureDefaults()
	d = must(t, d, SetReplicationFactor{1})
	on := func() (n int) {
		for _, s := range d.Shards {
			if slices.Contains(s.Replicas, id(3)) {
				n++
			}
		}
		return n
	}
	for _, silent := range []time.Duration{500, 5000} {
		next, _, err := step(d, func(d Document) (Document, error) { return p.Plan(d, Silence{id(3): silent}, 0) })
		if err != nil {
			t.Fatal(err)
		}
		if d = next; silent == 500 && on() == 0 {
			t.Fatalf("it is to have no replica: %+v", d.Shards)
		}
	}
	if on() > 0 {
		t.Errorf("%+v, %+v", d.Shards, d.Moves)
	}
}
