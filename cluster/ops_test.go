package cluster

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// three is a cluster of three nodes whose shards have three replicas.
func three(t testing.TB, shards int) Document {
	t.Helper()
	d := must(t, founded(t, shards, 3), Join{Node: aNode(2, "")}, Join{Node: aNode(3, "")})
	return settle(t, d, nil)
}

// settle runs the planner until it has nothing to do, each move ending at once.
func settle(t testing.TB, d Document, silence Silence) Document {
	t.Helper()
	p := Planner{ReplaceAfter: 1000, Seen: 10}
	p.EnsureDefaults()
	for range 1000 {
		next, changed, err := step(d, func(d Document) (Document, error) { return p.Plan(d, silence, 0) })
		if err != nil {
			t.Fatal(err)
		}
		if !changed {
			return d
		}
		for _, m := range next.Moves {
			next = must(t, next, EndMove{m.ID, m.To})
		}
		d = next
	}
	t.Fatal("the planner does not come to rest")
	return d
}

func TestRefusals(t *testing.T) {
	d := must(t, three(t, 2), Join{Node: aNode(4, "")}, Drain{id(2)})
	d = must(t, d, MoveReplica{Shard: 2, From: d.Shards[1].Replicas[0], To: id(4)}, MigrateSlots{From: 1, To: 2, Slots: []Range{{0, 9}}})
	here := d.Shards[0].Replicas[0]
	level := func(n Node, level int) Node { n.FeatureLevel = level; return n }
	at := func(n Node, peer string) Node { n.Peer = peer; return n }
	one := founded(t, 1, 3)
	for _, c := range []struct {
		d    Document
		op   Op
		want string
	}{
		{d, Join{ClusterID: strings.Repeat("0", 40), Node: aNode(5, "")}, "another cluster"},
		{d, Join{ClusterID: d.ClusterID, Node: aNode(5, "")}, "was removed from the cluster"},
		{d, Recover{ClusterID: strings.Repeat("0", 40), Self: id(9)}, "no member"},
		{d, Join{Node: Node{ID: "x"}}, "not 40 hexadecimal digits"},
		{d, Join{Node: at(aNode(5, ""), aNode(1, "").Peer)}, "has the address"},
		{d, Join{Node: level(aNode(5, ""), 2)}, "they do not match"},
		{d, Join{Node: level(aNode(5, ""), 0)}, "the feature level 0"},
		{d, Drain{id(9)}, "no member"},
		{one, Drain{id(1)}, "the last one"},
		{three(t, 1), Drain{id(1)}, "add a node"},
		{d, Undrain{id(9)}, "no member"},
		{d, Remove{id(9)}, "no member"},
		{one, Remove{id(1)}, "the last one"},
		{lastVoter(t), Remove{id(1)}, "is the last voter of the meta group"},
		{three(t, 1), Remove{id(1)}, "has a replica of shard 1"},
		{must(t, one, Join{Node: aNode(2, "")}), Remove{id(1)}, "the only replica of shard 1"},
		{d, SetReplicationFactor{0}, "0 replicas"},
		{d, AddShards{0}, "0 more shards"},
		{d, RemoveShard{9}, "no shard 9"},
		{d, RemoveShard{1}, "owns 8192 slots"},
		{d, SetBorn{9, id(1)}, "no shard 9"},
		{d, SetBorn{1, id(2)}, "is founded by"},
		{d, SetLeader{1, id(9), 1}, "no member"},
		{d, MoveReplica{Shard: 9}, "no shard 9"},
		{d, MoveReplica{Shard: 1, From: here, To: id(9)}, "no member"},
		{d, MoveReplica{Shard: 1, From: here, To: id(2)}, "is draining"},
		{d, MoveReplica{Shard: 1, From: id(4), To: id(4)}, "has no replica"},
		{d, MoveReplica{Shard: 1, From: here, To: here}, "already"},
		{d, PreferLeader{9, id(1)}, "no shard 9"},
		{d, PreferLeader{1, id(4)}, "does not vote"},
		{d, PauseMove{9}, "no move 9"},
		{d, CancelMove{9}, "no move 9"},
		{d, MigrateSlots{From: 1, To: 9, Slots: []Range{{10, 10}}}, "no shard 9"},
		{d, MigrateSlots{From: 9, To: 1, Slots: []Range{{10, 10}}}, "no shard 9"},
		{d, MigrateSlots{From: 1, To: 1, Slots: []Range{{10, 10}}}, "already"},
		{d, MigrateSlots{From: 1, To: 2}, "no slots are named"},
		{d, MigrateSlots{From: 1, To: 2, Slots: []Range{{1, 0}}}, "no slots 1 to 0"},
		{d, MigrateSlots{From: 1, To: 2, Slots: []Range{{9, 10}}}, "is under way"},
		{d, MigrateSlots{From: 1, To: 2, Slots: []Range{{10, 8192}}}, "does not own the slots 8192 to 8192"},
		{d, AttemptMigration{d.Migrations[0].ID, 7}, "not the current one"},
		{d, FlipMigration{d.Migrations[0].ID, 0}, "is copying"},
		{d, EndMigration{d.Migrations[0].ID}, "has not ended"},
		{d, CancelMigration{99}, "no migration 99"},
	} {
		before, _ := c.d.Encode()
		_, changed, err := step(c.d, c.op.Apply)
		if err == nil || changed || !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%T %+v: wanted a refusal with %q, got %v", c.op, c.op, c.want, err)
		}
		if after, _ := c.d.Encode(); string(after) != string(before) {
			t.Errorf("%T %+v: changed the document it was given", c.op, c.op)
		}
	}
	d = must(t, d, Undrain{id(2)})
	moving := MoveReplica{Shard: 2, From: d.Shards[1].Replicas[1], To: d.Moves[0].From}
	if _, err := moving.Apply(d); err == nil || !strings.Contains(err.Error(), "is under way") {
		t.Errorf("a second move of a shard: %v", err)
	}
}

