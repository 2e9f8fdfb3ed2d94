package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/raftfsm"
	"github.com/larder-db/larder/server/config"
)

// checkpoints is what is known of the shard's checkpoints.
type checkpoints struct {
	failing atomic.Bool // the last one failed

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

const (
	checkpointLook = 100 * time.Millisecond
	retryFailed    = 5 * time.Second
	replayBound    = 900 * time.Millisecond  // how long a restart may take to apply commands again
	replayColdly   = 1500 * time.Millisecond // the same with the cold data that they touch,
	replayAtLeast  = 400 * time.Millisecond  // but not so that checkpoints follow one another for it
	dirtyDefault   = 512 << 20               // dirty bytes that call for a checkpoint where maxmemory is no bound
)

// keepCheckpoints takes a checkpoint of a shard when one is due: much is dirty, the log is long, time has passed, or a
// segment of the log is kept by this shard alone.
func (n *node) keepCheckpoints(ctx context.Context) {
	look := time.NewTicker(checkpointLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-n.wantLook:
		}
		hurry := false
		kept := int64(0)
		for _, sh := range n.all() {
			kept += sh.group.LogKept()
		}
		pinned := n.aof.Pinned(pinnedFactor*n.config.Load().CheckpointLogBytes + kept)
		for _, sh := range n.all() {
			if sh.quiet() {
				continue
			}
			hurry = hurry || sh.engine.Keys().Pressure() != keyspace.Easy || sh.engine.Store().Busy()
			if !sh.runs(jobCheckpoint) && sh.checkpointDue(time.Now(), slices.Contains(pinned, uint64(sh.id))) {
				sh.start(jobCheckpoint, func(context.Context) {
					// The error is kept for LASTSAVE and INFO, and logged.
					_ = sh.checkpoint()
					sh.unpin()
				})
			}
		}
		n.hurry.Store(hurry)
	}
}

// quiet says that nothing has been applied since the last look, so that this one may be left out; every so often it is not.
func (sh *shard) quiet() bool {
	l := &sh.looked
	applied := sh.engine.AppliedIndex()
	if applied != l.applied || sh.engine.Keys().Pressure() != keyspace.Easy {
		l.applied, l.skipped = applied, 0
		return false
	}
	l.skipped = (l.skipped + 1) % quietLooks
	return l.skipped != 0
}

// quietLooks is how many looks at a quiet shard are one.
const quietLooks = 5

// looked is what keepCheckpoints saw of a shard last.
type looked struct {
	applied uint64
	skipped int
}

// pinnedFactor is how many times checkpoint-log-bytes of files may be kept for a quiet shard's last entries.
const pinnedFactor = 4

// unpin has the log carry the last entries of a quiet shard forward, so that the files behind can go.
func (sh *shard) unpin() {
	if !slices.Contains(sh.node.aof.Pinned(pinnedFactor*sh.node.config.Load().CheckpointLogBytes+sh.group.LogKept()), uint64(sh.id)) {
		return
	}
	if err := sh.group.CutLog(); err != nil {
		sh.node.log.Warn("old log segments cannot be let go yet", "shard", sh.id, "error", err)
	}
}

// wantCheckpoint has keepCheckpoints look at once.
func (n *node) wantCheckpoint() {
	select {
	case n.wantLook <- struct{}{}:
	default:
	}
}

