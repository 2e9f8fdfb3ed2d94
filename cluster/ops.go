package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// Op is a change of the document that somebody asks for. It travels as its name and its fields in JSON.
type Op interface {
	// Apply returns the changed document and leaves d as it is; or d itself if all is as it should be; or an error that
	// wraps ErrRefused and gives the reason.
	Apply(d Document) (Document, error)
}

// ErrRefused is wrapped by every refusal of an Op: nothing has been changed, and asking again changes nothing.
var ErrRefused = errors.New("refused")

// ErrRemoved is wrapped by the refusal of a node that was a member and is none any more.
var ErrRemoved = errors.New("removed from the cluster")

// removal is that refusal.
type removal struct{ refusal }

func (r removal) Is(target error) bool { return target == ErrRemoved || r.refusal.Is(target) }

// refusal is a reason. Its text is the reason alone.
type refusal struct{ reason string }

func (r refusal) Error() string        { return r.reason }
func (r refusal) Is(target error) bool { return target == ErrRefused }

func refuse(format string, args ...any) error { return refusal{fmt.Sprintf(format, args...)} }

// ops makes an empty Op by its name.
var ops = map[string]func() Op{
	"look":                   func() Op { return &Look{} },
	"join":                   func() Op { return &Join{} },
	"drain":                  func() Op { return &Drain{} },
	"undrain":                func() Op { return &Undrain{} },
	"remove":                 func() Op { return &Remove{} },
	"rebalance":              func() Op { return &Rebalance{} },
	"set-replication-factor": func() Op { return &SetReplicationFactor{} },
	"add-shards":             func() Op { return &AddShards{} },
	"remove-shard":           func() Op { return &RemoveShard{} },
	"set-born":               func() Op { return &SetBorn{} },
	"set-leader":             func() Op { return &SetLeader{} },
	"move-replica":           func() Op { return &MoveReplica{} },
	"prefer-leader":          func() Op { return &PreferLeader{} },
	"pause-move":             func() Op { return &PauseMove{} },
	"resume-move":            func() Op { return &ResumeMove{} },
	"cancel-move":            func() Op { return &CancelMove{} },
	"end-move":               func() Op { return &EndMove{} },
	"migrate-slots":          func() Op { return &MigrateSlots{} },
	"pause-migration":        func() Op { return &PauseMigration{} },
	"resume-migration":       func() Op { return &ResumeMigration{} },
	"cancel-migration":       func() Op { return &CancelMigration{} },
	"attempt-migration":      func() Op { return &AttemptMigration{} },
	"own-migration":          func() Op { return &OwnMigration{} },
	"flip-migration":         func() Op { return &FlipMigration{} },
	"end-migration":          func() Op { return &EndMigration{} },
}

// Look changes nothing. Whoever has it applied learns what had been decided by then; see Meta.Latest.
type Look struct{}

// Apply implements Op.
func (Look) Apply(d Document) (Document, error) { return d, nil }

// opNames finds the name of an Op's type, be it a pointer or not.
var opNames = func() map[reflect.Type]string {
	names := map[reflect.Type]string{}
	for name, empty := range ops {
		names[reflect.TypeOf(empty())] = name
		names[reflect.TypeOf(empty()).Elem()] = name
	}
	return names
}()

// encodedOp is an Op on its way.
type encodedOp struct {
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args"`
}

// EncodeOp returns the bytes of an Op.
func EncodeOp(o Op) ([]byte, error) {
	name, ok := opNames[reflect.TypeOf(o)]
	if !ok {
		return nil, fmt.Errorf("a %T cannot be sent", o)
	}
	args, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	return json.Marshal(encodedOp{name, args})
}

