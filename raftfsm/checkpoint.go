package raftfsm

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/raft"
)

// A checkpoint in Raft's hands goes through these steps (runSnapshots and takeSnapshot of the library):
//
//	FSM.Snapshot            the epoch is turned, with Apply at rest
//	SnapshotStore.Create    index, term and configuration become known: checkpointSink
//	FSMSnapshot.Persist     the log is synced, then the epoch is committed with them
//	Sink.Close              or Cancel, after a failed Persist
//	LogStore.DeleteRange    the log is cut below A (logstore.go)
//	FSMSnapshot.Release     always, if Snapshot succeeded: without Persist, the epoch is given back
//
// Create itself does not look for the epoch: the library also calls it for a snapshot that another node streams in, and
// that may fall between the first two steps of ours.

// begunCheckpoint is an epoch that was turned.
type begunCheckpoint struct {
	checkpoint Checkpoint
	sync       func() error
	durable    uint64 // A when it was turned
	applied    uint64 // index of the last entry in it
}

// Persist makes the epoch durable at what the sink was created with.
func (b *begunCheckpoint) Persist(to raft.SnapshotSink) error {
	at, ok := to.(*checkpointSink)
	if !ok {
		return fmt.Errorf("a checkpoint cannot be written to a %T", to)
	}
	if at.index < b.applied {
		return fmt.Errorf("a checkpoint at index %d would hold entry %d", at.index, b.applied)
	}
	if at.index <= b.durable {
		return nil // nothing was committed since: Release gives back an epoch in which nothing is dirty
	}
	if err := b.sync(); err != nil {
		return fmt.Errorf("sync the log through index %d: %w", at.index, err)
	}
	return b.checkpoint.Commit(at.index, at.term, raft.EncodeConfiguration(at.configuration), at.configurationIndex)
}

// Release gives the epoch back unless it was committed.
func (b *begunCheckpoint) Release() { b.checkpoint.Cancel() }

// snapshotStore shows Raft the store's last checkpoint. It holds nothing of its own.
type snapshotStore struct {
	engine Engine
	pins   *logPins
}

var _ raft.SnapshotStore = (*snapshotStore)(nil)

// Create returns a sink that only bears where the checkpoint stands.
func (s *snapshotStore) Create(_ raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &checkpointSink{index, term, configuration, configurationIndex}, nil
}

// List returns the last completed checkpoint, if there is one.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	index, term, encoded, configurationIndex, ok := s.engine.Durable()
	if !ok {
		return nil, nil
	}
	meta, err := snapshotMeta(index, term, encoded, configurationIndex)
	if err != nil {
		return nil, err
	}
	return []*raft.SnapshotMeta{meta}, nil
}

// snapshotMeta describes a checkpoint in Raft's way.
func snapshotMeta(index, term uint64, encoded []byte, configurationIndex uint64) (*raft.SnapshotMeta, error) {
	configuration, err := decodeConfiguration(encoded)
	if err != nil {
		return nil, fmt.Errorf("checkpoint at index %d: %w", index, err)
	}
	return &raft.SnapshotMeta{
		Version:            raft.SnapshotVersionMax,
		ID:                 checkpointID(term, index),
		Index:              index,
		Term:               term,
		Configuration:      configuration,
		ConfigurationIndex: configurationIndex,
	}, nil
}

func checkpointID(term, index uint64) string { return fmt.Sprintf("%d-%d", term, index) }

// decodeConfiguration is the library's, which panics at bytes that are no configuration.
func decodeConfiguration(b []byte) (c raft.Configuration, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not a Raft configuration: %v", r)
		}
	}()
	return raft.DecodeConfiguration(b), nil
}

// checkpointSink is where a checkpoint stands.
type checkpointSink struct {
	index, term        uint64
	configuration      raft.Configuration
	configurationIndex uint64
}

// Write refuses a snapshot that another node streams in the stock library's way.
func (s *checkpointSink) Write([]byte) (int, error) {
	return 0, errors.New("a shard's state is not installed through Raft's snapshot store")
}

func (s *checkpointSink) Close() error  { return nil }
func (s *checkpointSink) Cancel() error { return nil }
func (s *checkpointSink) ID() string    { return checkpointID(s.term, s.index) }

// sharedCheckpoint is one that several callers wait for.
type sharedCheckpoint struct {
	done chan struct{}
	err  error
}

// Checkpoint brings the store up to date and cuts the log below it. That there was nothing to do is success. A call that
// finds one under way waits for that one, which need not hold what was applied since it began.
func (g *Group) Checkpoint() error {
	c, ours := g.joinCheckpoint()
	if ours {
		c.err = g.takeCheckpoint()
		g.checkpoint.Lock()
		g.checkpoint.running = nil
		g.checkpoint.Unlock()
		close(c.done)
	}
	<-c.done
	return c.err
}

// joinCheckpoint returns the checkpoint under way, or one that the caller is to take.
func (g *Group) joinCheckpoint() (c *sharedCheckpoint, ours bool) {
	g.checkpoint.Lock()
	defer g.checkpoint.Unlock()
	if g.checkpoint.running != nil {
		return g.checkpoint.running, false
	}
	g.checkpoint.running = &sharedCheckpoint{done: make(chan struct{})}
	return g.checkpoint.running, true
}

// raftBehind begins the stock library's words for ErrBehind, for which it has no error of its own.
const raftBehind = "cannot take snapshot now, wait until the configuration entry"

// takeCheckpoint has Raft take one. If an install comes in between, the next instance is asked.
func (g *Group) takeCheckpoint() error {
	for {
		i := g.running.Load()
		err := i.raft.Snapshot().Error()
		if err == nil || errors.Is(err, raft.ErrNothingNewToSnapshot) {
			return nil
		}
		if i.context.Err() != nil {
			g.swap.Lock() // the install is over
			replaced := g.running.Load() != i
			g.swap.Unlock()
			if replaced {
				continue
			}
		}
		if strings.HasPrefix(err.Error(), raftBehind) {
			err = fmt.Errorf("%w: %w", ErrBehind, err)
		}
		return fmt.Errorf("checkpoint of shard %d: %w", g.opts.Group, err)
	}
}
