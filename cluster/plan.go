package cluster

import (
	"slices"
	"time"
)

// Planner is what the meta leader changes by itself, on every change of the document and from time to time: which nodes
// are gone, who votes in the meta group, where replicas are to be, who should lead.
//
// All shards that are not pinned are to be where the ring has them; of pinned ones only those replicas move whose node is
// leaving or gone. A replica is never given up before there is a node for its successor: of three nodes one that is gone
// keeps its place in the shards until a fourth comes.
type Planner struct {
	// ReplaceAfter is how long a node may be silent before it is gone; 0: for ever.
	ReplaceAfter time.Duration
	// Seen is within what time a node has been heard of that is given a replica.
	Seen time.Duration
	// MaxMoves is how many shards' replicas are moved at the same time.
	MaxMoves int
}

// EnsureDefaults fills in what was left out.
func (p *Planner) EnsureDefaults() {
	if p.Seen == 0 {
		p.Seen = 5 * time.Second
	}
	if p.ReplaceAfter > 0 {
		p.Seen = min(p.Seen, p.ReplaceAfter) // or a node would be gone and back at the same time
	}
	if p.MaxMoves == 0 {
		p.MaxMoves = 8
	}
}

// Silence is how long each node has not been heard of. Nodes that it does not have are taken to be well.
type Silence map[NodeID]time.Duration

// Plan returns the document as it should be. now is in Unix milliseconds. It is a pure function, and what it returns it
// leaves as it is when asked again, unless moves were held back.
func (p *Planner) Plan(d Document, silence Silence, now int64) (Document, error) {
	w := planning{Planner: p, d: d.Clone(), silence: silence, now: now}
	w.nodes()
	w.ring = NewRing(w.d.upNodes())
	if w.ring.Len() == 0 {
		return w.d, nil // whoever holds something keeps it
	}
	w.voters()
	w.keep()
	w.redirect()
	w.shards()
	w.leaders()
	return w.d, nil
}

// planning is one run of the planner.
type planning struct {
	*Planner
	d       Document
	silence Silence
	now     int64
	ring    *Ring
}

// nodes notes who is gone and who is back, and forgets those whose address another one has and who have nothing left.
func (w *planning) nodes() {
	for i := range w.d.Nodes {
		n := &w.d.Nodes[i]
		silent, known := w.silence[n.ID]
		switch {
		case n.State == NodeUp && w.ReplaceAfter > 0 && silent > w.ReplaceAfter:
			n.State = NodeGone
		case n.State == NodeGone && known && silent <= w.Seen && !w.d.taken(n):
			n.State = NodeUp // who is superseded does not come back, however lately he has been heard of
		}
	}
	members := slices.Clone(w.d.Nodes)
	for _, n := range members {
		if n.State == NodeGone && w.d.taken(&n) {
			if next, err := (Remove{n.ID}).Apply(w.d); err == nil {
				w.d = next
			}
		}
	}
}

// up says whether a node may have replicas.
func (w *planning) up(id NodeID) bool {
	n := w.d.Node(id)
	return n != nil && n.State == NodeUp
}

// heard says whether a node has been heard of lately.
func (w *planning) heard(id NodeID) bool { return w.silence[id] <= w.Seen }

// voters chooses the voters of the meta group: those who vote go on. Whoever is drained gives the vote up even if there is
// no successor.
func (w *planning) voters() {
	var stay, gone []NodeID
	for _, id := range w.d.Voters {
		switch n := w.d.Node(id); n.State {
		case NodeUp:
			stay = append(stay, id)
		case NodeGone:
			if !w.d.taken(n) {
				gone = append(gone, id)
			}
		}
	}
	goal := min(w.ring.Len()+len(gone), MaxMetaVoters)
	want := w.lend(w.ring.Fill(MetaGroup, goal, stay), gone, goal)
	want = want[:VotersOf(len(want))]
	for _, id := range want {
		if !slices.Contains(w.d.Voters, id) && !w.heard(id) {
			return
		}
	}
	w.d.Voters = inPlaceOf(w.d.Voters, want)
}

