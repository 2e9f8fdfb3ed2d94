package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm"
)

// The control API is how nodes talk about the cluster with one another: HTTP over connections that both sides have
// authenticated.
const (
	pathPing     = "/v1/ping"
	pathStatus   = "/v1/status"
	pathOp       = "/v1/op"
	pathJoin     = "/v1/join"
	pathTransfer = "/v1/transfer"
	pathLog      = "/v1/log/" // and a shard's number
)

// callTime bounds how long a request may take here.
const callTime = 30 * time.Second

// ReplicaStatus is what a node says of one of its replicas.
type ReplicaStatus struct {
	Group     uint32       `json:"group"`
	State     string       `json:"state"`
	Term      uint64       `json:"term"`
	Leader    NodeID       `json:"leader,omitempty"` // as this replica knows
	Serves    bool         `json:"serves"`           // it leads, and all that was committed before is applied
	LastIndex uint64       `json:"last_index"`
	Committed uint64       `json:"committed"`
	Applied   uint64       `json:"applied"`
	Durable   uint64       `json:"durable"`
	LogBytes  int64        `json:"log_bytes"`
	Doubtful  bool         `json:"doubtful,omitempty"` // its vote counts only beside everybody's
	Members   []MemberInfo `json:"members"`
}

// MemberInfo is a place in a group's configuration.
type MemberInfo struct {
	Node  NodeID `json:"node"`
	Votes bool   `json:"votes"`
}

// NodeStatus is what a node says of itself.
type NodeStatus struct {
	Node     NodeID           `json:"node"`
	Version  uint64           `json:"version"` // of the document that it knows
	Replicas []ReplicaStatus  `json:"replicas"`
	Drives   map[uint64]Drive `json:"drives,omitempty"` // the migrations away from shards that it leads
}

// Drive is what a node does for a migration.
type Drive struct {
	Driven  bool   `json:"driven,omitempty"`
	Sent    int64  `json:"sent,omitempty"`    // bytes of records in this attempt
	Trouble string `json:"trouble,omitempty"` // what it waits for, or what ended the last attempt
}

// Replica is a replica of a group on this node. raftfsm.Group is one.
type Replica interface {
	Stats() raftfsm.Stats
	CanRead() bool
	Configuration() (servers []raft.Server, index uint64)
	AddNonvoter(id raft.ServerID, address raft.ServerAddress, index uint64) error
	AddVoter(id raft.ServerID, address raft.ServerAddress, index uint64) error
	DemoteVoter(id raft.ServerID, index uint64) error
	RemoveServer(id raft.ServerID, index uint64) error
	TransferLeadership(id raft.ServerID, address raft.ServerAddress) error
	TransferToFurthest() error
}

// Replicas lists the replicas that are open on this node, the meta group's included, by the number of their group.
type Replicas func() map[uint32]Replica

// StatusOf describes a replica.
func StatusOf(group uint32, r Replica) ReplicaStatus {
	s := r.Stats()
	out := ReplicaStatus{
		Group:     group,
		State:     s.State,
		Term:      s.Term,
		Leader:    NodeID(s.LeaderID),
		Serves:    r.CanRead(),
		LastIndex: s.LastIndex,
		Committed: s.Committed,
		Applied:   s.Applied,
		Durable:   s.Durable,
		LogBytes:  s.LogBytes,
		Doubtful:  s.Doubtful,
		Members:   []MemberInfo{},
	}
	servers, _ := r.Configuration()
	for _, m := range servers {
		out.Members = append(out.Members, MemberInfo{NodeID(m.ID), m.Suffrage == raft.Voter})
	}
	return out
}

// ControlOptions are what the control API answers with.
type ControlOptions struct {
	Self NodeID
	// Meta gives the cluster's document; nil: the node is not a member yet.
	Meta     func() *Meta
	Replicas Replicas
	// Log is the log of a shard that this node leads; nil: it does not. The whole: no migration comes here.
	Log func(shard uint32) ShardLog
	// Drives is what this node does for migrations; nil: nothing.
	Drives func() map[uint64]Drive
	// Silent is which nodes do not answer this one, if it leads the meta group; nil: it never does.
	Silent func() (list []NodeID, leads bool)
}

