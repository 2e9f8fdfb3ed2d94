package cluster

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Report is the cluster as an operator wants to see it: what should be, and what the nodes say there is.
type Report struct {
	ClusterID         string            `json:"cluster_id"`
	Version           uint64            `json:"version" doc:"Of the cluster's document: grows with each change"`
	Epoch             uint64            `json:"epoch" doc:"Of the slot map: grows with each change that clients see"`
	ReplicationFactor int               `json:"replication_factor"`
	Settled           bool              `json:"settled" doc:"Every group is as it should be, and nothing is under way"`
	Nodes             []NodeReport      `json:"nodes"`
	Groups            []GroupReport     `json:"groups" doc:"The meta group, which has number 0, and the shards"`
	Moves             []MoveReport      `json:"moves"`
	Migrations        []MigrationReport `json:"migrations"`
}

// NodeReport is a node.
type NodeReport struct {
	Node
	Answers  bool `json:"answers" doc:"It answered just now"`
	Replicas int  `json:"replicas" doc:"How many shards it is to hold"`
	Leads    int  `json:"leads" doc:"How many shards it leads"`
}

// GroupReport is a Raft group.
type GroupReport struct {
	Group    uint32          `json:"group"`
	Slots    []Range         `json:"slots"`
	Leader   NodeID          `json:"leader,omitempty" doc:"Empty: nobody who answers leads it"`
	Term     uint64          `json:"term"`
	Voters   int             `json:"voters" doc:"In the group's configuration, as its leader says, or else who knows most"`
	Settled  bool            `json:"settled" doc:"The configuration is what it should be"`
	Pinned   bool            `json:"pinned" doc:"Placed by hand"`
	Replicas []ReplicaReport `json:"replicas"`
}

// ReplicaReport is a replica.
type ReplicaReport struct {
	Node    NodeID `json:"node"`
	Role    string `json:"role" enum:"leader,voter,learner,missing" doc:"In the group's configuration"`
	Wanted  bool   `json:"wanted" doc:"The node is to have a replica"`
	Answers bool   `json:"answers"`
	Applied uint64 `json:"applied"`
	Lag     uint64 `json:"lag" doc:"Log entries that the leader has committed and the replica does not know of"`
}

// Votes says whether the replica is a voter of its group.
func (r *ReplicaReport) Votes() bool { return r.Role == "leader" || r.Role == "voter" }

// MoveReport is a move that is under way.
type MoveReport struct {
	Move
	Step string `json:"step" doc:"What it waits for"`
	Lag  uint64 `json:"lag" doc:"Log entries that the new replica is behind"`
}

// MigrationReport is a migration that is under way.
type MigrationReport struct {
	Migration
	Driven bool  `json:"driven" doc:"The node that leads the source is at it"`
	Sent   int64 `json:"sent" doc:"Bytes of records that it has sent in this attempt"`

	Trouble string `json:"trouble,omitempty" doc:"What it waits for, or what ended the last attempt"`
}

// Survey asks all nodes and reports. Those who do not answer within the time are reported so.
func Survey(ctx context.Context, v *View, self NodeID, local func() NodeStatus, c *Client, patience time.Duration) Report {
	d := v.Document
	answers := make([]*NodeStatus, len(d.Nodes))
	var calls sync.WaitGroup
	for i, n := range d.Nodes {
		if n.ID == self {
			s := local()
			answers[i] = &s
			continue
		}
		calls.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			if s, err := c.Status(ctx, n.Peer); err == nil && s.Node == n.ID {
				answers[i] = &s
			}
		})
	}
	calls.Wait()
	r := Report{
		ClusterID: d.ClusterID, Version: d.Version, Epoch: d.Epoch, ReplicationFactor: d.ReplicationFactor,
		Settled: len(d.Moves)+len(d.Migrations) == 0,
		Nodes:   []NodeReport{}, Groups: []GroupReport{}, Moves: []MoveReport{}, Migrations: []MigrationReport{},
	}
	said := map[NodeID]*NodeStatus{}
	for i, n := range d.Nodes {
		said[n.ID] = answers[i]
		r.Nodes = append(r.Nodes, NodeReport{Node: n, Answers: answers[i] != nil})
	}
	r.Groups = append(r.Groups, d.reportGroup(MetaGroup, said))
	for _, s := range d.Shards {
		r.Groups = append(r.Groups, d.reportGroup(s.ID, said))
	}
	for i := range r.Groups {
		g := &r.Groups[i]
		r.Settled = r.Settled && g.Settled
		for j := range r.Nodes {
			n := &r.Nodes[j]
			if g.Group != MetaGroup && g.Leader == n.ID {
				n.Leads++
			}
			if s := d.Shard(g.Group); s != nil && slices.Contains(s.Replicas, n.ID) {
				n.Replicas++
			}
		}
	}
	for _, m := range d.Moves {
		r.Moves = append(r.Moves, r.reportMove(m))
	}
	for _, m := range d.Migrations {
		one := MigrationReport{Migration: m}
		for _, s := range said {
			if s != nil {
				drive := s.Drives[m.ID]
				one.Driven, one.Sent = one.Driven || drive.Driven, one.Sent+drive.Sent
				one.Trouble = cmp.Or(one.Trouble, drive.Trouble)
			}
		}
		r.Migrations = append(r.Migrations, one)
	}
	return r
}

