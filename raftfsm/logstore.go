package raftfsm

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// logStore is the shard's log as Raft sees it: it starts the fills of an entry's keys while the entry is being synced,
// and keeps the entry at the last checkpoint.
type logStore struct {
	Log
	engine     Engine
	lastAtOpen uint64
	ahead      readAhead
	cut        func(below, durable uint64) error // below a checkpoint; nil: Log.CutBelow
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

func newLogStore(log Log, e Engine) (*logStore, error) {
	last, err := log.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("last index of the log: %w", err)
	}
	s := &logStore{Log: log, engine: e, lastAtOpen: last}
	s.ahead.last = last
	return s, nil
}

// IsMonotonic says that the log has no gaps.
func (s *logStore) IsMonotonic() bool { return true }

// StoreLog stores one entry.
func (s *logStore) StoreLog(l *raft.Log) error {
	s.prefetch(l)
	return s.Log.StoreLog(l)
}

// StoreLogs stores entries. They are on every replica long before they are applied, so the disk reads that applying them
// needs run alongside the sync and the replication.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	for _, l := range logs {
		s.prefetch(l)
	}
	return s.Log.StoreLogs(logs)
}

func (s *logStore) prefetch(l *raft.Log) {
	if l.Type == raft.LogCommand {
		s.engine.Prefetch(l.Data)
	}
}

// headReader is a log that can tell what an entry is without reading a command's data.
type headReader interface {
	GetHead(index uint64, l *raft.Log) error
}

// GetLog reads an entry. Before the FSM runs, Raft looks through the whole tail for configurations: then the data of
// commands is left out. While the log is replayed it keeps near to what is applied.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	if h, ok := s.Log.(headReader); ok && !s.ahead.running.Load() {
		return h.GetHead(index, l)
	}
	if err := s.Log.GetLog(index, l); err != nil {
		return err
	}
	s.ahead.add(l, s.engine.AppliedIndex)
	return nil
}

// DeleteRange serves two callers. Compaction after a checkpoint deletes up to A or less: then the entry at A stays, and
// what is kept for followers.
// A follower whose log conflicts with its leader's deletes a suffix, all of it above A, since what a checkpoint holds
// was committed. Anything else would tear a hole between store and log.
func (s *logStore) DeleteRange(from, to uint64) error {
	durable, _, _, _, ok := s.engine.Durable()
	switch {
	case ok && to <= durable:
		below := min(to+1, durable)
		if s.cut != nil {
			return s.cut(below, durable)
		}
		return s.CutBelow(below)
	case !ok || from > durable:
		return s.Log.DeleteRange(from, to)
	default:
		return fmt.Errorf("delete entries %d to %d of the log: the checkpoint at %d lies between", from, to, durable)
	}
}
