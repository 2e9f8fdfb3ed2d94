package server

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"
)

// topology is what the commands about the cluster know of it, and may ask of it. Any goroutine may call its methods, and
// none but Transfer blocks.
type topology interface {
	// Map is the cluster as this node knows it. It never changes: a change is another map.
	Map() *clusterMap
	// Progress tells how far the replicas of a shard are. Only its leader knows of the others; elsewhere Replicas is empty.
	Progress(shard uint32) shardProgress
	// Transfer hands the leadership of a shard to one of its voters, with "" to the one that is furthest, and returns when
	// that node leads, or why it does not.
	Transfer(ctx context.Context, shard uint32, to string) error
}

// clusterMap is who is there, who owns which slots, and who leads.
type clusterMap struct {
	ID     string // of the cluster, 40 hexadecimal digits
	Epoch  uint64 // grows with every change
	Self   string // this node's ID
	Nodes  []clusterNode
	Shards []clusterShard
	Moves  []slotMove
}

// clusterNode is one node.
type clusterNode struct {
	ID       string // 40 hexadecimal digits
	Host     string // where clients reach it
	Hostname string // empty: it has none
	Port     int    // 0: none
	TLSPort  int    // 0: none
	PeerPort int
	Down     bool // it has not been heard of for a while
}

// clusterShard is one shard.
type clusterShard struct {
	ID       uint32
	Slots    []slotRange // in ascending order
	Leader   string      // the node that leads, or did when last heard of; empty: nobody has been heard of
	Led      bool        // Leader leads now, as far as this node knows
	Term     uint64      // of the leadership
	Replicas []string    // the nodes that hold it, the leader included
	Voters   int         // how many of them vote, the first ones
}

// slotRange is the slots from From to To, both included.
type slotRange struct{ From, To uint16 }

// slotMove is slots on their way to another shard.
type slotMove struct {
	Slots    []slotRange
	From, To uint32
}

// shardProgress is how far a shard's replicas are. Positions are indexes of the shard's log.
type shardProgress struct {
	Applied  uint64 // by this node; commands alone count
	Log      uint64 // up to where this node has the log
	Replicas []replicaProgress
}

// replicaProgress is how far another node's replica is.
type replicaProgress struct {
	Node    string
	Held    uint64        // acknowledged up to here, as appendfsync says
	Synced  uint64        // on stable storage up to here
	Behind  time.Duration // since it was heard of last
	Online  bool
	Learner bool // it has no vote, and cannot lead
}

// offset is the place in the shard's log that this node shows as its own.
func (p *shardProgress) offset() int64 { return int64(max(p.Applied, p.Log)) }

func (m *clusterMap) node(id string) *clusterNode {
	for i := range m.Nodes {
		if m.Nodes[i].ID == id {
			return &m.Nodes[i]
		}
	}
	return nil
}

// shardOf is the shard by which a node is shown where it can have one only: the first that it leads, or else holds.
func (m *clusterMap) shardOf(node string) *clusterShard {
	var held *clusterShard
	for i := range m.Shards {
		s := &m.Shards[i]
		if s.Leader == node {
			return s
		}
		if held == nil && s.holds(node) {
			held = s
		}
	}
	return held
}

// own is the shard by which this node is shown, and whether the node leads it.
func (m *clusterMap) own() (s *clusterShard, leads bool) {
	s = m.shardOf(m.Self)
	return s, s != nil && s.leads(m.Self)
}

// leaderOf is who leads a shard, or did when last heard of; empty: nobody is known. This node itself knows that it does not
// lead any more.
func (m *clusterMap) leaderOf(s *clusterShard) string {
	if s.Leader == m.Self && !s.Led {
		return ""
	}
	return s.Leader
}

// leads says whether a node leads now, as far as is known.
func (s *clusterShard) leads(node string) bool { return s.Led && s.Leader == node }

func (s *clusterShard) holds(node string) bool {
	for _, id := range s.Replicas {
		if id == node {
			return true
		}
	}
	return false
}

// members are the nodes that hold the shard, its leader first.
func (m *clusterMap) members(s *clusterShard) []*clusterNode {
	var list []*clusterNode
	if n := m.node(s.Leader); n != nil {
		list = append(list, n)
	}
	for _, id := range s.Replicas {
		if n := m.node(id); n != nil && id != s.Leader {
			list = append(list, n)
		}
	}
	return list
}

// present are the members of a shard that answer, and its leader in any case.
func (m *clusterMap) present(s *clusterShard) []*clusterNode {
	return slices.DeleteFunc(m.members(s), func(n *clusterNode) bool { return n.Down && n.ID != s.Leader })
}

// countSlots is the number of slots.
func countSlots(ranges []slotRange) (n int) {
	for _, r := range ranges {
		n += int(r.To) - int(r.From) + 1
	}
	return n
}

// port is the port that a client of this kind of connection is told.
func (n *clusterNode) port(secure bool) int {
	if secure && n.TLSPort != 0 || n.Port == 0 {
		return n.TLSPort
	}
	return n.Port
}

// identity is a name of 40 hexadecimal digits for a shard: the same on every node, and for as long as the cluster lives.
func (m *clusterMap) identity(s *clusterShard) string {
	sum := sha1.Sum(fmt.Appendf(nil, "%s shard %d", m.ID, s.ID)) // a name, no secret
	return hex.EncodeToString(sum[:])
}

// hostPort is a node's address for show.
func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// role is that of the shard by which this node is shown, as HELLO has it.
func (srv *Server) role() string {
	m := srv.topology.Map()
	if own := m.shardOf(m.Self); own == nil || own.leads(m.Self) {
		return "master"
	}
	return "replica"
}