// lastVoter is a cluster whose first node has nothing but the one vote of the meta group.
func lastVoter(t testing.TB) Document {
	d := must(t, founded(t, 1, 1), Join{Node: aNode(2, "")})
	d.Shards[0].Replicas = []NodeID{id(2)}
	return d
}

func TestRecoverLeavesOneNode(t *testing.T) {
	d := must(t, three(t, 3), Join{Node: aNode(4, "")})
	d = must(t, d, Drain{id(2)}, MigrateSlots{From: 1, To: 2, Slots: []Range{{0, 9}}})
	for i := range d.Shards {
		d = must(t, d, SetBorn{d.Shards[i].ID, d.Shards[i].Founder}, SetLeader{d.Shards[i].ID, id(3), 7})
	}
	o := Recover{ClusterID: strings.Repeat("a", 40), Self: id(2), Held: []uint32{1, 3}}
	r := must(t, d, o)
	if r.ClusterID != o.ClusterID || len(r.Nodes) != 1 || r.Nodes[0].ID != id(2) || r.Nodes[0].State != NodeUp || r.Epoch <= d.Epoch || len(r.Moves) > 0 {
		t.Errorf("%+v", r)
	}
	for _, s := range r.Shards {
		held := s.ID != 2
		if !reflect.DeepEqual(s.Replicas, []NodeID{id(2)}) || s.Born != held || held != (s.Term == 7) || s.Leader != "" || !held && s.Founder != id(2) {
			t.Errorf("%+v", s)
		}
	}
	if again, changed, err := step(r, o.Apply); changed || err != nil {
		t.Errorf("asked again: %+v, %v", again, err)
	}
}

