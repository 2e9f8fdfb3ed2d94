package server

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/config"
)

// checkpoints is what is known of the shard's checkpoints.
type checkpoints struct {
	wanted    chan struct{} // a nudge to look again at once
	failing   atomic.Bool   // the last one failed
	scheduled atomic.Bool   // BGREWRITEAOF waits for the one under way
	expireOff atomic.Bool   // DEBUG SET-ACTIVE-EXPIRE 0

	mu struct {
		sync.Mutex
		running   int       // calls of checkpoint that wait for one
		last      time.Time // the last that succeeded, or the start
		lastTook  time.Duration
		lastBegun time.Time
		lastErr   error
		writes    uint64 // applied index at the last one
		count     int64  // that succeeded
	}
}

func (c *checkpoints) init(now time.Time) {
	c.wanted = make(chan struct{}, 1)
	c.mu.last = now
}

const (
	checkpointLook = 100 * time.Millisecond
	retryFailed    = 5 * time.Second
	replayBound    = 900 * time.Millisecond  // how long a restart may take to apply commands again
	replayColdly   = 1500 * time.Millisecond // the same with the cold data that they touch,
	replayAtLeast  = 400 * time.Millisecond  // but not so that checkpoints follow one another for it
	dirtyDefault   = 512 << 20               // dirty bytes that call for a checkpoint where maxmemory is no bound
)

// keepCheckpoints takes a checkpoint when one is due: much is dirty, the log is long, time has passed, or a segment of
// the log is kept by this shard alone.
func (n *node) keepCheckpoints(ctx context.Context) {
	look := time.NewTicker(checkpointLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-n.checkpoints.wanted:
		}
		n.hurry.Store(n.engine.Keys().Pressure() != keyspace.Easy || n.engine.Store().Busy())
		if n.checkpointDue(time.Now()) {
			// The error is kept for LASTSAVE and INFO, and logged.
			_ = n.checkpoint()
			n.unpin()
		}
	}
}

// pinnedFactor is how many times checkpoint-log-bytes of files may be kept for a quiet shard's last entries.
const pinnedFactor = 4

// unpin has the log carry the last entries of a quiet shard forward, so that the files behind can go.
func (n *node) unpin() {
	if len(n.aof.Pinned(pinnedFactor*n.config.Load().CheckpointLogBytes)) == 0 {
		return
	}
	index, _, _, _, ok := n.engine.Durable()
	if !ok {
		return
	}
	if err := n.shard.CutBelow(index); err != nil {
		n.log.Warn("old log segments cannot be let go yet", "error", err)
	}
}

// wantCheckpoint has keepCheckpoints look at once.
func (n *node) wantCheckpoint() {
	select {
	case n.checkpoints.wanted <- struct{}{}:
	default:
	}
}

func (n *node) checkpointDue(now time.Time) bool {
	v := n.config.Load()
	c := &n.checkpoints
	c.mu.Lock()
	last, begun, failed, writes := c.mu.last, c.mu.lastBegun, c.mu.lastErr != nil, c.mu.writes
	c.mu.Unlock()
	if failed && now.Sub(begun) < retryFailed {
		return false
	}
	if failed {
		return true
	}
	s := n.engine.Keys().Stats()
	if n.engine.Store().Busy() && n.engine.Keys().Pressure() != keyspace.Hard {
		return false
	}
	limit := int64(dirtyDefault)
	if s.Budget > 0 {
		limit = s.Budget / 4
	}
	applied := n.engine.AppliedIndex()
	switch {
	case s.DirtyBytes > limit:
	case n.engine.Keys().Pressure() != keyspace.Easy && s.DirtyBytes > limit/4:
	case n.eviction.policy.Load().whole && s.Budget > 0 && s.Tombstones > limit/4: // of evicted keys: it takes them away
	case n.replayTooLong():
	case applied > writes && n.shard.Bytes() > v.CheckpointLogBytes:
	case saveDue(v.Save, s.DirtyKeys, now.Sub(last)):
	case applied > writes && v.CheckpointInterval > 0 && now.Sub(last) > v.CheckpointInterval:
	case len(n.aof.Pinned(pinnedFactor*v.CheckpointLogBytes)) > 0:
	default:
		return false
	}
	return true
}

// saveDue says whether one of the save lines calls for a checkpoint: so many keys changed, so long since the last one.
func saveDue(points []config.SavePoint, changed int64, since time.Duration) bool {
	return slices.ContainsFunc(points, func(p config.SavePoint) bool {
		return changed >= p.Changes && since >= time.Duration(p.Seconds)*time.Second
	})
}

// replayTooLong says whether a restart would replay for too long.
func (n *node) replayTooLong() bool {
	commands, all := n.engine.ReplayCost()
	return commands > replayBound || commands > replayAtLeast && all > replayColdly
}

// errSaving reports that a checkpoint is under way.
var errSaving = errors.New("a checkpoint is under way")

// begin notes that a checkpoint begins; unless join is set, it is refused while there is one.
func (c *checkpoints) begin(now time.Time, join bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.running > 0 && !join {
		return errSaving
	}
	c.mu.running++
	c.mu.lastBegun = now
	return nil
}

