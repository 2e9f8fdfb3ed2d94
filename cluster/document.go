package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Slots is how many hash slots there are.
const Slots = 16384

// Limits on what a document holds.
const (
	MaxDocument   = 8 << 20 // bytes
	MaxNodes      = 256
	MaxShards     = 1024
	MaxMoves      = 8192
	MaxMigrations = 256
	MaxReplicas   = 7   // of a shard
	MaxText       = 255 // bytes of a name or an address
)

// MetaGroup is the number of the meta group. Shards are numbered from 1.
const MetaGroup = 0

// MaxMetaVoters is how many nodes vote in the meta group at most; the others learn.
const MaxMetaVoters = 5

// NodeID names a node for as long as its disk lives: 40 lower-case hexadecimal digits, drawn at random.
type NodeID string

// Document is the cluster's state. It is a value: whoever changes one changes a copy (see Clone).
type Document struct {
	ClusterID string `json:"cluster_id"` // 40 hexadecimal digits
	// Version grows by one with each change. It is what changes are compared with.
	Version uint64 `json:"version"`
	// Epoch grows with each change of what clients see: the slot map, the nodes, who leads.
	Epoch uint64 `json:"epoch"`
	// Seed is the hash seed of all engines of the cluster.
	Seed uint64 `json:"seed,string"`
	// ReplicationFactor is how many replicas a shard has where there are enough nodes.
	ReplicationFactor int `json:"replication_factor"`
	// NextID numbers moves and migrations.
	NextID uint64 `json:"next_id"`
	// LastShard is the highest number that a shard has had: none is used again.
	LastShard uint32 `json:"last_shard"`
	// Voters are the desired voters of the meta group, an odd number. All other nodes learn.
	Voters     []NodeID    `json:"voters"`
	Nodes      []Node      `json:"nodes"`
	Shards     []Shard     `json:"shards"`
	Moves      []Move      `json:"moves,omitempty"`
	Migrations []Migration `json:"migrations,omitempty"`
}

// NodeState says whether a node is to have replicas.
type NodeState string

// The states of a node.
const (
	NodeUp       NodeState = "up"
	NodeDraining NodeState = "draining" // its replicas are moved away, since somebody asked for it
	NodeGone     NodeState = "gone"     // its replicas are replaced, since it has not been seen for too long
)

// Node is a member of the cluster.
type Node struct {
	ID     NodeID `json:"id"`
	Client string `json:"client"`           // host:port for clients
	Secure string `json:"secure,omitempty"` // host:port for clients with TLS, if Client is for those without and there is one
	Peer   string `json:"peer"`             // host:port for nodes
	Admin  string `json:"admin,omitempty"`  // host:port of the admin API, if it has one
	Zone   string `json:"zone,omitempty"`
	// Release is what the node runs; FeatureLevel is the highest level of log entries that it can apply.
	Release      string    `json:"release,omitempty"`
	FeatureLevel int       `json:"feature_level"`
	State        NodeState `json:"state"`
}

// Range is the slots from From to To, both included.
type Range struct {
	From uint16 `json:"from"`
	To   uint16 `json:"to"`
}

// Shard is a Raft group that owns slots.
type Shard struct {
	ID    uint32  `json:"id"`
	Slots []Range `json:"slots"` // in order, not adjacent
	// Replicas are the nodes that are to hold the shard; the first should lead. How many of them vote, in this order, says
	// VotersOf.
	Replicas []NodeID `json:"replicas"`
	// Founder starts the shard's group, alone; Born says that it has. Nobody else ever does.
	Founder NodeID `json:"founder"`
	Born    bool   `json:"born"`
	// Pinned says that the replicas were placed by hand: then only those are replaced whose node goes.
	Pinned bool `json:"pinned,omitempty"`
	// Leader is who led when last heard of, in which term: a hint for clients. Empty: nobody yet.
	Leader NodeID `json:"leader,omitempty"`
	Term   uint64 `json:"term,omitempty"`
}

// Move is a change of a shard's replicas that is under way: the shard's desired replicas show it done already. It ends
// once the shard's group has come to that.
type Move struct {
	ID    uint64 `json:"id"`
	Shard uint32 `json:"shard"`
	From  NodeID `json:"from,omitempty"` // empty: a replica more
	To    NodeID `json:"to,omitempty"`   // empty: a replica less
	// Asked says that somebody asked for this move, rather than the planner.
	Asked bool `json:"asked,omitempty"`
	// Canceled says that the move goes back: From is where it went to.
	Canceled bool `json:"canceled,omitempty"`
	Paused   bool `json:"paused,omitempty"`
	// Begun is when, Unix milliseconds.
	Begun int64 `json:"begun,omitempty"`
}

// MigrationState says how far a migration has come.
type MigrationState string

// The states of a migration, in order. The record goes with the last step, when the source has dropped the slots.
const (
	MigrationCopying  MigrationState = "copying"  // the source owns the slots
	MigrationOwned    MigrationState = "owned"    // the target owns them; the map does not say so yet
	MigrationFlipped  MigrationState = "flipped"  // the map says so; the source has yet to drop them
	MigrationCanceled MigrationState = "canceled" // the source keeps them; the target has yet to drop its copy
)