func TestOpsTravel(t *testing.T) {
	for name, empty := range ops {
		b, err := EncodeOp(empty())
		if err != nil {
			t.Fatal(name, err)
		}
		o, err := DecodeOp(b)
		if err != nil || !reflect.DeepEqual(o, empty()) {
			t.Errorf("%s: %v, %+v", name, err, o)
		}
	}
	for _, b := range []string{"", "{}", `{"op":"join","args":{"x":1}}`, `{"op":"joy","args":{}}`, `{"op":"join"}`} {
		if _, err := DecodeOp([]byte(b)); err == nil {
			t.Errorf("%s: accepted", b)
		}
	}
}

// TestJoin: the same again changes nothing; other addresses are taken over; a member whose address another node turned
// out to have is gone.
func TestJoin(t *testing.T) {
	d := must(t, founded(t, 1, 3), Join{Node: aNode(2, "")})
	again := must(t, d, Join{ClusterID: clusterID, Node: aNode(2, "")})
	if again.Version != d.Version {
		t.Error("joining twice changed the document")
	}
	moved := aNode(2, "")
	moved.Peer = "10.9.9.9:1"
	if d = must(t, d, Drain{id(2)}, Join{Node: moved}); d.Node(id(2)).Peer != moved.Peer || d.Node(id(2)).State != NodeDraining {
		t.Errorf("after a new address: %+v", d.Node(id(2)))
	}
	wiped := aNode(5, "")
	wiped.Peer, wiped.Client = moved.Peer, moved.Client
	if d = must(t, d, Join{Node: wiped, Superseded: []NodeID{id(2)}}); d.Node(id(2)).State != NodeGone || d.Node(id(5)) == nil {
		t.Errorf("after a wiped disk: %+v", d.Nodes)
	}
	if d = settle(t, d, nil); d.Node(id(2)) != nil {
		t.Errorf("a node without anything whose address another one has is still there: %+v", d)
	}
}

// TestGoneNodeIsRemoved: a node that is gone and to whose place nobody can come keeps its vote in the meta group until it
// is drained; then it can be removed, and the groups are smaller.
func TestGoneNodeIsRemoved(t *testing.T) {
	for _, c := range []struct{ nodes, replicas, voters int }{{5, 3, 3}, {3, 1, 1}, {3, 2, 1}, {2, 1, 1}} {
		d := founded(t, 2, c.replicas)
		for n := 2; n <= c.nodes; n++ {
			d = must(t, d, Join{Node: aNode(n, "")})
		}
		dead := id(c.nodes)
		silence := Silence{dead: 5000}
		d = settle(t, settle(t, d, nil), silence)
		if d.Node(dead).State != NodeGone {
			t.Fatalf("%+v: %+v", c, d.Nodes)
		}
		if _, err := (Remove{dead}).Apply(d); c.nodes > 2 && err == nil {
			t.Fatalf("%+v: removed with a vote", c)
		}
		d = settle(t, must(t, d, Drain{dead}), silence)
		d = settle(t, must(t, d, Remove{dead}), silence)
		if len(d.Voters) != c.voters {
			t.Errorf("%+v: voters %v", c, d.Voters)
		}
	}
}

// TestGoneNodeIsNotDrainedInVain: where the others cannot take what it has, that is said. One whose address another has
// goes by itself.
func TestGoneNodeIsNotDrainedInVain(t *testing.T) {
	d := settle(t, three(t, 1), Silence{id(3): 5000})
	if _, err := (Drain{id(3)}).Apply(d); err == nil || !strings.Contains(err.Error(), "2 nodes would be left, and shard 1 has 3 replicas") {
		t.Errorf("drained: %v", err)
	}
	wiped := aNode(4, "")
	wiped.Peer, wiped.Client = aNode(3, "").Peer, aNode(3, "").Client
	d = must(t, d, Join{Node: wiped})
	d = must(t, d, Drain{id(3)}, Join{ClusterID: clusterID, Node: wiped})
	if d = settle(t, d, nil); d.Node(id(3)) != nil || len(d.Voters) != 3 {
		t.Errorf("%+v", d)
	}
}

