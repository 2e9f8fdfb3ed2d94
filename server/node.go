package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/aof"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/server/config"
)

// node is what this process keeps on disk: the log, the stable store, and its shard.
//
//	dir/LOCK      held while the process runs
//	dir/log/      the log of all shards
//	dir/raft.db   terms and votes of all shards
//	dir/shard-1/  the store of shard 1
type node struct {
	config *config.Config
	log    *slog.Logger
	fatal  func(error)

	lock    io.Closer
	aof     *aof.Log
	shard   *aof.ShardLog
	stable  *raftfsm.StableFile
	cache   *store.Cache
	engine  *engine.Engine
	group   *raftfsm.Group
	watches *watches

	stop   context.CancelFunc
	joined sync.WaitGroup

	checkpoints checkpoints
	rested      atomic.Int64 // when background work rested last, Unix nanoseconds
	hurry       atomic.Bool  // it may not rest: memory is short, or compactions are behind
	hold        atomic.Bool  // writes wait for room in memory
	diskFull    atomic.Bool  // maxdisk is reached
	diskBeyond  atomic.Bool  // and exceeded by more than evictions may take
	eviction    eviction
	expired     atomic.Int64 // keys that were removed because their time had come
	latency     latencyMonitor
	pause       pause
}

const (
	shardID    = 1
	serverID   = raft.ServerID("node-1")
	serverAddr = raft.ServerAddress("node-1")
)

// logPolicy is the log's name for the configured appendfsync.
func logPolicy(f config.Fsync) aof.SyncPolicy {
	switch f {
	case config.FsyncEverySec:
		return aof.EverySec
	case config.FsyncNo:
		return aof.No
	}
	return aof.Always
}

// budgets divide maxmemory between the front and the store's block cache.
func budgets(maxmemory int64) (front, cache int64) {
	if maxmemory == 0 {
		return 0, 64 << 20
	}
	cache = min(max(maxmemory/16, 4<<20), 128<<20)
	return max(maxmemory-maxmemory/8-cache, 8<<20), cache
}

// openNode opens everything and waits until the shard can be read and written.
func openNode(ctx context.Context, c *config.Config, log *slog.Logger, fatal func(error)) (_ *node, err error) {
	v, begun := c.Load(), time.Now()
	n := &node{config: c, log: log, fatal: fatal}
	n.eviction.wake = make(chan struct{}, 1)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.closeFiles())
		}
	}()
	if err := os.MkdirAll(v.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("the data folder cannot be made: %w", err)
	}
	if n.lock, err = vfs.Default.Lock(filepath.Join(v.Dir, "LOCK")); err != nil {
		return nil, fmt.Errorf("the data folder %s is in use by another server, or cannot be written: %w", v.Dir, err)
	}
	n.aof, err = aof.Open(aof.Options{Dir: filepath.Join(v.Dir, "log"), Policy: logPolicy(v.AppendFsync), SegmentSize: v.LogSegmentSize, Logger: log, Fatal: fatal,
		Synced: func(took time.Duration) { n.delayed(eventSync, took) }})
	if err != nil {
		return nil, err
	}
	n.shard = n.aof.Shard(shardID)
	if n.stable, err = raftfsm.OpenStable(filepath.Join(v.Dir, "raft.db")); err != nil {
		return nil, err
	}
	front, cache := budgets(v.MaxMemory.Bytes)
	n.cache = store.NewCache(cache)
	n.engine, err = engine.Open(engine.Options{
		Store:  store.Options{Dir: filepath.Join(v.Dir, "shard-1"), Cache: n.cache, Logger: log, Fatal: fatal, HoldCompactions: true, Yield: n.pace},
		Random: rand.Uint64,
		Budget: front,
		Logger: log,
		Pace:   n.pace,
	})
	if err != nil {
		return nil, err
	}
	n.engine.Keys().SetRecencyClock(uint32(time.Now().Unix()))
	n.setEviction(v)
	n.watches = &watches{keys: n.engine.Keys()}
	checkpoint := n.engine.AppliedIndex()
	n.group, err = raftfsm.Open(raftfsm.Options{
		ID: serverID, Group: shardID, Node: rand.Uint64(),
		Bootstrap: []raft.Server{{ID: serverID, Address: serverAddr}},
		Engine:    raftfsm.ForEngine(n.engine, "", shardID),
		Log:       n.shard,
		Stable:    n.stable.Group(shardID),
		Transport: raftfsm.NewLoopback(serverAddr),
		Sync:      n.aof.Sync,
		Clock:     time.Now,
		Random:    rand.Uint64,
		Fatal:     fatal,
		OnLanded:  func() { n.watches.wake() },
		Logger:    log,
	})
	if err != nil {
		return nil, err
	}
	n.watches.group = n.group
	if err := n.group.WaitReady(ctx); err != nil {
		return nil, fmt.Errorf("the shard did not become ready: %w", err)
	}
	log.Info("the data is recovered", "checkpoint_index", checkpoint, "entries_replayed", n.engine.AppliedIndex()-checkpoint,
		"keys", n.keyCount(), "took", time.Since(begun).Round(time.Millisecond))
	n.engine.Store().AllowCompactions()
	debug.FreeOSMemory() // what the replay has left behind
	n.checkpoints.init(time.Now())
	background, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.joined.Go(func() { n.keepCheckpoints(background) })
	n.joined.Go(func() { n.keepMemory(background) })
	n.joined.Go(func() { n.expireKeys(background) })
	n.joined.Go(func() { n.evictData(background) })
	n.joined.Go(func() { n.evictForDisk(background) })
	n.joined.Go(func() { n.keepWhole(background) })
	return n, nil
}

