package raftfsm

import (
	"context"
	"io"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/snapshot"
)

// shardEngine gives an engine the shape that a group asks for.
type shardEngine struct {
	*engine.Engine
	cluster string
	shard   uint32
}

// ForEngine is an engine as a group takes it. Cluster and shard are what its snapshots are known by; snapshots of another
// cluster or shard are refused.
func ForEngine(e *engine.Engine, cluster string, shard uint32) Engine {
	return shardEngine{Engine: e, cluster: cluster, shard: shard}
}

func (e shardEngine) BeginCheckpoint() (Checkpoint, error) { return e.Engine.BeginCheckpoint() }

func (e shardEngine) PinCheckpoint() (PinnedCheckpoint, error) {
	p, err := snapshot.Pin(e.Engine, e.cluster, e.shard)
	if err != nil {
		return nil, err
	}
	return pinnedSnapshot{p}, nil
}

func (e shardEngine) Stage(from io.Reader) (StagedCheckpoint, error) {
	s, err := snapshot.Stage(e.Engine, e.cluster, e.shard, from)
	if err != nil {
		return nil, err
	}
	return stagedSnapshot{s}, nil
}

type pinnedSnapshot struct{ pinned *snapshot.Pinned }

func (p pinnedSnapshot) At() (index, term uint64, configuration []byte, configurationIndex uint64) {
	h := p.pinned.Header()
	return h.Index, h.Term, h.Configuration, h.ConfigurationIndex
}

func (p pinnedSnapshot) Write(to io.Writer) error {
	_, err := p.pinned.Write(to)
	return err
}

func (p pinnedSnapshot) Close() error { return p.pinned.Close() }

type stagedSnapshot struct{ staged *snapshot.Staged }

func (s stagedSnapshot) At() (index, term uint64) {
	h := s.staged.Header()
	return h.Index, h.Term
}

func (s stagedSnapshot) Install(ctx context.Context) error { return s.staged.Install(ctx) }
func (s stagedSnapshot) Discard() error                    { return s.staged.Discard() }