// checkpoint takes a checkpoint, or waits for the one under way.
func (n *node) checkpoint() error {
	begun := time.Now()
	if err := n.checkpoints.begin(begun, true); err != nil {
		return err
	}
	return n.runCheckpoint(begun)
}

// startCheckpoint begins a checkpoint, which run then takes, unless one is under way.
func (n *node) startCheckpoint() (run func() error, err error) {
	begun := time.Now()
	if err := n.checkpoints.begin(begun, false); err != nil {
		return nil, err
	}
	return func() error { return n.runCheckpoint(begun) }, nil
}

func (n *node) runCheckpoint(begun time.Time) error {
	c := &n.checkpoints
	writes := n.engine.AppliedIndex()
	err := n.group.Checkpoint()
	c.mu.Lock()
	c.mu.running--
	c.mu.lastErr = err
	c.mu.lastTook = time.Since(begun)
	if err == nil {
		c.mu.last, c.mu.writes = time.Now(), writes
		c.mu.count++
	}
	took := c.mu.lastTook
	c.mu.Unlock()
	n.delayed(eventCheckpoint, took)
	if failed := c.failing.Swap(err != nil); failed && err == nil {
		n.log.Info("checkpoints succeed again: writes are taken", "index", writes, "took", took)
	}
	if err != nil {
		n.log.Error("checkpoint failed: the log still holds everything, but it grows, and writes are refused until one succeeds (stop-writes-on-bgsave-error); free disk space, or see the error", "error", err)
	} else {
		n.log.Debug("checkpoint", "index", writes, "took", took)
	}
	return err
}

const (
	workSpell = 200 * time.Microsecond
	restSpell = 50 * time.Microsecond
)

// pace is called every few dozen microseconds by what builds tables, checkpoints and compactions. Now and then it sleeps:
// a goroutine that only yields goes on being runnable, and then Go's scheduler looks for ready sockets no sooner than
// after 10 ms.
func (n *node) pace() {
	if n.hurry.Load() {
		runtime.Gosched()
		return
	}
	if time.Since(time.Unix(0, n.rested.Load())) < workSpell {
		return
	}
	time.Sleep(restSpell)
	n.rested.Store(time.Now().UnixNano())
}

const memoryLook = 10 * time.Millisecond

// keepMemory drops clean entries when the front is over its budget, frees what was flushed, and compacts.
func (n *node) keepMemory(ctx context.Context) {
	look := time.NewTicker(memoryLook)
	defer look.Stop()
	disk := time.NewTicker(time.Second)
	begun := time.Now()
	defer disk.Stop()
	keys := n.engine.Keys()
	for {
		select {
		case <-ctx.Done():
			return
		case <-disk.C:
			keys.SetRecencyClock(uint32(begun.Add(time.Since(begun)).Unix())) // a jump of the wall clock does not show
			n.noteDisk(n.config.Load())
			continue
		case <-look.C:
		}
		for keys.Upkeep() && ctx.Err() == nil {
			n.pace()
		}
		p := keys.Pressure()
		if p != keyspace.Easy {
			n.wantCheckpoint()
		}
		if n.hold.Store(p == keyspace.Hard && keys.Stats().DirtyBytes > 0); !n.hold.Load() {
			n.letGo()
		}
	}
}

const (
	expireLook     = 100 * time.Millisecond
	expireKeys     = 1000 // keys proposed at a time
	expireSegments = 800  // segments of the front looked at each time
	expireCommand  = "LARDER.EXPIRE"
)

// expireKeys has the log delete keys whose time has come.
func (n *node) expireKeys(ctx context.Context) {
	look := time.NewTicker(expireLook)
	defer look.Stop()
	row := command.Lookup([]byte(expireCommand))
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if !n.group.CanRead() || n.checkpoints.expireOff.Load() || n.pause.what.Load() != pausedNothing {
			continue
		}
		begun, any := reading(), false
		for ctx.Err() == nil {
			keys, err := n.engine.Keys().Due(n.group.Now(), expireKeys, expireSegments)
			if err != nil {
				n.fatal(err)
				return
			}
			if len(keys) == 0 {
				break
			}
			any = true
			if err := n.proposeExpiry(ctx, row, keys); err != nil {
				break
			}
			if len(keys) < expireKeys {
				break
			}
		}
		if any {
			n.delayed(eventExpireCycle, reading()-begun)
		}
	}
}

// proposeExpiry deletes keys by name through the log and waits until that is applied.
func (n *node) proposeExpiry(ctx context.Context, row *command.Command, keys []keyspace.Key) (err error) {
	var removed expiryReplies
	b := &engine.Batch{Replies: &removed}
	for _, k := range keys {
		b.AddWrite(row, k.DB, [][]byte{[]byte(expireCommand), k.Key})
	}
	err = n.proposeAndWait(ctx, b)
	n.expired.Add(removed.keys)
	return err
}

// backgroundLoop stands for the background in entries' origins.
const backgroundLoop = 1 << 16

// expiryReplies adds up how many keys the commands of a batch removed.
type expiryReplies struct{ keys int64 }

func (e *expiryReplies) Begin(int) reply.Writer { return sum{reply.Discard, &e.keys} }
func (e *expiryReplies) End(int)                {}

// sum adds up the integers that it is given.
type sum struct {
	reply.Writer
	to *int64
}

// Int implements reply.Writer.
func (s sum) Int(n int64) { *s.to += n }
