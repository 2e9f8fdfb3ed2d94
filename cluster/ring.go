package cluster

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/zeebo/xxh3"
)

// virtualNodes is how many points of the ring each node has.
const virtualNodes = 128

// Ring is a consistent-hash ring of nodes. A shard is a point on it, and its replicas are the next nodes from there on;
// so a node that comes or goes changes only the places that it takes or leaves. It never changes, and depends on the set
// of nodes alone.
type Ring struct {
	nodes  []Node
	points []ringPoint
}

type ringPoint struct {
	at   uint64
	node int // place in nodes
}

// NewRing makes the ring of nodes.
func NewRing(nodes []Node) *Ring {
	r := &Ring{nodes: slices.Clone(nodes), points: make([]ringPoint, 0, len(nodes)*virtualNodes)}
	slices.SortFunc(r.nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	for i, n := range r.nodes {
		for v := range virtualNodes {
			r.points = append(r.points, ringPoint{xxh3.HashString(string(n.ID) + "/" + strconv.Itoa(v)), i})
		}
	}
	slices.SortFunc(r.points, func(a, b ringPoint) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.node, b.node))
	})
	return r
}

// Len is how many nodes the ring has.
func (r *Ring) Len() int { return len(r.nodes) }

// Place returns the nodes for a shard's replicas, n of them or all there are, in the order of the ring from the shard's
// point on. While there are zones without a replica, nodes of other zones are passed over.
func (r *Ring) Place(shard uint32, n int) []NodeID { return r.place(shard, n, nil) }

// Fill adds nodes to those that a shard is to keep until there are n, or no more.
func (r *Ring) Fill(shard uint32, n int, keep []NodeID) []NodeID { return r.place(shard, n, keep) }

func (r *Ring) place(shard uint32, n int, keep []NodeID) []NodeID {
	out := slices.Clone(keep)
	order := r.order(shard)
	zones := map[string]bool{}
	for _, node := range order {
		if slices.Contains(keep, node.ID) {
			zones[node.Zone] = true
		}
	}
	for _, apart := range []bool{true, false} {
		for _, node := range order {
			if len(out) >= n {
				return out
			}
			if slices.Contains(out, node.ID) || apart && zones[node.Zone] {
				continue
			}
			zones[node.Zone] = true
			out = append(out, node.ID)
		}
	}
	return out
}

// order is all nodes in the order of the ring from the shard's point on.
func (r *Ring) order(shard uint32) []*Node {
	at := xxh3.HashString("shard/" + strconv.FormatUint(uint64(shard), 10))
	first, _ := slices.BinarySearchFunc(r.points, at, func(p ringPoint, at uint64) int { return cmp.Compare(p.at, at) })
	seen := make([]bool, len(r.nodes))
	var out []*Node
	for i := range r.points {
		p := r.points[(first+i)%len(r.points)]
		if !seen[p.node] {
			seen[p.node] = true
			if out = append(out, &r.nodes[p.node]); len(out) == len(r.nodes) {
				break
			}
		}
	}
	return out
}
