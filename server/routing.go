package server

import (
	"slices"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/cluster"
)

// routing says where commands are run. One is never changed: the node swaps it for another, and sessions look at it anew
// for every command, so that a shard which is in no routing any more gets no command.
type routing struct {
	sole    *shard // of all slots, where clients are not redirected; nil: slots decide
	owners  []owner
	slots   [cluster.Slots]uint16   // place in owners; the first is nobody
	clients map[raft.ServerID]reach // where clients reach the nodes
	self    reach                   // and this one
	takers  []taker

	view *cluster.View // what it was made of
	list *[]*shard
}

// owner is a shard as routing sees it.
type owner struct {
	shard  uint32
	local  *shard // the replica here, or nil
	leader reach  // the node that led it when last heard of; zero: nobody has been heard of
}

// reach is where clients reach a node, host:port.
type reach struct {
	plain  string
	secure string // with TLS, if it is elsewhere
}

func reachOf(n *cluster.Node) reach { return reach{n.Client, n.Secure} }

// by is the address for a client that has come with TLS, or without.
func (a reach) by(secure bool) string {
	if secure && a.secure != "" {
		return a.secure
	}
	return a.plain
}

// nobody is the place among owners that has no shard.
const nobody = 0

// soleRouting has one shard run everything.
func soleRouting(sh *shard) *routing { return &routing{sole: sh, owners: make([]owner, 1)} }

// reroute has commands run by the document's map, as far as there is one, and by what is open here. It may be called while
// shards open and close: a routing that was made of what is not so any more is not put in the place of a newer one.
func (n *node) reroute(view func() *cluster.View, self cluster.NodeID) {
	for {
		now := n.routing.Load()
		v, list := view(), n.shards.Load() // behind it: a shard leaves the list before it leaves the routing
		if now.view == v && now.list == list {
			return
		}
		var r *routing
		if n.clustered && v != nil {
			r = viewRouting(v, *list, self)
		} else {
			r = soleRouting(nil)
			if !n.clustered && len(*list) == 1 {
				r.sole = (*list)[0]
			}
		}
		r.view, r.list = v, list
		if n.routing.CompareAndSwap(now, r) {
			return
		}
	}
}

// viewRouting is the cluster's slot map, with the shards that are open here.
func viewRouting(v *cluster.View, local []*shard, self cluster.NodeID) *routing {
	r := &routing{owners: make([]owner, 1, len(v.Document.Shards)+1), clients: make(map[raft.ServerID]reach, len(v.Document.Nodes))}
	for i := range v.Document.Nodes {
		n := &v.Document.Nodes[i]
		r.clients[raft.ServerID(n.ID)] = reachOf(n)
	}
	r.self = r.clients[raft.ServerID(self)]
	for i := range v.Document.Shards {
		s := &v.Document.Shards[i]
		o := owner{shard: s.ID}
		if n := v.Leader(s); n != nil {
			o.leader = reachOf(n)
		}
		for _, sh := range local {
			if sh.id == s.ID {
				o.local = sh
			}
		}
		r.owners = append(r.owners, o)
		for _, span := range s.Slots {
			for slot := int(span.From); slot <= int(span.To) && slot < cluster.Slots; slot++ {
				r.slots[slot] = uint16(len(r.owners) - 1)
			}
		}
	}
	for _, m := range v.Document.Migrations {
		for _, sh := range local {
			if sh.id == m.To && (m.State == cluster.MigrationCopying || m.State == cluster.MigrationOwned) {
				r.takers = append(r.takers, taker{m.Slots, sh})
			}
		}
	}
	return r
}

// without is the routing without a shard that is about to close.
func (r *routing) without(sh *shard) *routing {
	next := *r
	if next.sole == sh {
		next.sole = nil
	}
	next.owners = append([]owner(nil), r.owners...)
	next.takers = slices.DeleteFunc(slices.Clone(r.takers), func(t taker) bool { return t.shard == sh })
	for i := range next.owners {
		if next.owners[i].local == sh {
			next.owners[i].local = nil
		}
	}
	return &next
}

// leaderOf is where clients reach the leader of a shard that this node does not lead; zero: it is not known. A voter here that
// has lost the leader knows better than the document, which names that one until there is another.
func (r *routing) leaderOf(o *owner) reach {
	address := o.leader
	if o.local != nil {
		switch _, id := o.local.group.Leader(); {
		case id == "" && o.local.group.Votes():
			return reach{}
		case r.clients[id] != (reach{}):
			address = r.clients[id]
		}
	}
	if address == r.self {
		return reach{}
	}
	return address
}

// led lists the shards here that this node leads.
func (r *routing) led() (list []*shard) {
	for i := range r.owners {
		if sh := r.owners[i].local; sh != nil && sh.leads() {
			list = append(list, sh)
		}
	}
	return list
}

// setRouting has commands run where r says.
func (n *node) setRouting(r *routing) { n.routing.Store(r) }

// unroute keeps commands from a shard that is about to close.
func (n *node) unroute(sh *shard) {
	for {
		r := n.routing.Load()
		if r == nil || n.routing.CompareAndSwap(r, r.without(sh)) {
			return
		}
	}
}

// leads says whether this node leads the shard, as far as it knows.
func (sh *shard) leads() bool { return sh.group.State() == raft.Leader }
