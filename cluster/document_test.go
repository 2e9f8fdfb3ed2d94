package cluster

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// id is a node's ID from a small number.
func id(n int) NodeID { return NodeID(fmt.Sprintf("%040x", n)) }

// aNode is a member that could be.
func aNode(n int, zone string) Node {
	return Node{
		ID: id(n), Client: fmt.Sprintf("10.0.0.%d:6379", n), Peer: fmt.Sprintf("10.0.0.%d:16379", n),
		Zone: zone, Release: "1.0", FeatureLevel: 1, State: NodeUp,
	}
}

const clusterID = "00000000000000000000000000000000000000cc"

// founded is a cluster of one node, its shards born.
func founded(t testing.TB, shards, replicas int) Document {
	t.Helper()
	d, err := Found(clusterID, 1<<63+1, aNode(1, ""), shards, replicas)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range d.Shards {
		d = must(t, d, SetBorn{s.ID, id(1)})
	}
	return d
}

// must applies Ops that are not refused.
func must(t testing.TB, d Document, list ...Op) Document {
	t.Helper()
	for _, o := range list {
		next, _, err := step(d, o.Apply)
		if err != nil {
			t.Fatalf("%T %+v: %v", o, o, err)
		}
		d = next
	}
	return d
}

func TestDocumentSurvivesEncoding(t *testing.T) {
	d := must(t, founded(t, 3, 3), Join{Node: aNode(2, "z")}, MigrateSlots{From: 1, To: 2, Slots: []Range{{0, 9}}},
		MoveReplica{Shard: 3, From: id(1), To: id(2)})
	b, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode(b)
	if err != nil || !reflect.DeepEqual(again, d) {
		t.Fatalf("%v: %+v became %+v", err, d, again)
	}
	for what, b := range map[string]string{
		"unknown field":    strings.Replace(string(b), `"epoch"`, `"epocks"`, 1),
		"something behind": string(b) + "{}",
		"cut off":          string(b[:len(b)-1]),
		"not JSON":         "x",
		"empty":            "{}",
	} {
		if _, err := Decode([]byte(b)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	d := must(t, founded(t, 2, 3), Join{Node: aNode(2, "z")}, MigrateSlots{From: 1, To: 2, Slots: []Range{{0, 9}}})
	before, _ := d.Encode()
	c := d.Clone()
	c.Voters[0], c.Nodes[0].Zone, c.Shards[0].Replicas[0], c.Shards[0].Slots[0].To, c.Migrations[0].Slots[0].To = "x", "x", "x", 5, 5
	if after, _ := d.Encode(); string(after) != string(before) {
		t.Fatal("a change of the copy changed the document")
	}
}

// TestValidateReportsEveryFault: all that is wrong is said at once.
func TestValidateReportsEveryFault(t *testing.T) {
	for want, spoil := range map[string]func(d *Document){
		"the cluster's ID":                 func(d *Document) { d.ClusterID = "x" },
		"the replication factor 0":         func(d *Document) { d.ReplicationFactor = 0 },
		"there are no nodes":               func(d *Document) { d.Nodes = nil },
		"is there twice":                   func(d *Document) { d.Nodes = append(d.Nodes, d.Nodes[0]) },
		"the client address":               func(d *Document) { d.Nodes[0].Client = "nowhere" },
		"the peer address":                 func(d *Document) { d.Nodes[0].Peer = ":1" },
		"the admin address":                func(d *Document) { d.Nodes[0].Admin = "h:99999" },
		"the zone":                         func(d *Document) { d.Nodes[0].Zone = "a\nb" },
		"the client address with TLS":      func(d *Document) { d.Nodes[0].Secure = "x" },
		"the release":                      func(d *Document) { d.Nodes[0].Release = strings.Repeat("x", 256) },
		"the feature level 0":              func(d *Document) { d.Nodes[0].FeatureLevel = 0 },
		`there is no state "odd"`:          func(d *Document) { d.Nodes[0].State = "odd" },
		"2 voters of the meta group":       func(d *Document) { d.Voters = append(d.Voters, id(2)) },
		"the meta group: ":                 func(d *Document) { d.Voters[0] = id(9) },
		"there are no shards":              func(d *Document) { d.Shards = nil },
		"has the number of the meta group": func(d *Document) { d.Shards[0].ID = 0 },
		"shard 1 is there twice":           func(d *Document) { d.Shards[1].ID = 1 },
		"shard 1: 0 replicas":              func(d *Document) { d.Shards[0].Replicas = nil },
		"is no member":                     func(d *Document) { d.Shards[0].Replicas[0] = id(9) },
		"its founder":                      func(d *Document) { d.Shards[0].Founder, d.Shards[0].Born = id(9), false },
		"slot 0 is owned by nobody":        func(d *Document) { d.Shards[0].Slots[0].From = 1 },
		"is owned by shard 1 and by":       func(d *Document) { d.Shards[0].Slots[0].To++ },
		"do not stand in order":            func(d *Document) { d.Shards[0].Slots = []Range{{0, 1}, {2, 8191}} },
		"there are no slots 8192 to 16384": func(d *Document) { d.Shards[1].Slots[0].To = Slots },
		"move 1: its number":               func(d *Document) { d.NextID = 1 },
		"move 1: there is no shard 7":      func(d *Document) { d.Moves[0].Shard = 7 },
		"move 1: it moves nothing":         func(d *Document) { d.Moves[0].From, d.Moves[0].To = "", "" },
		"is none of the shard's replicas":  func(d *Document) { d.Moves[0].To = id(9) },
		"is still one of":                  func(d *Document) { d.Moves[0].From = d.Moves[0].To },
		"another move of the shard is about": func(d *Document) {
			d.NextID++
			d.Moves = append(d.Moves, Move{ID: d.NextID - 1, Shard: 2, To: d.Moves[0].To})
		},
		"migration 2: there is no state":    func(d *Document) { d.Migrations[0].State = "" },
		"migration 2: from a shard to itse": func(d *Document) { d.Migrations[0].To = d.Migrations[0].From },
		"migration 2: it has no slots":      func(d *Document) { d.Migrations[0].Slots = nil },
		"shard 1 does not own all":          func(d *Document) { d.Migrations[0].Slots[0].To = 9000 },
		"is part of migration 2 and of":     func(d *Document) { d.Migrations = append(d.Migrations, d.Migrations[0]) },
	} {
		d := must(t, founded(t, 2, 3), Join{Node: aNode(2, "z")}, MoveReplica{Shard: 2, From: id(1), To: id(2)},
			MigrateSlots{From: 1, To: 2, Slots: []Range{{0, 9}}})
		if err := d.Validate(); err != nil {
			t.Fatal(err)
		}
		spoil(&d)
		if err := d.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("wanted a fault %q, got %v", want, err)
		}
	}
	d := founded(t, 2, 3)
	d.Nodes[0].Zone, d.Nodes[0].Release, d.Voters = "\x00", "\x01", nil
	if err := d.Validate(); strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three faults, told as %v", err)
	}
}

