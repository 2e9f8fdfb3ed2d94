package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/raftfsm/peer"
	"github.com/larder-db/larder/server/config"
)

// Map implements topology: the document, and what this node's own replicas know better.
func (m *member) Map() *clusterMap {
	v := m.view()
	if v == nil {
		d := cluster.Document{ClusterID: m.id.Cluster, Nodes: []cluster.Node{m.self()}}
		v = cluster.NewView(&d)
	}
	return mapOf(v, cluster.NodeID(m.id.Node), liveness{
		leader: func(id uint32) (cluster.NodeID, uint64) { return m.leaderOf(v, id) },
		down:   m.silent(),
	})
}

// leaderOf is who leads a shard, as this node's replica knows, or else as the document says.
func (m *member) leaderOf(v *cluster.View, id uint32) (cluster.NodeID, uint64) {
	if sh := m.node.shard(id); sh != nil {
		_, leader := sh.group.Leader()
		return cluster.NodeID(leader), sh.group.Stats().Term
	}
	if s := v.Shard(id); s != nil {
		return s.Leader, s.Term
	}
	return "", 0
}

// Progress implements topology.
func (m *member) Progress(id uint32) shardProgress {
	sh := m.node.shard(id)
	if sh == nil {
		return shardProgress{}
	}
	p := shardProgress{Applied: sh.engine.AppliedIndex()}
	if !sh.group.IsSoleVoter() { // whose offset is compared with others'
		p.Log = sh.group.LastIndex()
	}
	always := m.node.config.Load().AppendFsync == config.FsyncAlways
	for _, f := range sh.group.Followers() {
		r := replicaProgress{Node: string(f.ID), Held: f.Match, Behind: f.Silent, Online: f.Silent < followerSilence, Learner: f.Suffrage != raft.Voter}
		if always { // else nobody tells when a follower has synced
			r.Synced = f.Match
		}
		p.Replicas = append(p.Replicas, r)
	}
	return p
}

// Transfer implements topology. The shard's leader is asked to hand over, until it has or ctx ends; another node's by way of the
// control API. The document says first who is to lead, since else the leader would give the shard back; if nothing comes of
// it, the document says again what it did, so that the leadership does not move when nobody thinks of it any more.
func (m *member) Transfer(ctx context.Context, id uint32, to string) error {
	v := m.view()
	if v == nil {
		return cluster.ErrNoDocument
	}
	sh, s := m.node.shard(id), v.Shard(id)
	if s == nil {
		return fmt.Errorf("there is no shard %d", id)
	}
	if to == "" && sh != nil && s.Pinned { // an operator's choice is followed by another
		if f := sh.group.Furthest(); f != nil {
			to = string(f.ID)
		}
	}
	if to == "" {
		return m.handOverUntil(ctx, id, to)
	}
	_, err := m.meta.Load().Do(ctx, cluster.PreferLeader{Shard: id, Node: cluster.NodeID(to)})
	refused := errors.Is(err, cluster.ErrRefused)
	if err == nil || refused {
		err = m.handOverUntil(ctx, id, to)
	}
	if before := s.Replicas[0]; err != nil && !refused && before != cluster.NodeID(to) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transferPatience)
		defer cancel()
		if _, undo := m.meta.Load().Do(ctx, cluster.PreferLeader{Shard: id, Node: before}); undo != nil {
			err = errors.Join(err, fmt.Errorf("it may still come to lead: %w", undo))
		}
	}
	return err
}

// handOverUntil asks the shard's leader to hand over, again and again: the other may have to catch up, and the leader, which
// follows the document too, may be faster than it is asked.
func (m *member) handOverUntil(ctx context.Context, id uint32, to string) error {
	first := cluster.NodeID("")
	for {
		v := m.view()
		leader, _ := m.leaderOf(v, id)
		if first == "" {
			first = leader
		}
		if leader != "" && (leader == cluster.NodeID(to) || to == "" && leader != first) {
			return nil
		}
		err := m.handOver(ctx, v, m.node.shard(id), id, to)
		if err == nil || errors.Is(err, cluster.ErrRefused) {
			return err
		}
		select {
		case <-time.After(surePause):
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// handOver asks a shard's leader to hand over; sh is the replica here, or nil.
func (m *member) handOver(ctx context.Context, v *cluster.View, sh *shard, id uint32, to string) error {
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
	return m.client.Transfer(ctx, at, id, cluster.NodeID(to))
}

// startForwarding has the sessions of a node that is no leader reach the one that is. A node that has nobody else is none for a
// moment, too, when its disk is full: its sessions wait until it leads again.
func (srv *Server) startForwarding() error {
	m := srv.node.member
	if srv.node.clustered {
		return nil
	}
	f := newForwarding(m.id.Node, srv.log)
	f.leads = func() bool {
		sh := srv.node.routing.Load().sole
		return sh != nil && sh.group.CanRead()
	}
	f.leader = func() string {
		v := m.view()
		if v == nil || len(v.Document.Shards) == 0 {
			return ""
		}
		leader, _ := m.leaderOf(v, v.Document.Shards[0].ID)
		return string(leader)
	}
	f.dial = func(ctx context.Context, node string) (net.Conn, error) {
		v := m.view()
		if v == nil || v.Address(cluster.NodeID(node)) == "" || m.endpoint == nil {
			return nil, fmt.Errorf("the address of node %.40s is not known", node)
		}
		return m.endpoint.DialNode(ctx, v.Address(cluster.NodeID(node)), node, peer.Service{Kind: peer.Forward})
	}
	f.adopt = srv.net.Adopt
	srv.forwarding = f
	if m.endpoint == nil {
		return nil
	}
	return srv.serveForwarded(m.endpoint.Serve(peer.Service{Kind: peer.Forward}))
}

// leaderLook is how often the server looks whether its one shard has another leader.
const leaderLook = 50 * time.Millisecond

// followTopology tells clients of changes of the map.
func (srv *Server) followTopology(ctx context.Context, known topology) {
	look := time.NewTicker(leaderLook)
	defer look.Stop()
	before := known.Map()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		after := known.Map()
		srv.topologyChanged(before, after)
		before = after
	}
}
