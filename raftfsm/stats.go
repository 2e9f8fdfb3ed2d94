package raftfsm

import "github.com/hashicorp/raft"

// Stats is the group's state for operators.
type Stats struct {
	State    string // Follower, Candidate, Leader or Shutdown
	LeaderID raft.ServerID
	Leader   raft.ServerAddress // empty if no leader is known
	Servers  []raft.Server      // the latest configuration, which may not be committed yet

	Term      uint64
	LastIndex uint64 // of the log
	Committed uint64
	Applied   uint64 // by the engine; Raft's own count runs ahead
	Durable   uint64 // A, the index of the last checkpoint; 0 if there is none
	InFlight  int    // batches
	LogBytes  int64
	Doubtful  bool // it may lack entries that it has promised to have, and its vote counts only beside everybody's
}

// Stats takes a look at the group.
func (g *Group) Stats() Stats {
	address, id := g.Leader()
	durable, _, _, _, _ := g.opts.Engine.Durable()
	s := Stats{
		State:     g.State().String(),
		LeaderID:  id,
		Leader:    address,
		Term:      g.raft().CurrentTerm(),
		LastIndex: g.raft().LastIndex(),
		Committed: g.raft().CommitIndex(),
		Applied:   g.opts.Engine.AppliedIndex(),
		Durable:   durable,
		InFlight:  g.inFlight.len(),
		LogBytes:  g.opts.Log.Bytes(),
		Doubtful:  g.MayHaveForgotten(),
	}
	if f := g.raft().GetConfiguration(); f.Error() == nil {
		s.Servers = f.Configuration().Servers
	}
	return s
}

// LastIndex is up to where this replica has the log.
func (g *Group) LastIndex() uint64 { return g.raft().LastIndex() }

// State is whether this replica leads, follows, stands or has stopped. A leader that is stalled is none.
func (g *Group) State() raft.RaftState {
	s := g.raft().State()
	if s == raft.Leader && g.stalled() {
		return raft.Follower
	}
	return s
}

// Leader is the known leader, both empty if there is none. If this replica is stalled, it is the one that has sent something
// meanwhile.
func (g *Group) Leader() (raft.ServerAddress, raft.ServerID) {
	if !g.stalled() {
		return g.raft().LeaderWithID()
	}
	if n := g.sentry.successor.Load(); n != nil && n.term > g.raft().CurrentTerm() {
		return n.address, n.id
	}
	return "", ""
}