// lend adds to the nodes that are wanted those that have the place now and should go, until there are n: nobody is there
// to take it. Of those that are superseded nothing is left to lend to.
func (w *planning) lend(want, have []NodeID, n int) []NodeID {
	for _, id := range have {
		if node := w.d.Node(id); len(want) < n && !slices.Contains(want, id) && node != nil && !(node.State == NodeGone && w.d.taken(node)) {
			want = append(want, id)
		}
	}
	return want
}

// inPlaceOf returns the nodes that are wanted, each that stays at its place, newcomers at the places of those who go.
func inPlaceOf(have, want []NodeID) []NodeID {
	var fresh, out []NodeID
	for _, id := range want {
		if !slices.Contains(have, id) {
			fresh = append(fresh, id)
		}
	}
	for _, id := range have {
		switch {
		case slices.Contains(want, id):
			out = append(out, id)
		case len(fresh) > 0:
			out = append(out, fresh[0])
			fresh = fresh[1:]
		}
	}
	return append(out, fresh...)
}

// keep has replicas that were to be given up stay, in the place of those whose node is leaving or gone: the shard's group
// could not let them go, and without that nothing else is planned for it.
func (w *planning) keep() {
	for i := range w.d.Moves {
		m := &w.d.Moves[i]
		if m.To != "" || m.Paused || !w.up(m.From) {
			continue
		}
		s := w.d.Shard(m.Shard)
		at := slices.IndexFunc(s.Replicas, func(id NodeID) bool {
			return !w.up(id) && !slices.ContainsFunc(w.d.Moves, func(o Move) bool { return o.Shard == s.ID && o.To == id })
		})
		if at >= 0 {
			m.From, m.To, m.Canceled = s.Replicas[at], m.From, false
			s.Replicas[at] = m.To
		}
	}
}

// redirect gives moves another aim whose node is leaving or gone. That node may have the replica by now, and the vote: a
// move of its own says so until the shard's group has let it go.
func (w *planning) redirect() {
	for i := range w.d.Moves { // what is added on the way has no aim
		m := &w.d.Moves[i]
		if m.To == "" || m.Paused || w.up(m.To) || len(w.d.Moves) >= MaxMoves {
			continue
		}
		s := w.d.Shard(m.Shard)
		at := slices.Index(s.Replicas, m.To)
		stay := slices.Delete(slices.Clone(s.Replicas), at, at+1)
		if m.From != "" && w.up(m.From) && !slices.Contains(stay, m.From) {
			w.d.reverse(m)
			continue
		}
		leaving := func(id NodeID) bool {
			return slices.ContainsFunc(w.d.Moves, func(o Move) bool { return o.Shard == s.ID && o.From == id })
		}
		for _, id := range w.ring.Fill(s.ID, w.ring.Len()+len(stay), stay)[len(stay):] {
			if w.heard(id) && !leaving(id) {
				left := Move{Shard: s.ID, From: m.To, Begun: w.now}
				m.To, s.Replicas[at] = id, id
				w.d.addMove(left)
				break
			}
		}
	}
}

// shards plans the replicas of all shards none of whose replicas move: first of those that have a replica where none
// should be, then of those that have too few, then of the others.
func (w *planning) shards() {
	moving := map[uint32]bool{}
	busy := 0
	for _, m := range w.d.Moves {
		if !moving[m.Shard] && !w.d.ShardPaused(m.Shard) {
			busy++
		}
		moving[m.Shard] = true
	}
	for urgency := range 3 {
		for i := range w.d.Shards {
			s := &w.d.Shards[i]
			if busy >= w.MaxMoves {
				return
			}
			if !s.Born || moving[s.ID] || w.urgency(s) != urgency {
				continue
			}
			if w.place(s) {
				busy++
				moving[s.ID] = true
			}
		}
	}
}

