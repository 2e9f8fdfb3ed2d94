package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/larder-db/larder/aof"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/server/config"
)

// node is what this process keeps on disk: the log, the stable store, and its shards, which open and close while it
// runs (shard.go). What all shards share is here.
//
//	dir/LOCK       held while the process runs
//	dir/log/       the log of all shards
//	dir/raft.db    terms and votes of all shards
//	dir/node.json  who this node is
//	dir/meta/      the store of the meta group
//	dir/shard-<n>/ the store of shard n
type node struct {
	config *config.Config
	log    *slog.Logger
	fatal  func(error)

	lock      io.Closer
	aof       *aof.Log
	stable    *raftfsm.StableFile
	cache     *store.Cache
	drawn     uint64 // at each start of the process anew, the same for all its groups
	threads   int    // event loops
	clustered bool   // slots decide which shard runs a command, and clients are redirected
	loops     atomic.Pointer[[]*loop]
	shards    atomic.Pointer[[]*shard] // those that are open, by number, but for the meta group's; the list is replaced, never changed
	routing   atomic.Pointer[routing]
	opening   sync.Mutex // held while a shard opens or closes

	member *member

	stop   context.CancelFunc
	joined sync.WaitGroup

	policy     atomic.Pointer[evictionPolicy]
	wantLook   chan struct{} // has keepCheckpoints look at once
	wantRoom   chan struct{} // has evictData look at once
	scheduled  atomic.Bool   // BGREWRITEAOF waits for the checkpoint under way
	expireOff  atomic.Bool   // DEBUG SET-ACTIVE-EXPIRE 0
	rested     atomic.Int64  // when background work rested last, Unix nanoseconds
	replicated atomic.Bool   // some shard here has another replica
	resting    atomic.Int32  // how many rest now
	moving     atomic.Bool   // slots or replicas are on their way between nodes: it rests longer
	hurry      atomic.Bool   // it may not rest: memory is short, or compactions are behind
	held       atomic.Bool   // some loop waits for room
	diskFull   atomic.Bool   // maxdisk is reached
	diskBeyond atomic.Bool   // and exceeded by more than evictions may take
	expired    atomic.Int64  // keys that were removed because their time had come
	evicted    atomic.Int64  // keys
	exceeded   exceeded
	latency    latencyMonitor
	wall       wallClock
	jam        jam
	pause      pause
}

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

func newNode(c *config.Config, log *slog.Logger, fatal func(error)) *node {
	n := &node{config: c, log: log, fatal: fatal, threads: eventLoops(c.Load()), clustered: c.Load().Cluster.Enabled, drawn: rand.Uint64(), wantLook: make(chan struct{}, 1), wantRoom: make(chan struct{}, 1)}
	n.shards.Store(&[]*shard{})
	n.setRouting(soleRouting(nil))
	return n
}

// openNode opens everything and waits until the shard can be read and written.
func openNode(ctx context.Context, c *config.Config, log *slog.Logger, fatal func(error)) (_ *node, err error) {
	n := newNode(c, log, fatal)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close(ctx, false))
		}
	}()
	if err := n.openFiles(); err != nil {
		return nil, err
	}
	n.setEviction(c.Load())
	if err := n.openMember(ctx); err != nil {
		return nil, err
	}
	if err := n.aof.ClearForgotten(); err != nil { // each replica has noted it for itself
		return nil, err
	}
	debug.FreeOSMemory() // what the replay has left behind
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

// openFiles opens what all shards share.
func (n *node) openFiles() (err error) {
	v := n.config.Load()
	if err := os.MkdirAll(v.Dir, 0o750); err != nil {
		return fmt.Errorf("the data folder cannot be made: %w", err)
	}
	if n.lock, err = vfs.Default.Lock(filepath.Join(v.Dir, "LOCK")); err != nil {
		return fmt.Errorf("the data folder %s is in use by another server, or cannot be written: %w", v.Dir, err)
	}
	n.aof, err = aof.Open(aof.Options{FS: jammedFS{vfs.Default, &n.jam}, Dir: filepath.Join(v.Dir, "log"), Policy: logPolicy(v.AppendFsync), SegmentSize: v.LogSegmentSize, Logger: n.log, Fatal: n.fatal,
		Synced: func(took time.Duration) { n.delayed(eventSync, took) }, Rest: func() { time.Sleep(fillRest) }})
	if err != nil {
		return err
	}
	if n.stable, err = raftfsm.OpenStable(filepath.Join(v.Dir, "raft.db")); err != nil {
		return err
	}
	_, cache := budgets(v.MaxMemory.Bytes)
	n.cache = store.NewCache(cache)
	return nil
}