// Control is the handler of the control API. It is served from before the node joins.
func Control(o ControlOptions) http.Handler {
	c := control{o, make(chan struct{}, 1)}
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET " + pathPing:      c.ping,
		"GET " + pathStatus:    c.status,
		"POST " + pathOp:       c.op,
		"POST " + pathJoin:     c.join,
		"POST " + pathTransfer: c.transfer,

		"POST " + pathLog + "{shard}": c.propose,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), callTime+transferTime(min(r.ContentLength, MaxLogRequest)))
			defer cancel()
			out, err := answer(r.WithContext(ctx))
			respond(w, out, err)
		})
	}
	return mux
}

type control struct {
	ControlOptions
	large chan struct{} // holds something while a large request is taken
}

// respond writes an answer or an error. A failure to write is the caller's to notice.
func respond(w http.ResponseWriter, out any, err error) {
	status := http.StatusOK
	if err != nil {
		out, status = encodeFault(err)
	}
	text, err := json.Marshal(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// request reads a request's body.
func request(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxDocument))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	return b, nil
}

func (c control) meta() (*Meta, error) {
	if m := c.Meta(); m != nil {
		return m, nil
	}
	return nil, errors.New("this node is no member of a cluster yet")
}

func (c control) ping(*http.Request) (any, error) {
	p := Pong{Node: c.Self}
	if m := c.Meta(); m != nil && m.View() != nil {
		p.ClusterID = m.View().Document.ClusterID
	}
	if c.Silent != nil {
		p.Silent, p.Leads = c.Silent()
	}
	return p, nil
}

func (c control) status(*http.Request) (any, error) {
	return localStatus(c.Self, c.Meta(), c.Replicas, c.Drives), nil
}

// localStatus is what this node says of itself.
func localStatus(self NodeID, m *Meta, replicas Replicas, drives func() map[uint64]Drive) NodeStatus {
	s := NodeStatus{Node: self, Replicas: []ReplicaStatus{}}
	if m != nil && m.View() != nil {
		s.Version = m.View().Document.Version
	}
	for group, r := range replicas() {
		s.Replicas = append(s.Replicas, StatusOf(group, r))
	}
	if drives != nil {
		s.Drives = drives()
	}
	return s
}

// opDone says of which version of the document on an Op shows, and which number a move or a migration was given last.
type opDone struct {
	Version uint64 `json:"version"`
	LastID  uint64 `json:"last_id"`
}

// op applies an Op if this node leads the meta group; it does not pass it on, so that none goes in circles.
func (c control) op(r *http.Request) (any, error) {
	m, err := c.meta()
	if err != nil {
		return nil, err
	}
	b, err := request(r)
	if err != nil {
		return nil, err
	}
	o, err := DecodeOp(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	return m.Apply(r.Context(), o)
}

// join takes a node in, by way of the meta group's leader.
func (c control) join(r *http.Request) (any, error) {
	m, err := c.meta()
	if err != nil {
		return nil, err
	}
	b, err := request(r)
	if err != nil {
		return nil, err
	}
	var j Join
	if err := strictJSON(b, &j); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	v, err := m.Do(r.Context(), &j)
	if err != nil {
		return nil, err
	}
	return Joined{*v.Document}, nil
}

type transferRequest struct {
	Group uint32 `json:"group"`
	To    NodeID `json:"to"` // empty: the voter that has most of the log
}

// transfer hands the leadership of a group on.
func (c control) transfer(r *http.Request) (any, error) {
	b, err := request(r)
	if err != nil {
		return nil, err
	}
	var t transferRequest
	if err := strictJSON(b, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	group := c.Replicas()[t.Group]
	if group == nil || !group.CanRead() {
		return nil, raftfsm.ErrNotLeader
	}
	if t.To == "" {
		return struct{}{}, group.TransferToFurthest()
	}
	servers, _ := group.Configuration()
	for _, s := range servers {
		if s.ID == raft.ServerID(t.To) && s.Suffrage == raft.Voter {
			return struct{}{}, group.TransferLeadership(s.ID, s.Address)
		}
	}
	return nil, refuse("node %.40s does not vote in group %d", t.To, t.Group)
}
