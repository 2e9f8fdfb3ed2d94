package cluster

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
)

// faults gathers what is wrong with something.
type faults []error

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok && len(*f) < 100 {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// Validate reports every fault of a document at once, the first hundred of them.
func (d *Document) Validate() error {
	var f faults
	f.check(isHexID(d.ClusterID), "the cluster's ID %.50q is not 40 hexadecimal digits", d.ClusterID)
	f.check(d.ReplicationFactor >= 1 && d.ReplicationFactor <= MaxReplicas,
		"the replication factor %d is not within 1 … %d", d.ReplicationFactor, MaxReplicas)
	f.check(len(d.Nodes) <= MaxNodes, "%d nodes, more than %d", len(d.Nodes), MaxNodes)
	f.check(len(d.Shards) <= MaxShards, "%d shards, more than %d", len(d.Shards), MaxShards)
	f.check(len(d.Moves) <= MaxMoves, "%d moves, more than %d", len(d.Moves), MaxMoves)
	f.check(len(d.Migrations) <= MaxMigrations, "%d migrations, more than %d", len(d.Migrations), MaxMigrations)
	if len(f) > 0 {
		return errors.Join(f...) // what follows goes by these bounds
	}
	d.validateNodes(&f)
	d.validateShards(&f)
	d.validateMoves(&f)
	d.validateMigrations(&f)
	return errors.Join(f...)
}

func (d *Document) validateNodes(f *faults) {
	f.check(len(d.Nodes) > 0, "there are no nodes")
	ids := map[NodeID]bool{}
	for i := range d.Nodes {
		n := &d.Nodes[i]
		f.check(!ids[n.ID], "node %s is there twice", n.ID)
		ids[n.ID] = true
		n.validate(f)
	}
	f.check(len(d.Voters)%2 == 1 && len(d.Voters) <= MaxMetaVoters,
		"%d voters of the meta group: an odd number up to %d is needed", len(d.Voters), MaxMetaVoters)
	d.validateMembers(f, "the meta group", d.Voters)
}

// Validate reports every fault of a node's description at once.
func (n *Node) Validate() error {
	var f faults
	n.validate(&f)
	return errors.Join(f...)
}

func (n *Node) validate(f *faults) {
	f.check(isHexID(string(n.ID)), "the node's ID %.50q is not 40 hexadecimal digits", n.ID)
	f.check(isAddress(n.Client), "node %.50s: the client address %.300q is not host:port", n.ID, n.Client)
	f.check(n.Secure == "" || isAddress(n.Secure), "node %.50s: the client address with TLS %.300q is not host:port", n.ID, n.Secure)
	f.check(isAddress(n.Peer), "node %.50s: the peer address %.300q is not host:port", n.ID, n.Peer)
	f.check(n.Admin == "" || isAddress(n.Admin), "node %.50s: the admin address %.300q is not host:port", n.ID, n.Admin)
	f.check(isText(n.Zone), "node %.50s: the zone %.300q is not plain text of up to %d bytes", n.ID, n.Zone, MaxText)
	f.check(isText(n.Release), "node %.50s: the release %.300q is not plain text of up to %d bytes", n.ID, n.Release, MaxText)
	f.check(n.FeatureLevel >= 1 && n.FeatureLevel <= 255, "node %.50s: the feature level %d is not within 1 … 255", n.ID, n.FeatureLevel)
	f.check(slices.Contains([]NodeState{NodeUp, NodeDraining, NodeGone}, n.State), "node %.50s: there is no state %.50q", n.ID, n.State)
}

// validateMembers checks a list of nodes.
func (d *Document) validateMembers(f *faults, whose string, list []NodeID) {
	for i, id := range list {
		f.check(d.Node(id) != nil, "%s: %.50q is no member", whose, id)
		f.check(!slices.Contains(list[:i], id), "%s: %s is there twice", whose, id)
	}
}

func (d *Document) validateShards(f *faults) {
	f.check(len(d.Shards) > 0, "there are no shards")
	ids := map[uint32]bool{}
	var owners [Slots]uint32
	for i := range d.Shards {
		s := &d.Shards[i]
		whose := fmt.Sprintf("shard %d", s.ID)
		f.check(s.ID != MetaGroup, "a shard has the number of the meta group")
		f.check(s.ID <= d.LastShard, "%s: its number has not been drawn yet", whose)
		f.check(!ids[s.ID], "%s is there twice", whose)
		ids[s.ID] = true
		f.check(len(s.Replicas) > 0 && len(s.Replicas) <= MaxReplicas, "%s: %d replicas, not 1 … %d", whose, len(s.Replicas), MaxReplicas)
		d.validateMembers(f, whose, s.Replicas)
		f.check(s.Born || slices.Contains(s.Replicas, s.Founder), "%s: its founder %.50q is none of its replicas", whose, s.Founder)
		validateRanges(f, whose, s.Slots)
		for _, r := range s.Slots {
			for slot := int(r.From); slot <= int(r.To) && slot < Slots; slot++ {
				if owners[slot] != 0 { // asked first: the arguments of each check are allocated
					f.check(false, "slot %d is owned by shard %d and by shard %d", slot, owners[slot], s.ID)
				}
				owners[slot] = s.ID
			}
		}
	}
	for slot, owner := range owners {
		if owner == 0 {
			f.check(false, "slot %d is owned by nobody", slot)
		}
	}
}

// validateRanges checks that ranges stand in order and leave a gap between one another.
func validateRanges(f *faults, whose string, ranges []Range) {
	for i, r := range ranges {
		f.check(r.From <= r.To && r.To < Slots, "%s: there are no slots %d to %d", whose, r.From, r.To)
		f.check(i == 0 || int(r.From) > int(ranges[i-1].To)+1, "%s: the slots from %d on do not stand in order, or adjoin", whose, r.From)
	}
}

func (d *Document) validateMoves(f *faults) {
	type place struct {
		shard uint32
		node  NodeID
	}
	ids, taken := map[uint64]bool{}, map[place]bool{}
	for _, m := range d.Moves {
		whose := fmt.Sprintf("move %d", m.ID)
		f.check(!ids[m.ID] && m.ID < d.NextID, "%s: its number is used twice, or not drawn yet", whose)
		ids[m.ID] = true
		s := d.Shard(m.Shard)
		f.check(s != nil, "%s: there is no shard %d", whose, m.Shard)
		f.check(m.From != "" || m.To != "", "%s: it moves nothing", whose)
		for _, id := range []NodeID{m.From, m.To} {
			f.check(id == "" || !taken[place{m.Shard, id}], "%s: another move of the shard is about %.50q", whose, id)
			taken[place{m.Shard, id}] = true
		}
		if s != nil {
			f.check(m.To == "" || slices.Contains(s.Replicas, m.To), "%s: %.50q is none of the shard's replicas", whose, m.To)
			f.check(m.From == "" || !slices.Contains(s.Replicas, m.From), "%s: %.50q is still one of the shard's replicas", whose, m.From)
		}
	}
}

func (d *Document) validateMigrations(f *faults) {
	ids := map[uint64]bool{}
	var taken [Slots]uint64
	for _, m := range d.Migrations {
		whose := fmt.Sprintf("migration %d", m.ID)
		f.check(!ids[m.ID] && m.ID < d.NextID, "%s: its number is used twice, or not drawn yet", whose)
		ids[m.ID] = true
		f.check(d.Shard(m.From) != nil && d.Shard(m.To) != nil, "%s: there is no shard %d, or no shard %d", whose, m.From, m.To)
		f.check(m.From != m.To, "%s: from a shard to itself", whose)
		f.check(len(m.Slots) > 0, "%s: it has no slots", whose)
		validateRanges(f, whose, m.Slots)
		owner, known := map[MigrationState]uint32{MigrationCopying: m.From, MigrationOwned: m.From,
			MigrationFlipped: m.To, MigrationCanceled: m.From}[m.State]
		f.check(known, "%s: there is no state %.50q", whose, m.State)
		if s := d.Shard(owner); s != nil {
			f.check(len(without(m.Slots, s.Slots)) == 0, "%s: shard %d does not own all of its slots", whose, owner)
		}
		for _, r := range m.Slots {
			for slot := int(r.From); slot <= int(r.To) && slot < Slots; slot++ {
				if taken[slot] != 0 {
					f.check(false, "slot %d is part of migration %d and of migration %d", slot, taken[slot], m.ID)
				}
				taken[slot] = m.ID
			}
		}
	}
}

// isHexID says whether s is 40 lower-case hexadecimal digits.
func isHexID(s string) bool {
	if len(s) != 40 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// isText says whether s can be shown and stored: printable ASCII, not too long.
func isText(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(s) <= MaxText
}

// isAddress says whether s is host:port. A port of 0 is that of a node that does not listen.
func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || !isText(s) {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}