// local lists the shards that are open here, by number.
func (n *node) local() []*shard { return *n.shards.Load() }

// shard finds a shard that is open here; nil: it is not.
func (n *node) shard(id uint32) *shard {
	for _, sh := range n.local() {
		if sh.id == id {
			return sh
		}
	}
	return nil
}

// all lists the shards that are open here, the meta group's included.
func (n *node) all() []*shard {
	if m := n.member; m != nil && m.system.Load() != nil {
		return append(slices.Clone(n.local()), m.system.Load())
	}
	return n.local()
}

// each calls visit for every shard that is open, which does not close meanwhile.
func (n *node) each(visit func(sh *shard)) {
	for _, sh := range n.local() {
		if sh.use() {
			visit(sh)
			sh.unuse()
		}
	}
}

// sole is the node's only shard, or nil.
func (n *node) sole() *shard {
	if local := n.local(); len(local) == 1 {
		return local[0]
	}
	return nil
}

// list replaces the list of open shards by what change makes of a copy.
func (n *node) list(change func(list []*shard) []*shard) {
	list := change(slices.Clone(n.local()))
	slices.SortFunc(list, func(a, b *shard) int { return cmp.Compare(a.id, b.id) })
	n.shards.Store(&list)
}

// freePlace is the least place in the loops' lists that no open shard has.
func (n *node) freePlace() int {
	place := 0
	for slices.ContainsFunc(n.local(), func(sh *shard) bool { return sh.place == place }) {
		place++
	}
	return place
}

// eachLoop has do run on every event loop. It returns false if there is none that still runs.
func (n *node) eachLoop(do func(l *loop)) {
	if loops := n.loops.Load(); loops != nil {
		for _, l := range *loops {
			l.loop.Post(func() { do(l) })
		}
	}
}

func (n *node) random() uint64 { return rand.Uint64() }

// began is what uptime counts from.
var began = time.Now()

// uptime is the monotonic time by which leadership is proven.
func (n *node) uptime() time.Duration { return time.Since(began) }

// close stops the background and the shards. With save set, a checkpoint of each is taken first, so that the next start
// has nothing to replay.
func (n *node) close(ctx context.Context, save bool) (err error) {
	if n.stop != nil {
		n.stop()
		for _, sh := range n.local() {
			sh.stop()
		}
		n.joined.Wait()
	}
	if save {
		n.each(func(sh *shard) {
			e := sh.checkpoint()
			if errors.Is(e, raftfsm.ErrBehind) {
				n.log.Info("stopping without a checkpoint: the next start replays the log", "shard", sh.id, "error", e)
				e = nil
			}
			err = errors.Join(err, e)
		})
	}
	if n.member != nil {
		n.member.close()
		n.handOver()
	}
	for _, sh := range n.local() {
		err = errors.Join(err, n.closeShard(ctx, sh))
	}
	if n.member != nil {
		if system := n.member.system.Load(); system != nil {
			err = errors.Join(err, n.closeShard(ctx, system))
		}
		err = errors.Join(err, n.member.closeEndpoint())
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

// handOver has other nodes lead what this one leads, which is about to stop: they need not find out by its silence. That its
// agent and control API are closed keeps them from handing it back.
func (n *node) handOver() {
	var under sync.WaitGroup
	for _, sh := range n.all() {
		if sh.group.CanRead() && len(sh.group.Followers()) > 0 {
			under.Go(func() {
				if err := sh.group.TransferToFurthest(); err != nil {
					n.log.Warn("nobody else leads the shard yet", "shard", sh.id, "error", err)
				}
			})
		}
	}
	under.Wait()
}

// reload drops the fronts and rebuilds them from store and log; see shard.reload.
func (n *node) reload() (err error) {
	n.each(func(sh *shard) { err = errors.Join(err, sh.reload()) })
	return err
}