// checkpointDue says whether a checkpoint is to be taken; pinned: files of the log are kept for this shard alone.
func (sh *shard) checkpointDue(now time.Time, pinned bool) bool {
	v := sh.node.config.Load()
	c := &sh.checkpoints
	c.mu.Lock()
	last, begun, failed, writes := c.mu.last, c.mu.lastBegun, c.mu.lastErr != nil, c.mu.writes
	c.mu.Unlock()
	if failed && now.Sub(begun) < retryFailed {
		return false
	}
	if failed {
		return true
	}
	keys := sh.engine.Keys()
	s := keys.Stats()
	if sh.engine.Store().Busy() && keys.Pressure() != keyspace.Hard {
		return false
	}
	limit := int64(dirtyDefault)
	if s.Budget > 0 {
		limit = s.Budget / 4
	}
	applied := sh.engine.AppliedIndex()
	switch {
	case s.DirtyBytes > limit:
	case keys.Pressure() != keyspace.Easy && s.DirtyBytes > limit/4:
	case sh.node.policy.Load().whole && s.Budget > 0 && s.Tombstones > limit/4: // of evicted keys: it takes them away
	case sh.replayTooLong():
	case applied > writes && sh.group.LogSinceCheckpoint() > v.CheckpointLogBytes:
	case saveDue(v.Save, s.DirtyKeys, now.Sub(last)):
	case applied > writes && v.CheckpointInterval > 0 && now.Sub(last) > v.CheckpointInterval:
	case pinned:
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
func (sh *shard) replayTooLong() bool {
	commands, all := sh.engine.ReplayCost()
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

// abandon takes begin back.
func (c *checkpoints) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.running--
}

// checkpoint takes a checkpoint, or waits for the one under way.
func (sh *shard) checkpoint() error {
	begun := time.Now()
	if err := sh.checkpoints.begin(begun, true); err != nil {
		return err
	}
	return sh.runCheckpoint(begun)
}

// checkpoint takes one of every shard.
func (n *node) checkpoint() (err error) {
	n.each(func(sh *shard) { err = errors.Join(err, sh.checkpoint()) })
	return err
}

// checkpointing says whether a checkpoint of a shard is under way.
func (n *node) checkpointing() bool {
	return slices.ContainsFunc(n.local(), func(sh *shard) bool { return sh.engine.Keys().Checkpointing() })
}

// startCheckpoint begins a checkpoint of every shard, which run then takes, unless one is under way.
func (n *node) startCheckpoint() (run func() error, err error) {
	begun := time.Now()
	local := n.local()
	for i, sh := range local {
		if err := sh.checkpoints.begin(begun, false); err != nil {
			for _, other := range local[:i] {
				other.checkpoints.abandon()
			}
			return nil, err
		}
	}
	return func() (err error) {
		for _, sh := range local {
			if !sh.use() {
				sh.checkpoints.abandon()
				continue
			}
			err = errors.Join(err, sh.runCheckpoint(begun))
			sh.unuse()
		}
		return err
	}, nil
}

func (sh *shard) runCheckpoint(begun time.Time) error {
	n, c := sh.node, &sh.checkpoints
	writes := sh.engine.AppliedIndex()
	err := sh.group.Checkpoint()
	c.mu.Lock()
	c.mu.running--
	if !errors.Is(err, raftfsm.ErrBehind) {
		c.mu.lastErr = err
	}
	c.mu.lastTook = time.Since(begun)
	if err == nil {
		c.mu.last, c.mu.writes = time.Now(), writes
		c.mu.count++
	}
	took := c.mu.lastTook
	c.mu.Unlock()
	n.delayed(eventCheckpoint, took)
	if errors.Is(err, raftfsm.ErrBehind) { // nothing is wrong, and it will be tried again
		n.log.Debug("checkpoint put off", "shard", sh.id, "error", err)
		return err
	}
	if failed := c.failing.Swap(err != nil); failed && err == nil {
		n.log.Info("checkpoints succeed again: writes are taken", "shard", sh.id, "index", writes, "took", took)
	}
	if err != nil {
		n.log.Error("checkpoint failed: the log still holds everything, but it grows, and writes are refused until one succeeds (stop-writes-on-bgsave-error); free disk space, or see the error", "shard", sh.id, "error", err)
	} else {
		n.log.Debug("checkpoint", "shard", sh.id, "index", writes, "took", took)
	}
	return err
}

// checkpointFigures is what INFO shows of the shards' checkpoints: one that is under way, the oldest of the last ones, and
// how the last of each ended.
type checkpointFigures struct {
	running, failed bool
	begun, last     time.Time
	took            time.Duration
	count           int64
}

func (n *node) checkpointFigures() (f checkpointFigures) {
	for _, sh := range n.local() {
		c := &sh.checkpoints
		c.mu.Lock()
		if c.mu.running > 0 && (!f.running || c.mu.lastBegun.Before(f.begun)) {
			f.running, f.begun = true, c.mu.lastBegun
		}
		if f.last.IsZero() || c.mu.last.Before(f.last) {
			f.last = c.mu.last
		}
		f.failed = f.failed || c.mu.lastErr != nil
		f.took = max(f.took, c.mu.lastTook)
		f.count += c.mu.count
		c.mu.Unlock()
	}
	return f
}