// ownerOf is the shard that owns a slot, by the map; 0: none does.
func ownerOf(d *Document, slot uint16) uint32 {
	for _, s := range d.Shards {
		if overlap(s.Slots, []Range{{slot, slot}}) {
			return s.ID
		}
	}
	return 0
}

func TestViewFinds(t *testing.T) {
	d := must(t, founded(t, 2, 3), Join{Node: aNode(2, "")}, SetLeader{2, id(2), 4}, SetLeader{2, id(1), 3})
	v := NewView(&d)
	if v.Leader(v.Shard(1)).ID != id(1) || v.Leader(v.Shard(2)).ID != id(2) || v.Shard(3) != nil {
		t.Error("the leaders are wrong")
	}
	if v.Address(id(2)) != "10.0.0.2:16379" || v.Address(id(3)) != "" {
		t.Error("the addresses are wrong")
	}
}

func FuzzDecode(f *testing.F) {
	d := founded(f, 2, 3)
	b, _ := d.Encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Decode(b)
		if err != nil {
			return
		}
		NewView(&d)
		p := Planner{}
		p.EnsureDefaults()
		if next, _, err := step(d, func(d Document) (Document, error) { return p.Plan(d, nil, 0) }); err != nil {
			t.Fatalf("%v: %+v", err, next)
		}
	})
}
