package raftfsm

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/hashicorp/raft"
)

// logStore is the shard's log as Raft sees it: it starts the fills of an entry's keys while the entry is being synced,
// and keeps the entry at the last checkpoint.
type logStore struct {
	Log
	engine     Engine
	lastAtOpen uint64
	ahead      readAhead
	recent     recent
	disk       *disk
	sync       func() error
	fatal      func(error)
	logger     *slog.Logger
	pace       *applyPacer                       // of what is applied; nil: none
	truncated  bool                              // Raft's idea of the log's end is wrong until the next entries are stored
	cut        func(below, durable uint64) error // below a checkpoint; nil: Log.CutBelow
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

func newLogStore(o *Options, d *disk) (*logStore, error) {
	last, err := o.Log.LastIndex()
	if err != nil {
		return nil, fmt.Errorf("last index of the log: %w", err)
	}
	s := &logStore{Log: o.Log, engine: o.Engine, lastAtOpen: last, disk: d, sync: o.Sync, fatal: o.Fatal,
		logger: o.Logger.With("shard", o.Group)}
	s.ahead.last = last
	return s, nil
}

// IsMonotonic says that the log has no gaps.
func (s *logStore) IsMonotonic() bool { return true }

// StoreLog stores one entry.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs stores entries. They are on every replica long before they are applied, so the disk reads that applying them
// needs run alongside the sync and the replication. A configuration is synced whatever the policy: a replica that forgot it
// could take itself for the only voter.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	bytes, configuration := 0, false
	for _, l := range logs {
		s.prefetch(l)
		bytes += len(l.Data)
		configuration = configuration || l.Type == raft.LogConfiguration
	}
	err := s.disk.during(&s.disk.log, bytes, func() error {
		if err := s.Log.StoreLogs(logs); err != nil || !configuration {
			return err
		}
		return s.sync()
	})
	if err != nil && s.truncated {
		s.fatal(fmt.Errorf("entries that take the place of others cannot be stored, and those are gone: %w", err))
	}
	s.truncated = s.truncated && err != nil
	if err == nil {
		s.recent.add(logs)
	}
	return err
}

func (s *logStore) prefetch(l *raft.Log) {
	if l.Type == raft.LogCommand && !s.pace.paced() {
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
	if !s.recent.get(index, l) {
		if err := s.Log.GetLog(index, l); err != nil {
			return s.unread(index, err)
		}
	}
	s.ahead.add(l, s.engine.AppliedIndex)
	return nil
}

// unread says what follows from an entry that cannot be read. What the checkpoint covers is only read for followers, who are
// sent the checkpoint instead if they find nothing. For what has to be applied yet the library would panic.
func (s *logStore) unread(index uint64, err error) error {
	if errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	if durable, _, _, _, ok := s.engine.Durable(); ok && index < durable {
		s.logger.Error("an entry of the log cannot be read; who needs it is sent a snapshot", "index", index, "error", err)
		return raft.ErrLogNotFound
	}
	if index > s.engine.AppliedIndex() {
		s.fatal(fmt.Errorf("entry %d of the log, which has to be applied, cannot be read: %w", index, err))
	}
	return err
}

// DeleteRange serves two callers. Compaction after a checkpoint deletes up to A or less: then the entry at A stays, and
// what is kept for followers.
// A follower whose log conflicts with its leader's deletes a suffix, all of it above A, since what a checkpoint holds
// was committed. Anything else would tear a hole between store and log.
func (s *logStore) DeleteRange(from, to uint64) error {
	s.recent.forget()
	durable, _, _, _, ok := s.engine.Durable()
	switch {
	case ok && to <= durable:
		below := min(to+1, durable)
		if s.cut != nil {
			return s.cut(below, durable)
		}
		return s.CutBelow(below)
	case !ok || from > durable:
		if applied := s.engine.AppliedIndex(); from <= applied {
			err := fmt.Errorf("the leader lacks entries from %d on, and this replica has applied them up to %d: a majority of the "+
				"group has lost what was committed. This replica starts anew at its checkpoint", from, applied)
			s.fatal(err)
			return err
		}
		err := s.Log.DeleteRange(from, to)
		s.truncated = s.truncated || err == nil
		return err
	default:
		return fmt.Errorf("delete entries %d to %d of the log: the checkpoint at %d lies between", from, to, durable)
	}
}
