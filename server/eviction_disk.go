package server

import (
	"context"
	"time"

	"github.com/larder-db/larder/server/config"
)

// Evictions for maxdisk come in rounds, since what a deleted key took up on the disk comes back only with a checkpoint
// and the compactions behind it: first a checkpoint alone, which cuts the log; if that is not enough, as many keys go as
// bring the store's size below the low mark, by its average per key, and the store is compacted.

const diskLook = time.Second

// diskLow is the size on disk that a round of evictions aims at.
func diskLow(bound int64) int64 { return bound - bound/8 }

// diskSlack is how far beyond maxdisk writes are taken while keys are evicted.
func diskSlack(bound int64) int64 { return bound / 16 }

func (n *node) diskUsage() int64 { return n.storeUsage() + n.aof.Stats().Bytes }

// storeUsage is the size of the shards' stores on disk.
func (n *node) storeUsage() (total int64) {
	n.each(func(sh *shard) { total += sh.engine.Store().DiskUsage() })
	return total
}

// noteDisk compares the size on disk with its bound.
func (n *node) noteDisk(v *config.Values) (full bool) {
	bound, used := v.MaxDisk, n.diskUsage()
	full = bound > 0 && used > bound
	n.diskFull.Store(full)
	n.diskBeyond.Store(full && used > bound+diskSlack(bound))
	return full
}

// evictForDisk keeps the size on disk within maxdisk where a policy says what may go.
func (n *node) evictForDisk(ctx context.Context) {
	look := time.NewTicker(diskLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		v, p := n.config.Load(), n.policy.Load()
		if !n.noteDisk(v) || !p.evicts {
			continue
		}
		if n.checkpoint() != nil || !n.noteDisk(v) { // a failure is told where checkpoints are kept
			continue
		}
		used := n.diskUsage()
		share := float64(used-diskLow(v.MaxDisk)) / float64(n.storeUsage()+1)
		n.each(func(sh *shard) {
			if err := sh.evictShare(ctx, p, share); err != nil && ctx.Err() == nil && sh.ctx.Err() == nil {
				n.fatal(err)
			}
		})
		n.noteDisk(v)
	}
}

// evictShare evicts the part of the keys that has to go and has the store give back what they took up.
func (sh *shard) evictShare(ctx context.Context, p *evictionPolicy, share float64) error {
	total, gone := sh.keyCount(), int64(0)
	most := min(total, int64(float64(total)*share)+1)
	for gone < most && ctx.Err() == nil && sh.ctx.Err() == nil && sh.group.CanRead() && sh.node.policy.Load() == p {
		list, barren, err := sh.diskVictims.Choose(p.rule, 1<<62, int(min(most-gone, evictMost)))
		if err != nil {
			return err
		}
		sh.spent.Store(barren && gone == 0)
		if len(list) == 0 || sh.proposeEviction(ctx, p.rule.Timed, list) != nil {
			break
		}
		gone += int64(len(list))
	}
	if gone == 0 || sh.checkpoint() != nil {
		return nil
	}
	return sh.engine.Store().Reclaim(ctx)
}
