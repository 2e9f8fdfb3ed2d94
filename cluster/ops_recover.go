package cluster

import "slices"

// Recover makes a node that has survived the loss of the meta group's majority the only one of a new cluster, which goes on
// with what the node holds. It cannot be asked for over the network: nobody could decide about it (server/recover.go).
type Recover struct {
	// ClusterID is the new cluster's: nodes of the old one are strangers to it, whatever they still agree on.
	ClusterID string
	Self      NodeID
	// Held are the shards of which the node has a replica. The others begin again, empty.
	Held []uint32
}

// Apply implements Op.
func (o Recover) Apply(d Document) (Document, error) {
	if d.Node(o.Self) == nil {
		return d, refuse("node %.40s is no member", o.Self)
	}
	if d.ClusterID == o.ClusterID {
		return d, nil
	}
	d = d.Clone()
	d.ClusterID = o.ClusterID
	self := *d.Node(o.Self)
	self.State = NodeUp
	d.Nodes, d.Voters, d.Moves = []Node{self}, []NodeID{o.Self}, nil
	for i := range d.Shards {
		s := &d.Shards[i]
		s.Replicas, s.Pinned, s.Leader = []NodeID{o.Self}, false, ""
		if !slices.Contains(o.Held, s.ID) {
			s.Founder, s.Born, s.Term = o.Self, false, 0
		}
	}
	for i := range d.Migrations {
		m := &d.Migrations[i]
		switch {
		case m.State != MigrationOwned:
		case !slices.Contains(o.Held, m.To): // what it was to own, the source has still
			m.State = MigrationCanceled
		case !slices.Contains(o.Held, m.From): // or it would begin again with slots that the target has
			d.flip(m)
		}
	}
	return d, nil
}