// Migration takes slots from one shard to another.
type Migration struct {
	ID    uint64         `json:"id"`
	From  uint32         `json:"from"`
	To    uint32         `json:"to"`
	Slots []Range        `json:"slots"`
	State MigrationState `json:"state"`
	// Attempt grows whenever a leader of the source begins anew, so that one who was deposed is fenced off.
	Attempt uint64 `json:"attempt"`
	Paused  bool   `json:"paused,omitempty"`
	Begun   int64  `json:"begun,omitempty"` // Unix milliseconds
}

// VotersOf says how many of r replicas vote: the largest odd number that is not larger. A second node alone adds no
// safety as a voter, since then neither may fail.
func VotersOf(r int) int { return max(r-1+r%2, 0) }

// ErrDocument is wrapped by every error about bytes that are no document.
var ErrDocument = errors.New("malformed cluster document")

// Encode returns the document's bytes.
func (d *Document) Encode() ([]byte, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode the cluster document: %w", err)
	}
	if len(b) > MaxDocument {
		return nil, fmt.Errorf("the cluster document would have %d bytes, more than %d", len(b), MaxDocument)
	}
	return b, nil
}

// Decode reads a document strictly, and checks that it holds together.
func Decode(b []byte) (Document, error) {
	if len(b) > MaxDocument {
		return Document{}, fmt.Errorf("%w: %d bytes, more than %d", ErrDocument, len(b), MaxDocument)
	}
	var d Document
	if err := strictJSON(b, &d); err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	if err := d.Validate(); err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return d, nil
}

// strictJSON reads one JSON value that has no fields but those of v, and nothing behind it.
func strictJSON(b []byte, v any) error {
	r := json.NewDecoder(bytes.NewReader(b))
	r.DisallowUnknownFields()
	if err := r.Decode(v); err != nil {
		return err
	}
	if r.More() {
		return errors.New("there is something behind the value")
	}
	return nil
}

// Clone copies the document, so that the copy can be changed.
func (d Document) Clone() Document {
	d.Voters = slices.Clone(d.Voters)
	d.Nodes = slices.Clone(d.Nodes)
	d.Shards = slices.Clone(d.Shards)
	for i := range d.Shards {
		d.Shards[i].Slots = slices.Clone(d.Shards[i].Slots)
		d.Shards[i].Replicas = slices.Clone(d.Shards[i].Replicas)
	}
	d.Moves = slices.Clone(d.Moves)
	d.Migrations = slices.Clone(d.Migrations)
	for i := range d.Migrations {
		d.Migrations[i].Slots = slices.Clone(d.Migrations[i].Slots)
	}
	return d
}

// Node finds a node; nil: there is none.
func (d *Document) Node(id NodeID) *Node {
	return find(d.Nodes, func(n *Node) bool { return n.ID == id })
}

// Shard finds a shard; nil: there is none.
func (d *Document) Shard(id uint32) *Shard {
	return find(d.Shards, func(s *Shard) bool { return s.ID == id })
}

// Move finds a move; nil: there is none.
func (d *Document) Move(id uint64) *Move {
	return find(d.Moves, func(m *Move) bool { return m.ID == id })
}

// Migration finds a migration; nil: there is none.
func (d *Document) Migration(id uint64) *Migration {
	return find(d.Migrations, func(m *Migration) bool { return m.ID == id })
}

func find[T any](list []T, is func(*T) bool) *T {
	for i := range list {
		if is(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

// ShardPaused says whether the shard's replicas are to stay as they are: a move of it is paused.
func (d *Document) ShardPaused(shard uint32) bool {
	return slices.ContainsFunc(d.Moves, func(m Move) bool { return m.Shard == shard && m.Paused })
}

// MayDrop says whether a node may give up its replica of a shard for good: it is to have none, and no move of the shard is
// under way. A move ends only once the shard's group has come to what is wanted, by a committed configuration; until then
// the group may still count on the replica.
func (d *Document) MayDrop(shard uint32, node NodeID) bool {
	if shard == MetaGroup {
		return false
	}
	s := d.Shard(shard)
	return s == nil || !slices.Contains(s.Replicas, node) && d.moving(shard) == nil
}

// Desired says who is to vote and who is to learn in a group, the preferred leader first. It is empty for a group that
// the document does not have.
func (d *Document) Desired(group uint32) (voters, learners []NodeID) {
	if group == MetaGroup {
		for _, n := range d.Nodes {
			if !slices.Contains(d.Voters, n.ID) {
				learners = append(learners, n.ID)
			}
		}
		return slices.Clone(d.Voters), learners
	}
	s := d.Shard(group)
	if s == nil {
		return nil, nil
	}
	n := VotersOf(len(s.Replicas))
	return slices.Clone(s.Replicas[:n]), slices.Clone(s.Replicas[n:])
}
