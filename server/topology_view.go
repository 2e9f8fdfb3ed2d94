package server

import (
	"net"
	"slices"
	"strconv"

	"github.com/larder-db/larder/cluster"
)

// liveness is what this node has seen for itself of what a document only hints at.
type liveness struct {
	// leader is who leads a shard now and in which term; "" if nobody is known to.
	leader func(shard uint32) (node cluster.NodeID, term uint64)
	// down says that a node has not been heard of for a while.
	down func(node cluster.NodeID) bool
}

// mapOf is a view of the cluster's document as self tells it to clients.
func mapOf(v *cluster.View, self cluster.NodeID, seen liveness) *clusterMap {
	d := v.Document
	m := &clusterMap{ID: d.ClusterID, Epoch: v.Epoch(), Self: string(self)}
	for i := range d.Nodes {
		n := &d.Nodes[i]
		host, port := splitAddress(n.Client)
		_, securePort := splitAddress(n.Secure)
		_, peerPort := splitAddress(n.Peer)
		m.Nodes = append(m.Nodes, clusterNode{ID: string(n.ID), Host: host, Port: port, TLSPort: securePort, PeerPort: peerPort,
			Down: n.ID != self && (n.State == cluster.NodeGone || seen.down(n.ID))})
	}
	for i := range d.Shards {
		s := &d.Shards[i]
		shown := clusterShard{ID: s.ID, Slots: rangesOf(s.Slots), Leader: string(s.Leader), Term: s.Term,
			Voters: cluster.VotersOf(len(s.Replicas))}
		if leader, term := seen.leader(s.ID); leader != "" {
			shown.Leader, shown.Term, shown.Led = string(leader), term, true
		}
		if shown.Leader == "" && len(s.Replicas) > 0 {
			shown.Leader = string(s.Replicas[0])
		}
		for _, id := range s.Replicas {
			shown.Replicas = append(shown.Replicas, string(id))
		}
		if shown.Leader != "" && !slices.Contains(shown.Replicas, shown.Leader) { // it hands over before it goes
			shown.Replicas = append(shown.Replicas, shown.Leader)
		}
		m.Shards = append(m.Shards, shown)
	}
	for _, g := range d.Migrations {
		if g.State == cluster.MigrationCopying || g.State == cluster.MigrationOwned {
			m.Moves = append(m.Moves, slotMove{Slots: rangesOf(g.Slots), From: g.From, To: g.To})
		}
	}
	return m
}

func rangesOf(ranges []cluster.Range) []slotRange {
	out := make([]slotRange, len(ranges))
	for i, r := range ranges {
		out[i] = slotRange(r)
	}
	return out
}

// splitAddress takes host:port apart; what is none gives no port.
func splitAddress(addr string) (host string, port int) {
	host, digits, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, 0
	}
	port, err = strconv.Atoi(digits)
	if err != nil {
		return host, 0
	}
	return host, port
}

// topologyChanged tells whom it concerns that the map has changed: Sentinel's clients, and sessions that are away or wait
// for a leader. Whoever keeps the topology calls it, from any goroutine.
func (srv *Server) topologyChanged(before, after *clusterMap) {
	if len(before.Shards) == 0 || len(after.Shards) == 0 {
		return
	}
	a, b := &before.Shards[0], &after.Shards[0]
	if to := after.node(b.Leader); b.Led && to != nil {
		from := srv.announced.Swap(to)
		if from == nil { // nobody has been told of anybody
			from = before.node(a.Leader)
		}
		srv.leaderChanged(from, to)
	}
	if a.Leader != b.Leader || a.Led != b.Led {
		srv.leadershipMoved()
	}
}