// DecodeOp reads an Op strictly.
func DecodeOp(b []byte) (Op, error) {
	var e encodedOp
	if err := strictJSON(b, &e); err != nil {
		return nil, fmt.Errorf("malformed operation: %w", err)
	}
	empty, ok := ops[e.Op]
	if !ok {
		return nil, fmt.Errorf("there is no operation %.50q", e.Op)
	}
	o := empty()
	if err := strictJSON(e.Args, o); err != nil {
		return nil, fmt.Errorf("malformed operation %s: %w", e.Op, err)
	}
	return o, nil
}

// step applies a change and returns the document as it is to be stored: it holds together, its version is one higher,
// and so is its epoch if clients see a difference. changed is false if nothing is to be stored.
func step(d Document, change func(Document) (Document, error)) (next Document, changed bool, err error) {
	next, err = change(d)
	if err != nil {
		return d, false, err
	}
	if reflect.DeepEqual(next, d) {
		return d, false, nil
	}
	next.Version = d.Version + 1
	next.Epoch = d.Epoch
	if !reflect.DeepEqual(visible(&d), visible(&next)) {
		next.Epoch++
	}
	if err := next.Validate(); err != nil {
		return d, false, fmt.Errorf("the change would break the document: %w", err)
	}
	return next, true, nil
}

// visibleNode and visibleShard are what clients see of a document.
type (
	visibleNode struct {
		id     NodeID
		client string
		secure string
		gone   bool
	}
	visibleShard struct {
		id       uint32
		slots    []Range
		replicas []NodeID
		leader   NodeID
	}
)

func visible(d *Document) (v struct {
	nodes  []visibleNode
	shards []visibleShard
}) {
	for _, n := range d.Nodes {
		v.nodes = append(v.nodes, visibleNode{n.ID, n.Client, n.Secure, n.State == NodeGone})
	}
	for _, s := range d.Shards {
		v.shards = append(v.shards, visibleShard{s.ID, s.Slots, s.Replicas, s.Leader})
	}
	return v
}

// Found makes the document of a new cluster: one node, which founds its shards.
func Found(clusterID string, seed uint64, first Node, shards, replicationFactor int) (Document, error) {
	if shards < 1 || shards > MaxShards {
		return Document{}, refuse("%d shards: 1 … %d are possible", shards, MaxShards)
	}
	first.State = NodeUp
	d := Document{
		ClusterID:         clusterID,
		Version:           1,
		Epoch:             1,
		Seed:              seed,
		ReplicationFactor: replicationFactor,
		NextID:            1,
		LastShard:         uint32(shards),
		Voters:            []NodeID{first.ID},
		Nodes:             []Node{first},
	}
	for i, r := range evenRanges(shards) {
		d.Shards = append(d.Shards, Shard{
			ID:       uint32(i + 1),
			Slots:    []Range{r},
			Replicas: []NodeID{first.ID},
			Founder:  first.ID,
		})
	}
	if err := d.Validate(); err != nil {
		return Document{}, refuse("%v", err)
	}
	return d, nil
}

// Rebalance has all shards placed by the ring again, those too that were placed by hand.
type Rebalance struct{}

// Apply implements Op.
func (o Rebalance) Apply(d Document) (Document, error) {
	d = d.Clone()
	for i := range d.Shards {
		d.Shards[i].Pinned = false
	}
	return d, nil
}

// SetReplicationFactor sets how many replicas shards are to have.
type SetReplicationFactor struct {
	Replicas int `json:"replicas"`
}

// Apply implements Op.
func (o SetReplicationFactor) Apply(d Document) (Document, error) {
	if o.Replicas < 1 || o.Replicas > MaxReplicas {
		return d, refuse("%d replicas: 1 … %d are possible", o.Replicas, MaxReplicas)
	}
	d.ReplicationFactor = o.Replicas
	return d, nil
}

// AddShards adds shards that own no slots yet. Migrations fill them.
type AddShards struct {
	Count int `json:"count"`
}