// TestWhoseAddressIsTakenLendsNoVote: of two that are gone the one that may come back keeps the vote.
func TestWhoseAddressIsTakenLendsNoVote(t *testing.T) {
	d := founded(t, 1, 3)
	for n := 2; n <= 5; n++ {
		d = must(t, d, Join{Node: aNode(n, "")})
	}
	silence := Silence{id(4): 5000, id(5): 5000}
	d = settle(t, settle(t, d, nil), silence)
	for _, at := range []int{4, 5} {
		wiped := aNode(6, "")
		wiped.Peer, wiped.Client = aNode(at, "").Peer, aNode(at, "").Client
		next := settle(t, must(t, d, Join{Node: wiped}), silence)
		if len(next.Voters) != 5 || next.Node(id(at)) != nil || next.Node(id(9-at)) == nil {
			t.Errorf("%d is replaced: voters %v of %+v", at, next.Voters, next.Nodes)
		}
	}
}

// TestMovedMemberSupersedesNobody: a member that was started at the address of another, which has moved and not told yet,
// is refused until that one has told, or is gone; it takes nobody's place.
func TestMovedMemberSupersedesNobody(t *testing.T) {
	d := three(t, 1)
	x, y := aNode(2, ""), aNode(3, "")
	x.Peer, x.Client = y.Peer, y.Client
	y.Peer, y.Client = "10.9.9.9:1", "10.9.9.9:2"
	moved := Join{ClusterID: clusterID, Node: x, Superseded: []NodeID{y.ID}}
	if next, _, err := step(d, moved.Apply); !errors.Is(err, ErrRefused) || next.Node(y.ID).State != NodeUp {
		t.Errorf("%v: %+v", err, next.Nodes)
	}
	if told := must(t, d, Join{ClusterID: clusterID, Node: y}, moved); told.Node(x.ID).Peer != x.Peer || told.Node(y.ID).State != NodeUp {
		t.Errorf("after the other has told: %+v", told.Nodes)
	}
	if later := must(t, settle(t, d, Silence{y.ID: 5000}), moved); later.Node(x.ID).Peer != x.Peer {
		t.Errorf("after the other is gone: %+v", later.Nodes)
	}
}

func TestMigrationSteps(t *testing.T) {
	d := must(t, founded(t, 2, 1), MigrateSlots{From: 1, To: 2, Slots: []Range{{100, 200}, {50, 99}}})
	m := d.Migrations[0]
	if !reflect.DeepEqual(m.Slots, []Range{{50, 200}}) {
		t.Fatalf("%+v", m)
	}
	epoch := d.Epoch
	d = must(t, d, PauseMigration{m.ID})
	if _, err := (OwnMigration{m.ID, 0}).Apply(d); err == nil {
		t.Error("a paused migration took the slots")
	}
	d = must(t, d, ResumeMigration{m.ID}, AttemptMigration{m.ID, 0})
	if _, err := (OwnMigration{m.ID, 0}).Apply(d); err == nil {
		t.Error("a deposed leader took a step")
	}
	d = must(t, d, OwnMigration{m.ID, 1}, OwnMigration{m.ID, 1})
	if _, err := (CancelMigration{m.ID}).Apply(d); err == nil {
		t.Error("canceled after the decision")
	}
	if d.Epoch != epoch {
		t.Error("the epoch grew before the map changed")
	}
	d = must(t, d, FlipMigration{m.ID, 1}, FlipMigration{m.ID, 1})
	if d.Epoch != epoch+1 || !reflect.DeepEqual(d.Shards[0].Slots, []Range{{0, 49}, {201, 8191}}) ||
		!reflect.DeepEqual(d.Shards[1].Slots, []Range{{50, 200}, {8192, 16383}}) {
		t.Errorf("%+v", d.Shards)
	}
	if d = must(t, d, EndMigration{m.ID}, EndMigration{m.ID}); len(d.Migrations) != 0 {
		t.Errorf("%+v", d.Migrations)
	}
	d = must(t, d, MigrateSlots{From: 1, To: 2, Slots: d.Shards[0].Slots})
	id := d.Migrations[0].ID
	d = must(t, d, CancelMigration{id}, CancelMigration{id}, EndMigration{id})
	if len(d.Migrations) != 0 || len(d.Shards[0].Slots) != 2 {
		t.Errorf("%+v", d)
	}
	d = must(t, d, MigrateSlots{From: 1, To: 2, Slots: d.Shards[0].Slots})
	id = d.Migrations[0].ID
	d = must(t, d, OwnMigration{id, 0}, FlipMigration{id, 0}, EndMigration{id}, RemoveShard{1})
	if len(d.Shards) != 1 || len(d.Shards[0].Slots) != 1 {
		t.Errorf("%+v", d.Shards)
	}
}

