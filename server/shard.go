package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/aof"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/raftfsm"
)

// shard is this node's replica of one shard. It opens and closes while the server runs:
//
//	open    loops and background find it in the node's list and keep what they need for it (loopShard, jobs)
//	closed  it is out of the list, every loop has dropped what it kept, and nobody uses it any more; only then the group
//	        is closed, which answers what is in flight, and behind that the engine
//
// A loop needs no leave to use a shard, since it drops it by itself; all others take one for as long (use).
type shard struct {
	node  *node
	id    uint32
	place int // in the loops' lists; no other open shard has it

	engine  *engine.Engine
	group   *raftfsm.Group
	part    *aof.ShardLog
	watches *watches
	waiting []atomic.Bool // by loop: something may wait in its lane

	incoming net.Listener   // of snapshots; nil: none come
	serving  sync.WaitGroup // of snapshots

	ctx  context.Context // ends when the shard is about to close
	stop context.CancelFunc
	uses sync.RWMutex // held shared by who uses the shard, for good by who closes it
	jobs [jobKinds]atomic.Bool

	checkpoints checkpoints
	looked      looked      // keepCheckpoints'
	hold        atomic.Bool // writes wait for room in memory
	marks       atomic.Pointer[marks]
	barren      atomic.Bool // there is no key that the policy lets go
	spent       atomic.Bool // the same, as the disk's evictions found
	victims     *keyspace.Victims
	diskVictims *keyspace.Victims
}

// shardOptions say how a shard is opened.
type shardOptions struct {
	id        uint32
	folder    string        // below the data folder; "": shard-<id>
	system    bool          // it holds no clients' data: no event loop knows it, and maxmemory is not for it
	shards    int           // of the cluster, about
	self      raft.ServerID // this node's name in the group
	bootstrap []raft.Server // the first configuration of a new group; nil: there is one, which this node joins
	takeOver  bool          // this node is made the group's only voter
	transport raftfsm.Transport
	snapshots raftfsm.SnapshotDialer // how another replica is sent this one's state; nil: none is
	incoming  net.Listener           // of snapshots for this one, which the shard closes; nil: none come
	lead      func(leader bool)      // told of each change of leadership here; nil: nobody
	seed      func() uint64          // draws the hash seed of a new shard; nil: at random
}

// metaCommit is how soon all nodes are to know what the document says: redirections go by it.
const metaCommit = 50 * time.Millisecond

// openShard opens a shard. It does not wait until it can be read: see waitReady.
func (n *node) openShard(o shardOptions) (_ *shard, err error) {
	n.opening.Lock()
	defer n.opening.Unlock()
	for _, other := range n.local() {
		if other.id == o.id {
			return nil, fmt.Errorf("shard %d is open already", o.id)
		}
	}
	if o.folder == "" {
		o.folder = shardFolder(o.id)
	}
	if o.seed == nil {
		o.seed = n.random
	}
	sh := &shard{node: n, id: o.id, place: n.freePlace(), part: n.aof.Shard(uint64(o.id)), waiting: make([]atomic.Bool, n.threads)}
	sh.ctx, sh.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			sh.stop()
		}
	}()
	sh.engine, err = engine.Open(engine.Options{
		Store:   store.Options{Dir: filepath.Join(n.config.Load().Dir, o.folder), Cache: n.cache, Logger: n.log, Fatal: n.fatal, HoldCompactions: true, Yield: n.pace},
		Random:  o.seed,
		Budget:  leastFront,
		Reserve: reserve(o),
		Logger:  n.log,
		Pace:    n.pace,
	})
	if err != nil {
		return nil, err
	}
	keys := sh.engine.Keys()
	keys.SetRecencyClock(uint32(time.Now().Unix()))
	sh.victims, sh.diskVictims = keys.NewVictims(n.random), keys.NewVictims(n.random)
	sh.watches = &watches{keys: keys, wake: sh.wakeLanes}
	sh.checkpoints.mu.last = time.Now()
	if !o.system {
		n.divide(append(n.local()[:len(n.local()):len(n.local())], sh)) // what is replayed needs room
	}
	timeouts := raftfsm.Timeouts{}
	if o.system {
		timeouts.Commit = metaCommit
	}
	sh.group, err = raftfsm.Open(raftfsm.Options{
		ID: o.self, Group: o.id, Node: n.drawn,
		Bootstrap:    o.bootstrap,
		TakeOver:     o.takeOver,
		Engine:       raftfsm.ForEngine(sh.engine, n.member.id.Cluster, o.id),
		Log:          sh.part,
		Stable:       jammedStable{n.stable.Group(o.id), &n.jam},
		Transport:    o.transport,
		DialSnapshot: o.snapshots,
		MaxEntry:     mostEntry,
		Sync:         n.aof.Sync,
		Forgot:       n.aof.MayHaveForgotten(),
		Clock:        time.Now,
		WallShift:    n.wall.offset,
		Uptime:       n.uptime,
		Random:       n.random,
		Fatal:        n.fatal,
		OnLeadership: o.lead,
		OnLanded:     sh.wakeLanes,
		Timeouts:     timeouts,
		Logger:       n.log,
	})
	if err != nil {
		return nil, errors.Join(err, sh.engine.Close())
	}
	sh.watches.group = sh.group
	if sh.incoming = o.incoming; sh.incoming != nil {
		sh.serving.Go(func() { sh.group.ServeSnapshots(sh.incoming) })
	}
	if o.system {
		return sh, nil
	}
	n.list(func(list []*shard) []*shard { return append(list, sh) })
	return sh, nil
}