// Apply implements Op.
func (o AddShards) Apply(d Document) (Document, error) {
	if o.Count < 1 || o.Count > MaxShards-len(d.Shards) {
		return d, refuse("%d more shards: there are %d, and at most %d are possible", o.Count, len(d.Shards), MaxShards)
	}
	ring := NewRing(d.upNodes())
	if ring.Len() == 0 {
		return d, refuse("there is no node that could found a shard")
	}
	d = d.Clone()
	if d.LastShard > 1<<30 {
		return d, refuse("the numbers of shards are used up")
	}
	for range o.Count {
		d.LastShard++
		founder := ring.Place(d.LastShard, 1)
		d.Shards = append(d.Shards, Shard{ID: d.LastShard, Slots: []Range{}, Replicas: founder, Founder: founder[0]})
	}
	return d, nil
}

// RemoveShard removes a shard that owns no slots.
type RemoveShard struct {
	Shard uint32 `json:"shard"`
}

// Apply implements Op.
func (o RemoveShard) Apply(d Document) (Document, error) {
	s := d.Shard(o.Shard)
	switch {
	case s == nil:
		return d, refuse("there is no shard %d", o.Shard)
	case len(s.Slots) > 0:
		return d, refuse("shard %d owns %d slots: migrate them first", o.Shard, CountSlots(s.Slots))
	case d.moving(o.Shard) != nil:
		return d, refuse("move %d of shard %d is under way", d.moving(o.Shard).ID, o.Shard)
	}
	for _, m := range d.Migrations {
		if m.From == o.Shard || m.To == o.Shard {
			return d, refuse("migration %d of shard %d is under way", m.ID, o.Shard)
		}
	}
	d = d.Clone()
	d.Shards = slices.DeleteFunc(d.Shards, func(s Shard) bool { return s.ID == o.Shard })
	return d, nil
}

// SetBorn notes that the founder has started the shard's group.
type SetBorn struct {
	Shard uint32 `json:"shard"`
	Node  NodeID `json:"node"`
}

// Apply implements Op.
func (o SetBorn) Apply(d Document) (Document, error) {
	s := d.Shard(o.Shard)
	switch {
	case s == nil:
		return d, refuse("there is no shard %d", o.Shard)
	case s.Founder != o.Node:
		return d, refuse("shard %d is founded by node %s, not by %s", o.Shard, s.Founder, o.Node)
	case s.Born:
		return d, nil
	}
	d = d.Clone()
	d.Shard(o.Shard).Born = true
	return d, nil
}

// SetLeader notes who leads a shard. Terms only grow: what is said of an earlier one changes nothing. Whoever has come to
// lead is who should, from then on, if the leaders are spread no worse by that: to hand the leadership back would disturb
// clients a second time.
type SetLeader struct {
	Shard uint32 `json:"shard"`
	Node  NodeID `json:"node"`
	Term  uint64 `json:"term"`
}

// Apply implements Op.
func (o SetLeader) Apply(d Document) (Document, error) {
	s := d.Shard(o.Shard)
	switch {
	case s == nil:
		return d, refuse("there is no shard %d", o.Shard)
	case d.Node(o.Node) == nil:
		return d, refuse("node %s is no member", o.Node)
	case o.Term <= s.Term:
		return d, nil
	}
	d = d.Clone()
	s = d.Shard(o.Shard)
	s.Leader, s.Term = o.Node, o.Term
	at := slices.Index(s.Replicas[:VotersOf(len(s.Replicas))], o.Node)
	if at > 0 && !s.Pinned && d.moving(s.ID) == nil && d.Node(o.Node).State == NodeUp && d.shouldLead(o.Node) < d.shouldLead(s.Replicas[0]) {
		s.Replicas[0], s.Replicas[at] = s.Replicas[at], s.Replicas[0]
	}
	return d, nil
}

// shouldLead is how many shards a node should lead.
func (d *Document) shouldLead(id NodeID) (n int) {
	for i := range d.Shards {
		if d.Shards[i].Replicas[0] == id {
			n++
		}
	}
	return n
}