func TestCancelMove(t *testing.T) {
	d := must(t, three(t, 1), Join{Node: aNode(4, "")})
	from := d.Shards[0].Replicas[1]
	before := d.Shards[0].Replicas
	d = must(t, d, MoveReplica{Shard: 1, From: from, To: id(4)})
	if d.Shards[0].Replicas[1] != id(4) {
		t.Fatal(d.Shards[0])
	}
	move := d.Moves[0].ID
	d = must(t, d, PauseMove{move})
	if !d.ShardPaused(1) {
		t.Error("not paused")
	}
	d = must(t, d, ResumeMove{move}, CancelMove{move}, CancelMove{move}, EndMove{move, id(4)})
	if d.MayDrop(1, id(4)) || len(d.Moves) != 1 {
		t.Error("the replica may be dropped although the group may still count on it")
	}
	d = must(t, d, EndMove{move, from})
	if !d.MayDrop(1, id(4)) || d.MayDrop(1, from) || d.MayDrop(MetaGroup, id(4)) || !d.MayDrop(9, from) {
		t.Error("the wrong replicas may be dropped")
	}
	if !reflect.DeepEqual(d.Shards[0].Replicas, before) || len(d.Moves) != 0 {
		t.Errorf("%+v", d)
	}
	if after := settle(t, d, nil); !reflect.DeepEqual(after.Shards[0].Replicas, before) {
		t.Error("the planner moved what somebody had canceled")
	}
	d = must(t, d, MoveReplica{Shard: 1, From: from, To: id(4)}, Undrain{from})
	d.Node(from).State = NodeGone
	if _, err := (CancelMove{d.Moves[0].ID}).Apply(d); err == nil || !strings.Contains(err.Error(), "leaving or gone") {
		t.Errorf("canceled back to a node that is gone: %v", err)
	}
}

// TestWhoeverComesToLeadGoesOn: a failover is no reason for another one, unless the leaders would be badly spread.
func TestWhoeverComesToLeadGoesOn(t *testing.T) {
	for _, c := range []struct {
		shards int
		pinned bool
		goesOn bool
	}{{1, false, true}, {1, true, false}, {3, false, false}} {
		d := three(t, c.shards)
		first, next := d.Shards[0].Replicas[0], d.Shards[0].Replicas[1]
		if c.pinned {
			d = must(t, d, PreferLeader{1, first})
		}
		d = settle(t, must(t, d, SetLeader{1, first, 2}, SetLeader{1, next, 3}), nil)
		if s := d.Shards[0]; s.Leader != next || (s.Replicas[0] == next) != c.goesOn {
			t.Errorf("%+v: %+v", c, s)
		}
	}
}

// A shard forgets migrations once many others have come: none begins while an old one is under way.
func TestOldMigrationsEndBeforeOthersBegin(t *testing.T) {
	d := must(t, founded(t, 2, 1), MigrateSlots{From: 1, To: 2, Slots: []Range{{0, 9}}})
	next := MigrateSlots{From: 1, To: 2, Slots: []Range{{20, 29}}}
	d.NextID += 500
	must(t, d, next)
	d.NextID += 20
	if _, err := next.Apply(d); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	must(t, d, CancelMigration{d.Migrations[0].ID}, EndMigration{d.Migrations[0].ID}, next)
}