// keyCount is how many keys there are in all data bases.
func (n *node) keyCount() (total int64) {
	for _, keys := range n.engine.Keys().Stats().Keys {
		total += keys
	}
	return total
}

func (n *node) random() uint64 { return rand.Uint64() }

// close stops the background and the shard. With save set, a checkpoint is taken first, so that the next start has
// nothing to replay.
func (n *node) close(ctx context.Context, save bool) error {
	var err error
	if n.stop != nil {
		n.stop()
		n.joined.Wait()
	}
	if n.group != nil {
		if save {
			err = n.checkpoint()
		}
		err = errors.Join(err, n.group.Close(ctx))
	}
	return errors.Join(err, n.closeFiles())
}

func (n *node) closeFiles() (err error) {
	if n.engine != nil {
		err = n.engine.Close()
	}
	if n.cache != nil {
		n.cache.Close()
	}
	if n.stable != nil {
		err = errors.Join(err, n.stable.Close())
	}
	if n.aof != nil {
		err = errors.Join(err, n.aof.Close())
	}
	if n.lock != nil {
		err = errors.Join(err, n.lock.Close())
	}
	return err
}

// holdWrites says that batches should not be proposed now: memory is so short that writers have to wait until a
// checkpoint makes entries droppable, or evictions have made room.
func (n *node) holdWrites() bool {
	if n.hold.Load() {
		n.eviction.held.Store(true)
		return true
	}
	return n.holdsForRoom()
}

// misconf is Redis's answer to writes while snapshots fail.
const misconf = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error."

// refuse says why a write cannot be taken now, or "".
func (n *node) refuse(row *command.Command) string {
	if row.Flags&command.DenyOOM != 0 && (n.outOfMemory() || n.outOfDisk()) {
		return "OOM command not allowed when used memory > 'maxmemory'."
	}
	if n.checkpoints.failing.Load() && n.config.Load().StopWritesOnBgsaveError {
		return misconf
	}
	return ""
}

// reload drops the front and rebuilds it from store and log. It waits for checkpoints and long reads under way. An
// error means that the state is gone.
func (n *node) reload() error {
	for {
		err := n.engine.Reload(n.replay)
		if !errors.Is(err, keyspace.ErrCheckpointing) && !errors.Is(err, keyspace.ErrViewed) {
			n.watches.touchAll()
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func (n *node) replay(from, to uint64, apply func(index, term uint64, entry []byte) error) error {
	var l raft.Log
	for i := from + 1; i <= to; i++ {
		if err := n.shard.GetLog(i, &l); err != nil {
			return err
		}
		if l.Type != raft.LogCommand {
			continue
		}
		if err := apply(l.Index, l.Term, l.Data); err != nil {
			return err
		}
	}
	return nil
}
