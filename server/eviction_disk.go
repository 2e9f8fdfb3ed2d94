package server

import (
	"context"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
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

func (n *node) diskUsage() int64 { return n.engine.Store().DiskUsage() + n.aof.Stats().Bytes }

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
	victims := n.engine.Keys().NewVictims(n.random)
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		v, p := n.config.Load(), n.eviction.policy.Load()
		if !n.noteDisk(v) || !p.evicts || !n.group.CanRead() {
			continue
		}
		if n.checkpoint() != nil || !n.noteDisk(v) { // a failure is told where checkpoints are kept
			continue
		}
		gone, err := n.evictShare(ctx, p, victims, v.MaxDisk)
		if err == nil && gone > 0 && n.checkpoint() == nil {
			err = n.engine.Store().Reclaim(ctx)
		}
		if err != nil && ctx.Err() == nil {
			n.fatal(err)
			return
		}
		n.noteDisk(v)
	}
}

// evictShare evicts the part of the keys that has to go and returns how many were chosen.
func (n *node) evictShare(ctx context.Context, p *evictionPolicy, victims *keyspace.Victims, bound int64) (gone int64, err error) {
	share := float64(n.diskUsage()-diskLow(bound)) / float64(n.engine.Store().DiskUsage()+1)
	total := n.keyCount()
	most := min(total, int64(float64(total)*share)+1)
	for gone < most && ctx.Err() == nil && n.eviction.policy.Load() == p {
		list, barren, err := victims.Choose(p.rule, 1<<62, int(min(most-gone, evictMost)))
		if err != nil {
			return gone, err
		}
		n.eviction.spent.Store(barren && gone == 0)
		if len(list) == 0 || n.proposeEviction(ctx, p.rule.Timed, list) != nil {
			break
		}
		gone += int64(len(list))
	}
	return gone, nil
}
