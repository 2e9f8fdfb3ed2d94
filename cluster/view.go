package cluster

// View is a document whose nodes and shards are found at once. It never changes, and may be read by any goroutine; what it
// points to must not be changed.
type View struct {
	Document *Document

	nodes  map[NodeID]*Node
	shards map[uint32]*Shard
}

// NewView makes the view of a document, which must not be changed any more.
func NewView(d *Document) *View {
	v := &View{Document: d, nodes: make(map[NodeID]*Node, len(d.Nodes)), shards: make(map[uint32]*Shard, len(d.Shards))}
	for i := range d.Nodes {
		v.nodes[d.Nodes[i].ID] = &d.Nodes[i]
	}
	for i := range d.Shards {
		v.shards[d.Shards[i].ID] = &d.Shards[i]
	}
	return v
}

// Epoch is the document's.
func (v *View) Epoch() uint64 { return v.Document.Epoch }

// Node finds a node; nil: there is none.
func (v *View) Node(id NodeID) *Node { return v.nodes[id] }

// Shard finds a shard; nil: there is none.
func (v *View) Shard(id uint32) *Shard { return v.shards[id] }

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