func (w *planning) urgency(s *Shard) int {
	switch {
	case slices.ContainsFunc(s.Replicas, func(id NodeID) bool { return !w.up(id) }):
		return 0
	case len(s.Replicas) < w.d.ReplicationFactor:
		return 1
	}
	return 2
}

// place plans one shard and says whether replicas move.
func (w *planning) place(s *Shard) bool {
	var want []NodeID
	if s.Pinned {
		stay := slices.DeleteFunc(slices.Clone(s.Replicas), func(id NodeID) bool { return !w.up(id) })
		want = w.ring.Fill(s.ID, w.d.ReplicationFactor, stay[:min(len(stay), w.d.ReplicationFactor)])
	} else {
		want = w.ring.Place(s.ID, w.d.ReplicationFactor)
	}
	want = w.lend(want, s.Replicas, min(w.d.ReplicationFactor, len(s.Replicas)))
	want = inPlaceOf(s.Replicas, want)
	gone := missingFrom(s.Replicas, want)
	fresh := missingFrom(want, s.Replicas)
	if len(gone)+len(fresh) == 0 || !w.all(fresh, w.heard) || len(w.d.Moves)+len(gone)+len(fresh) > MaxMoves {
		return false
	}
	s.Replicas = want
	for i := range max(len(gone), len(fresh)) {
		m := Move{Shard: s.ID, Begun: w.now}
		if i < len(gone) {
			m.From = gone[i]
		}
		if i < len(fresh) {
			m.To = fresh[i]
		}
		w.d.addMove(m)
	}
	return true
}

func (w *planning) all(list []NodeID, is func(NodeID) bool) bool {
	return !slices.ContainsFunc(list, func(id NodeID) bool { return !is(id) })
}

// missingFrom is what list has and other has not.
func missingFrom(list, other []NodeID) (out []NodeID) {
	for _, id := range list {
		if !slices.Contains(other, id) {
			out = append(out, id)
		}
	}
	return out
}

// leaders spreads who should lead over the nodes: as long as some node has at least two shards more than another, and a
// chain of shards leads from the one to the other, each of which could be led by the next node of the chain, the shards
// of the chain are handed on. That ends, since each time the sum of the squares falls, and with as even a spread as the
// places of the replicas allow.
func (w *planning) leaders() {
	load := map[NodeID]int{}
	for _, n := range w.d.Nodes {
		load[n.ID] = 0
	}
	var free []*Shard // whose leader may change
	for i := range w.d.Shards {
		s := &w.d.Shards[i]
		load[s.Replicas[0]]++
		if s.Born && w.d.moving(s.ID) == nil && !(s.Pinned && w.up(s.Replicas[0])) {
			free = append(free, s)
		}
	}
	for {
		improved := false
		for _, n := range w.d.Nodes {
			if chain := w.chain(n.ID, load, free); chain != nil {
				improved = true
				for _, link := range chain {
					at := slices.Index(link.shard.Replicas, link.to)
					r := link.shard.Replicas
					r[0], r[at] = r[at], r[0]
				}
				load[n.ID]--
				load[chain[0].to]++
			}
		}
		if !improved {
			return
		}
	}
}

// link hands a shard on to a node.
type link struct {
	shard *Shard
	to    NodeID
}

// chain finds the shortest way to a node that leads at least two shards less; its last hand-over comes first. Of a node
// that may not lead, any other is less.
func (w *planning) chain(from NodeID, load map[NodeID]int, free []*Shard) []link {
	reached := map[NodeID]link{from: {}}
	for queue := []NodeID{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		for _, s := range free {
			if s.Replicas[0] != at {
				continue
			}
			for _, to := range s.Replicas[1:VotersOf(len(s.Replicas))] {
				if _, seen := reached[to]; seen || !w.up(to) {
					continue
				}
				reached[to] = link{s, to}
				if load[to]+2 <= load[from] || !w.up(from) && load[from] > 0 {
					var out []link
					for node := to; node != from; node = reached[node].shard.Replicas[0] {
						out = append(out, reached[node])
					}
					return out
				}
				queue = append(queue, to)
			}
		}
	}
	return nil
}