// reserve is how much address space a shard's front may take: all of them together stay below what there is.
func reserve(o shardOptions) int64 {
	if o.system {
		return 1 << 34
	}
	return max((1<<45)/int64(max(o.shards, 32)), 1<<36)
}

// waitReady waits until the shard can be read and written here.
func (sh *shard) waitReady(ctx context.Context) error {
	begun := time.Now()
	checkpoint, _, _, _, _ := sh.engine.Durable()
	if err := sh.group.WaitReady(ctx); err != nil {
		return fmt.Errorf("the shard did not become ready: %w", err)
	}
	sh.node.log.Info("the data is recovered", "shard", sh.id, "checkpoint_index", checkpoint, "entries_replayed", sh.engine.AppliedIndex()-checkpoint,
		"keys", sh.keyCount(), "took", time.Since(begun).Round(time.Millisecond))
	sh.engine.Store().AllowCompactions()
	return nil
}

// closeShard closes a shard, which answers what is in flight. No command is sent to it any more.
func (n *node) closeShard(ctx context.Context, sh *shard) error {
	n.opening.Lock()
	defer n.opening.Unlock()
	n.list(func(list []*shard) []*shard {
		for i, other := range list {
			if other == sh {
				return append(list[:i], list[i+1:]...)
			}
		}
		return list
	})
	n.unroute(sh)
	sh.stop()
	n.forget(sh)
	sh.uses.Lock() // never given back
	if sh.incoming != nil {
		_ = sh.incoming.Close() // it only ends a wait
	}
	err := sh.group.Close(ctx)
	sh.serving.Wait()
	err = errors.Join(err, sh.engine.Close())
	n.divide(n.local())
	return err
}

// forget has every loop drop what it keeps for the shard, and waits until they have.
func (n *node) forget(sh *shard) {
	loops := n.loops.Load()
	if loops == nil {
		return
	}
	var dropped sync.WaitGroup
	for _, l := range *loops {
		dropped.Add(1)
		if !l.loop.Post(func() {
			defer dropped.Done()
			l.drop(sh)
		}) {
			dropped.Done() // the loop has stopped
		}
	}
	dropped.Wait()
}

// use keeps the shard open until unuse. It returns false if it is about to close.
func (sh *shard) use() bool { return sh.uses.TryRLock() }

func (sh *shard) unuse() { sh.uses.RUnlock() }

// jobKind is what the background does for a shard, at most one job of a kind at a time.
type jobKind int

const (
	jobCheckpoint jobKind = iota
	jobMemory
	jobExpire
	jobEvict
	jobLoad
	jobKinds
)

// start runs a job of the background for the shard, unless one of its kind runs. Its context ends before the shard
// closes, which waits for it.
func (sh *shard) start(kind jobKind, job func(ctx context.Context)) {
	if !sh.jobs[kind].CompareAndSwap(false, true) {
		return
	}
	if !sh.use() {
		sh.jobs[kind].Store(false)
		return
	}
	sh.node.joined.Go(func() {
		defer sh.unuse()
		defer sh.jobs[kind].Store(false)
		job(sh.ctx)
	})
}

// runs says whether a job of the kind runs.
func (sh *shard) runs(kind jobKind) bool { return sh.jobs[kind].Load() }

// keyCount is how many keys there are in all data bases.
func (sh *shard) keyCount() (total int64) {
	for _, keys := range sh.engine.Keys().Stats().Keys {
		total += keys
	}
	return total
}

// holdWrites says that batches should not be proposed now: memory is so short that writers have to wait until a
// checkpoint makes entries droppable, or evictions have made room.
func (sh *shard) holdWrites() bool {
	if sh.hold.Load() {
		sh.node.held.Store(true)
		return true
	}
	return sh.holdsForRoom()
}

// misconf is Redis's answer to writes while snapshots fail.
const misconf = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error."

// refuse says why a write cannot be taken now, or "".
func (sh *shard) refuse(row *command.Command) string {
	if row.Flags&command.DenyOOM != 0 && (sh.outOfMemory() || sh.outOfDisk()) {
		return "OOM command not allowed when used memory > 'maxmemory'."
	}
	if sh.checkpoints.failing.Load() && sh.node.config.Load().StopWritesOnBgsaveError {
		return misconf
	}
	return ""
}

// reload drops the front and rebuilds it from store and log. It waits for checkpoints and long reads under way. An
// error means that the state is gone.
func (sh *shard) reload() error {
	for {
		err := sh.engine.Reload(sh.replay)
		if !errors.Is(err, keyspace.ErrCheckpointing) && !errors.Is(err, keyspace.ErrViewed) {
			sh.watches.touchAll()
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func (sh *shard) replay(from, to uint64, apply func(index, term uint64, entry []byte) error) error {
	var l raft.Log
	for i := from + 1; i <= to; i++ {
		if err := sh.part.GetLog(i, &l); err != nil {
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
