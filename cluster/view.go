package cluster

// View is a document compiled for routing. It never changes, and may be read by any goroutine; what it points to must
// not be changed.
type View struct {
	Document *Document

	owner     [Slots]uint16 // place in Document.Shards, plus one; 0: nobody
	migrating [Slots]uint16 // place in Document.Migrations, plus one; 0: it stays
	nodes     map[NodeID]*Node
	shards    map[uint32]*Shard
}

// NewView compiles a document, which must not be changed any more.
func NewView(d *Document) *View {
	v := &View{Document: d, nodes: make(map[NodeID]*Node, len(d.Nodes)), shards: make(map[uint32]*Shard, len(d.Shards))}
	for i := range d.Nodes {
		v.nodes[d.Nodes[i].ID] = &d.Nodes[i]
	}
	for i := range d.Shards {
		s := &d.Shards[i]
		v.shards[s.ID] = s
		fill(&v.owner, s.Slots, i)
	}
	for i := range d.Migrations {
		if m := &d.Migrations[i]; m.State == MigrationCopying || m.State == MigrationOwned {
			fill(&v.migrating, m.Slots, i)
		}
	}
	return v
}

func fill(table *[Slots]uint16, ranges []Range, place int) {
	for _, r := range ranges {
		for slot := int(r.From); slot <= int(r.To) && slot < Slots; slot++ {
			table[slot] = uint16(place + 1)
		}
	}
}

// Epoch is the document's.
func (v *View) Epoch() uint64 { return v.Document.Epoch }

// Node finds a node; nil: there is none.
func (v *View) Node(id NodeID) *Node { return v.nodes[id] }

// Shard finds a shard; nil: there is none.
func (v *View) Shard(id uint32) *Shard { return v.shards[id] }

// Owner is the shard that owns a slot, by the map; nil: none does.
func (v *View) Owner(slot uint16) *Shard {
	if slot >= Slots || v.owner[slot] == 0 {
		return nil
	}
	return &v.Document.Shards[v.owner[slot]-1]
}

// Migrating is the migration that takes a slot away from its owner; nil: it stays.
func (v *View) Migrating(slot uint16) *Migration {
	if slot >= Slots || v.migrating[slot] == 0 {
		return nil
	}
	return &v.Document.Migrations[v.migrating[slot]-1]
}

// Leader is the node that led a shard when last heard of or, while nobody has been heard of, the one that should; nil:
// neither is a member.
func (v *View) Leader(s *Shard) *Node {
	if n := v.nodes[s.Leader]; n != nil {
		return n
	}
	if len(s.Replicas) == 0 {
		return nil
	}
	return v.nodes[s.Replicas[0]]
}

// Address is the peer address of a node, as its place in a group's configuration is dialled by; empty: it is no member.
func (v *View) Address(id NodeID) string {
	if n := v.nodes[id]; n != nil {
		return n.Peer
	}
	return ""
}
