package raftfsm

import (
	"context"
	"io"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
)

// Engine is the shard's state machine. Apply and BeginCheckpoint are called by one goroutine; the others by any.
type Engine interface {
	// Apply runs the entry at index. b is the proposer's batch, to whose Replies the answers go, or nil. An error means
	// that this replica can no longer follow: the process has to end.
	Apply(index, term uint64, entry []byte, b *engine.Batch) error
	// Prefetch starts the fills of the entry's declared keys and returns at once. It does not retain the bytes.
	Prefetch(entry []byte)
	// Warm fills the entry's declared keys, one after the other, and calls step after each. Whoever calls Apply calls it.
	Warm(entry []byte, step func())
	// AppliedIndex is the index of the last entry that was applied, or that of the checkpoint the engine opened with.
	AppliedIndex() uint64
	// Durable is what the last completed checkpoint recorded; ok is false if there is none.
	Durable() (index, term uint64, configuration []byte, configurationIndex uint64, ok bool)
	// BeginCheckpoint turns the dirty epoch, in microseconds.
	BeginCheckpoint() (Checkpoint, error)
	// Clock is the greatest stamp applied so far, Unix milliseconds.
	Clock() int64
	// PinCheckpoint holds the last completed checkpoint as it is, to be sent.
	PinCheckpoint() (PinnedCheckpoint, error)
	// Stage reads another replica's checkpoint, all of it, checks it and keeps it aside. If it fails nothing is left.
	Stage(from io.Reader) (StagedCheckpoint, error)
}

// PinnedCheckpoint is a completed checkpoint that is held while others follow.
type PinnedCheckpoint interface {
	// At is what Engine.Durable says of it.
	At() (index, term uint64, configuration []byte, configurationIndex uint64)
	// Write writes what Stage reads.
	Write(to io.Writer) error
	Close() error
}

// StagedCheckpoint is a checkpoint that another replica has sent.
type StagedCheckpoint interface {
	At() (index, term uint64)
	// Install puts it in the place of all that the engine holds, in one step that is durable when it returns. Apply and
	// checkpoints are at rest; long reads are waited for until ctx ends. If it fails and Durable is as before, nothing has
	// changed.
	Install(ctx context.Context) error
	// Discard removes it. After Install it does nothing.
	Discard() error
}

// Checkpoint is a turned epoch: what was dirty when it was begun.
type Checkpoint interface {
	// Commit writes the epoch and makes it, the index, its term and the configuration durable in one atomic step.
	Commit(index, term uint64, configuration []byte, configurationIndex uint64) error
	// Interrupt makes a Commit that is under way fail soon, unless it is nearly done. It may be called at any time.
	Interrupt()
	// Cancel gives the epoch back as dirty. It may be called again, and does nothing after Commit succeeded.
	Cancel()
}

// Log is the shard's part of the node's log: a monotonic log store (no gaps) that copies what it stores.
type Log interface {
	raft.LogStore
	// CutBelow removes entries below index; the entry at index stays.
	CutBelow(index uint64) error
	// Reset drops every entry and leaves a stand-in at index that bears term: GetLog finds it, and the next entry that
	// can be stored is index+1.
	Reset(index, term uint64) error
	// Bytes is about how much the entries take on disk.
	Bytes() int64
	// BytesBelow is how many of them entries below index take.
	BytesBelow(index uint64) int64
	// Behind is the first entry from which on the log is up to about so many bytes long until index, and never beyond index.
	Behind(index uint64, bytes int64) uint64
}

// Transport carries the group's messages to other replicas. The group closes it if it has a method Close() error; what
// is under way then must end with an error.
type Transport interface {
	raft.Transport
	raft.WithPreVote
}