// reportGroup puts together what the nodes say of a group.
func (d *Document) reportGroup(group uint32, said map[NodeID]*NodeStatus) GroupReport {
	r := GroupReport{Group: group, Slots: []Range{}, Replicas: []ReplicaReport{}}
	if s := d.Shard(group); s != nil {
		r.Slots, r.Pinned = append(r.Slots, s.Slots...), s.Pinned
	}
	replicas := map[NodeID]*ReplicaStatus{}
	var leader, best *ReplicaStatus // best: who knows most
	for id, s := range said {
		if s == nil {
			continue
		}
		one := find(s.Replicas, func(r *ReplicaStatus) bool { return r.Group == group })
		if one == nil {
			continue
		}
		replicas[id] = one
		if one.Serves && (leader == nil || one.Term > leader.Term) {
			leader, r.Leader, r.Term = one, id, one.Term
		}
		if best == nil || one.Committed > best.Committed {
			best = one
		}
	}
	v := GroupView{Members: map[NodeID]bool{}}
	v.Voters, v.Learners = d.Desired(group)
	if leader != nil {
		best, r.Settled = leader, true
	}
	if best != nil {
		for _, m := range best.Members {
			v.Members[m.Node] = m.Votes
		}
		r.Settled = r.Settled && v.Settled()
	}
	if s := d.Shard(group); s != nil && !s.Born {
		r.Settled = false
	}
	wanted := slices.Concat(v.Voters, v.Learners)
	all := slices.Clone(wanted)
	for id, votes := range v.Members {
		if votes {
			r.Voters++
		}
		if !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	slices.SortFunc(all[len(wanted):], func(a, b NodeID) int { return cmp.Compare(a, b) })
	for _, id := range all {
		one := ReplicaReport{Node: id, Role: "missing", Wanted: slices.Contains(wanted, id)}
		switch votes, in := v.Members[id]; {
		case leader != nil && id == r.Leader:
			one.Role = "leader"
		case votes:
			one.Role = "voter"
		case in:
			one.Role = "learner"
		}
		if s := replicas[id]; s != nil {
			one.Answers, one.Applied = true, s.Applied
			if leader != nil && leader.Committed > s.Committed {
				one.Lag = leader.Committed - s.Committed
			}
		}
		r.Replicas = append(r.Replicas, one)
	}
	return r
}

// reportMove says what a move waits for.
func (r *Report) reportMove(m Move) MoveReport {
	out := MoveReport{Move: m}
	g := find(r.Groups, func(g *GroupReport) bool { return g.Group == m.Shard })
	var to, from *ReplicaReport
	if g != nil {
		to = find(g.Replicas, func(r *ReplicaReport) bool { return r.Node == m.To })
		from = find(g.Replicas, func(r *ReplicaReport) bool { return r.Node == m.From })
	}
	if to != nil {
		out.Lag = to.Lag
	}
	switch {
	case m.Paused:
		out.Step = "paused"
	case m.Canceled:
		out.Step = "is taken back"
	case g == nil || g.Leader == "":
		out.Step = "waits for a leader of the shard"
	case m.To != "" && (to == nil || to.Role == "missing"):
		out.Step = "adds the new replica"
	case to != nil && to.Role == "learner" && !g.Settled:
		out.Step = "the new replica catches up"
	case from != nil && from.Role == "leader":
		out.Step = "hands the leadership on"
	case from != nil && from.Role != "missing":
		out.Step = "removes the old replica"
	default:
		out.Step = "ends"
	}
	return out
}

// FindNode finds a member by its ID, by the beginning of it if that is unambiguous, or by one of its addresses.
func (d *Document) FindNode(text string) (NodeID, error) {
	var found []NodeID
	for _, n := range d.Nodes {
		if string(n.ID) == text {
			return n.ID, nil
		}
		if text != "" && (strings.HasPrefix(string(n.ID), text) || n.Client == text || n.Peer == text || n.Admin == text) {
			found = append(found, n.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", refuse("node %.60q is no member", text)
	case 1:
		return found[0], nil
	}
	return "", refuse("%.60q fits %d nodes", text, len(found))
}
