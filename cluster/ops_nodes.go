package cluster

import "slices"

// Join adds a node, or tells of a member's new addresses or release.
type Join struct {
	// ClusterID is the cluster that the node belongs to already; empty: none.
	ClusterID string `json:"cluster_id,omitempty"`
	Node      Node   `json:"node"`
	// Superseded are members whose peer address turned out to be this node's: their disks are gone, if the node is a new one.
	// A member that moved may only be the first to tell of its new address. The meta leader fills this in, nobody else.
	Superseded []NodeID `json:"superseded,omitempty"`
}

// Apply implements Op.
func (o Join) Apply(d Document) (Document, error) {
	n := o.Node
	n.State = NodeUp
	if o.ClusterID != "" && o.ClusterID != d.ClusterID {
		return d, refuse("the node belongs to another cluster, %.40s; this one is %s", o.ClusterID, d.ClusterID)
	}
	if err := n.Validate(); err != nil {
		return d, refuse("%v", err)
	}
	known := d.Node(n.ID)
	if known == nil && o.ClusterID != "" {
		return d, removal{refusal{"node " + string(n.ID) + " was removed from the cluster: to use its machine again, empty its data folder, and have it join anew"}}
	}
	if err := o.fits(&d, known); err != nil {
		return d, err
	}
	d = d.Clone()
	for _, id := range o.Superseded {
		if other := d.Node(id); other != nil && known == nil {
			other.State = NodeGone
		}
	}
	for _, other := range d.Nodes {
		if other.ID != n.ID && other.State != NodeGone && (other.Peer == n.Peer || other.Client == n.Client) {
			return d, refuse("node %s has the address %s or %s already", other.ID, n.Peer, n.Client)
		}
	}
	if known != nil {
		n.State = known.State
		*d.Node(n.ID) = n
		return d, nil
	}
	if len(d.Nodes) == MaxNodes {
		return d, refuse("there are %d nodes already", MaxNodes)
	}
	d.Nodes = append(d.Nodes, n)
	return d, nil
}

// fits says whether the node's release can work with those of the others. A new node has the members' feature level. A
// member may come back with a higher one, as in a rolling upgrade, but not with one below another member's, whose
// entries it could not apply.
func (o Join) fits(d *Document, known *Node) error {
	for _, other := range d.Nodes {
		if other.ID == o.Node.ID || other.State == NodeGone {
			continue
		}
		if o.Node.FeatureLevel < other.FeatureLevel || known == nil && o.Node.FeatureLevel > other.FeatureLevel {
			return refuse("the node's release %q has feature level %d, node %s with release %q has level %d: they do not match",
				o.Node.Release, o.Node.FeatureLevel, other.ID, other.Release, other.FeatureLevel)
		}
	}
	return nil
}

// Drain has a node's replicas moved to others. One that is gone keeps a place for as long as nobody can take it: drained, it
// gives up its vote in the meta group all the same, and can be removed.
type Drain struct {
	Node NodeID `json:"node"`
}

// Apply implements Op.
func (o Drain) Apply(d Document) (Document, error) {
	n := d.Node(o.Node)
	if n == nil {
		return d, refuse("node %.40s is no member", o.Node)
	}
	if n.State == NodeDraining || n.State == NodeGone && d.taken(n) { // who is superseded goes by himself
		return d, nil
	}
	left := len(d.upNodes())
	if n.State == NodeUp {
		left--
	}
	if left == 0 {
		return d, refuse("node %s is the last one: nothing could take its replicas", o.Node)
	}
	for _, s := range d.Shards {
		if len(s.Replicas) > left {
			return d, refuse("%d nodes would be left, and shard %d has %d replicas: add a node, or lower the number of replicas first",
				left, s.ID, len(s.Replicas))
		}
	}
	d = d.Clone()
	d.Node(o.Node).State = NodeDraining
	return d, nil
}

// Undrain takes a node into use again.
type Undrain struct {
	Node NodeID `json:"node"`
}

// Apply implements Op.
func (o Undrain) Apply(d Document) (Document, error) {
	n := d.Node(o.Node)
	if n == nil {
		return d, refuse("node %.40s is no member", o.Node)
	}
	if n.State != NodeDraining {
		return d, nil
	}
	d = d.Clone()
	d.Node(o.Node).State = NodeUp
	return d, nil
}

// Remove takes a node that has nothing any more out of the cluster.
type Remove struct {
	Node NodeID `json:"node"`
}

// Apply implements Op.
func (o Remove) Apply(d Document) (Document, error) {
	if d.Node(o.Node) == nil {
		return d, refuse("node %.40s is no member", o.Node)
	}
	if err := d.removable(o.Node); err != nil {
		return d, err
	}
	d = d.Clone()
	d.Nodes = slices.DeleteFunc(d.Nodes, func(n Node) bool { return n.ID == o.Node })
	for i := range d.Shards {
		if s := &d.Shards[i]; s.Leader == o.Node {
			s.Leader = ""
		}
	}
	return d, nil
}

// removable gives the reason why a node cannot be removed; nil: it can.
func (d *Document) removable(id NodeID) error {
	if len(d.Nodes) == 1 {
		return refuse("node %s is the last one", id)
	}
	for _, s := range d.Shards {
		switch {
		case !slices.Contains(s.Replicas, id):
		case len(s.Replicas) == 1:
			return refuse("node %s has the only replica of shard %d: drain the node first", id, s.ID)
		default:
			return refuse("node %s has a replica of shard %d: drain the node first", id, s.ID)
		}
	}
	for _, m := range d.Moves {
		if m.From == id {
			return refuse("move %d takes a replica of shard %d away from node %s and is still under way", m.ID, m.Shard, id)
		}
	}
	if slices.Contains(d.Voters, id) {
		if len(d.Voters) == 1 {
			return refuse("node %s is the last voter of the meta group", id)
		}
		return refuse("node %s votes in the meta group: drain the node first", id)
	}
	return nil
}

// taken says that another node is where this one was.
func (d *Document) taken(n *Node) bool {
	return slices.ContainsFunc(d.Nodes, func(o Node) bool { return o.ID != n.ID && o.State != NodeGone && o.Peer == n.Peer })
}

// upNodes are the nodes that may have replicas.
func (d *Document) upNodes() []Node {
	return slices.DeleteFunc(slices.Clone(d.Nodes), func(n Node) bool { return n.State != NodeUp })
}
