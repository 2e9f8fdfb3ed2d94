package cluster

import "slices"

// MoveReplica moves a shard's replica from node to node. The shard is then placed by hand, until a Rebalance.
type MoveReplica struct {
	Shard uint32 `json:"shard"`
	From  NodeID `json:"from"`
	To    NodeID `json:"to"`
	Now   int64  `json:"now,omitempty"` // Unix milliseconds
}

// Apply implements Op.
func (o MoveReplica) Apply(d Document) (Document, error) {
	s, to := d.Shard(o.Shard), d.Node(o.To)
	if m := d.moving(o.Shard); m != nil {
		return d, refuse("move %d of shard %d is under way", m.ID, o.Shard)
	}
	switch {
	case s == nil:
		return d, refuse("there is no shard %d", o.Shard)
	case !s.Born:
		return d, refuse("shard %d has not been founded yet", o.Shard)
	case to == nil:
		return d, refuse("node %.40s is no member", o.To)
	case to.State != NodeUp:
		return d, refuse("node %s is %s", o.To, to.State)
	case !slices.Contains(s.Replicas, o.From):
		return d, refuse("node %.40s has no replica of shard %d", o.From, o.Shard)
	case slices.Contains(s.Replicas, o.To):
		return d, refuse("node %s has a replica of shard %d already", o.To, o.Shard)
	}
	if len(d.Moves) == MaxMoves {
		return d, refuse("%d moves are under way already", MaxMoves)
	}
	d = d.Clone()
	s = d.Shard(o.Shard)
	s.Replicas[slices.Index(s.Replicas, o.From)] = o.To
	s.Pinned = true
	d.addMove(Move{Shard: o.Shard, From: o.From, To: o.To, Asked: true, Begun: o.Now})
	return d, nil
}

// moving is a move of the shard that is under way; nil: there is none.
func (d *Document) moving(shard uint32) *Move {
	return find(d.Moves, func(m *Move) bool { return m.Shard == shard })
}

func (d *Document) addMove(m Move) {
	m.ID = d.NextID
	d.NextID++
	d.Moves = append(d.Moves, m)
}

// PauseMove has a shard's replicas stay as they are in the middle of a move.
type PauseMove struct {
	Move uint64 `json:"move"`
}

// Apply implements Op.
func (o PauseMove) Apply(d Document) (Document, error) { return d.pauseMove(o.Move, true) }

// ResumeMove has a paused move go on.
type ResumeMove struct {
	Move uint64 `json:"move"`
}

// Apply implements Op.
func (o ResumeMove) Apply(d Document) (Document, error) { return d.pauseMove(o.Move, false) }

func (d Document) pauseMove(id uint64, paused bool) (Document, error) {
	if d.Move(id) == nil {
		return d, refuse("there is no move %d under way", id)
	}
	d = d.Clone()
	d.Move(id).Paused = paused
	return d, nil
}

// CancelMove takes a move back: the replica stays where it was, and the planner leaves the shard alone until a Rebalance.
// What the move has changed already is undone before its record goes.
type CancelMove struct {
	Move uint64 `json:"move"`
}

// Apply implements Op.
func (o CancelMove) Apply(d Document) (Document, error) {
	m := d.Move(o.Move)
	if m == nil {
		return d, refuse("there is no move %d under way", o.Move)
	}
	if m.Canceled {
		return d, nil
	}
	if m.From == "" || m.To == "" {
		return d, refuse("move %d changes how many replicas shard %d has: set the number of replicas instead", m.ID, m.Shard)
	}
	if from := d.Node(m.From); from == nil || from.State != NodeUp {
		return d, refuse("node %s, from which move %d takes the replica, cannot keep it: it is leaving or gone", m.From, m.ID)
	}
	d = d.Clone()
	d.Shard(m.Shard).Pinned = true
	d.reverse(d.Move(o.Move))
	return d, nil
}

// reverse has a move go back to where it came from.
func (d *Document) reverse(m *Move) {
	r := d.Shard(m.Shard).Replicas
	r[slices.Index(r, m.To)] = m.From
	m.From, m.To = m.To, m.From
	m.Canceled, m.Paused = true, false
}

// EndMove notes that a shard's group has come to what a move wants: to have a replica at To. The group's leader says so.
// If the move has got another aim meanwhile, it goes on.
type EndMove struct {
	Move uint64 `json:"move"`
	To   NodeID `json:"to,omitempty"`
}

// Apply implements Op.
func (o EndMove) Apply(d Document) (Document, error) {
	if m := d.Move(o.Move); m == nil || m.To != o.To {
		return d, nil
	}
	d = d.Clone()
	d.endMove(o.Move)
	return d, nil
}

// PreferLeader has a voter of a shard lead it, until a Rebalance.
type PreferLeader struct {
	Shard uint32 `json:"shard"`
	Node  NodeID `json:"node"`
}

// Apply implements Op.
func (o PreferLeader) Apply(d Document) (Document, error) {
	s := d.Shard(o.Shard)
	if s == nil {
		return d, refuse("there is no shard %d", o.Shard)
	}
	at := slices.Index(s.Replicas[:VotersOf(len(s.Replicas))], o.Node)
	if at < 0 {
		return d, refuse("node %.40s does not vote in shard %d", o.Node, o.Shard)
	}
	if n := d.Node(o.Node); n.State != NodeUp {
		return d, refuse("node %s is %s", o.Node, n.State)
	}
	d = d.Clone()
	s = d.Shard(o.Shard)
	s.Replicas[0], s.Replicas[at] = s.Replicas[at], s.Replicas[0]
	s.Pinned = true
	return d, nil
}

func (d *Document) endMove(id uint64) {
	d.Moves = slices.DeleteFunc(d.Moves, func(m Move) bool { return m.ID == id })
	if len(d.Moves) == 0 {
		d.Moves = nil
	}
}
