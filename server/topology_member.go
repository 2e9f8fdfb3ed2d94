package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/raftfsm"
)

// Map implements topology: the document, and what this node's own replicas know better.
func (m *member) Map() *clusterMap {
	v := m.view()
	if v == nil {
		return &clusterMap{ID: m.id.Cluster, Self: m.id.Node, Nodes: []clusterNode{m.shown(m.self())}}
	}
	d := v.Document
	c := &clusterMap{ID: d.ClusterID, Epoch: d.Epoch, Self: m.id.Node}
	for _, n := range d.Nodes {
		c.Nodes = append(c.Nodes, m.shown(n))
	}
	for i := range d.Shards {
		s := &d.Shards[i]
		shown := clusterShard{ID: s.ID, Leader: string(s.Leader), Term: s.Term, Led: s.Leader != ""}
		for _, r := range s.Slots {
			shown.Slots = append(shown.Slots, slotRange(r))
		}
		for _, r := range s.Replicas {
			shown.Replicas = append(shown.Replicas, string(r))
		}
		if sh := m.node.shard(s.ID); sh != nil {
			_, leader := sh.group.Leader()
			shown.Leader, shown.Led, shown.Term = string(leader), leader != "", max(shown.Term, sh.group.Stats().Term)
		}
		c.Shards = append(c.Shards, shown)
	}
	for _, g := range d.Migrations {
		move := slotMove{From: g.From, To: g.To}
		for _, r := range g.Slots {
			move.Slots = append(move.Slots, slotRange(r))
		}
		c.Moves = append(c.Moves, move)
	}
	return c
}

// shown is a node of the document as clients are shown it.
func (m *member) shown(n cluster.Node) clusterNode {
	host, port := splitAddress(n.Client)
	_, peerPort := splitAddress(n.Peer)
	return clusterNode{ID: string(n.ID), Host: host, Port: port, PeerPort: peerPort, Down: n.State == cluster.NodeGone}
}

func splitAddress(a string) (host string, port int) {
	host, p, err := net.SplitHostPort(a)
	if err != nil {
		return "", 0 // the document's addresses are checked
	}
	port, _ = strconv.Atoi(p)
	return host, port
}

// Progress implements topology.
func (m *member) Progress(id uint32) shardProgress {
	sh := m.node.shard(id)
	if sh == nil {
		return shardProgress{}
	}
	p := shardProgress{Applied: sh.engine.AppliedIndex()}
	for _, f := range sh.group.Followers() {
		p.Replicas = append(p.Replicas, replicaProgress{
			Node: string(f.ID), Held: f.Match, Synced: f.Match, Behind: f.Silent, Online: f.Silent < followerSilence,
		})
	}
	return p
}

// followerSilence is how long a follower may not answer and still counts as online.
const followerSilence = 2 * time.Second

// Transfer implements topology. The shard's leader is asked to hand over; another node's by way of the control API.
func (m *member) Transfer(ctx context.Context, id uint32, to string) error {
	v := m.view()
	if v == nil {
		return cluster.ErrNoDocument
	}
	sh := m.node.shard(id)
	if sh != nil && sh.group.CanRead() {
		if to == "" {
			return sh.group.TransferToFurthest()
		}
		return sh.group.TransferLeadership(raft.ServerID(to), raft.ServerAddress(v.Address(cluster.NodeID(to))))
	}
	leader := cluster.NodeID("")
	if sh != nil {
		_, known := sh.group.Leader()
		leader = cluster.NodeID(known)
	} else if s := v.Shard(id); s != nil {
		leader = s.Leader
	}
	at := v.Address(leader)
	if at == "" {
		return fmt.Errorf("shard %d: %w", id, raftfsm.ErrNotLeader)
	}
	if to == "" {
		return errors.New("only the shard's leader can choose who follows it")
	}
	return m.client.Transfer(ctx, at, id, cluster.NodeID(to))
}
