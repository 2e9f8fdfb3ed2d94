package server

import (
	"fmt"
	"strings"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/raftfsm"
)

// shardFigures is what INFO shows of a shard.
type shardFigures struct {
	id      uint32
	raft    raftfsm.Stats
	store   store.Metrics
	keys    int64
	budget  int64
	restart replayCost
}

// replayCost is how long a restart would apply commands again, without and with the cold data that they touch.
type replayCost struct{ commands, all time.Duration }

func (n *node) shardFigures() (list []shardFigures) {
	n.each(func(sh *shard) {
		f := shardFigures{id: sh.id, raft: sh.group.Stats(), store: sh.engine.Store().Metrics(), keys: sh.keyCount(), budget: sh.engine.Keys().Stats().Budget}
		f.restart.commands, f.restart.all = sh.engine.ReplayCost()
		list = append(list, f)
	})
	return list
}

// write writes a shard's line of INFO.
func (f *shardFigures) write(b *infoText) {
	fmt.Fprintf(b, "shard%d:state=%s,term=%d,applied_index=%d,checkpoint_index=%d,keys=%d,front_budget=%d,store_bytes=%d,log_bytes=%d\r\n",
		f.id, strings.ToLower(f.raft.State), f.raft.Term, f.raft.Applied, f.raft.Durable, f.keys, f.budget, f.store.DiskBytes, f.raft.LogBytes)
}

// sumStats sums up the groups: indexes and counts added, the greatest term, and the first group's state.
func sumStats(list []shardFigures) (sum raftfsm.Stats) {
	for i := range list {
		r := &list[i].raft
		if i == 0 {
			sum.State = r.State
		}
		sum.Term = max(sum.Term, r.Term)
		sum.LastIndex += r.LastIndex
		sum.Committed += r.Committed
		sum.Applied += r.Applied
		sum.Durable += r.Durable
		sum.InFlight += r.InFlight
		sum.LogBytes += r.LogBytes
	}
	return sum
}

// sumStores sums up the stores, and what a restart would cost; of sublevels the most counts.
func sumStores(list []shardFigures) (sum store.Metrics, restart replayCost) {
	for i := range list {
		m := &list[i].store
		sum.DiskBytes += m.DiskBytes
		sum.Tables += m.Tables
		sum.Sublevels = max(sum.Sublevels, m.Sublevels)
		sum.CompactionDebt += m.CompactionDebt
		sum.Compactions += m.Compactions
		sum.Compacting = sum.Compacting || m.Compacting
		restart.commands += list[i].restart.commands
		restart.all += list[i].restart.all
	}
	return sum, restart
}

// addStats adds up the figures of two key spaces.
func addStats(a, b keyspace.Stats) keyspace.Stats {
	a.Entries += b.Entries
	a.DirtyKeys += b.DirtyKeys
	a.DirtyBytes += b.DirtyBytes
	a.Live += b.Live
	a.Resident += b.Resident
	a.Segments += b.Segments
	a.Doomed += b.Doomed
	a.Tombstones += b.Tombstones
	for db := range a.Keys {
		a.Keys[db] += b.Keys[db]
		a.Timed[db] += b.Timed[db]
	}
	a.Budget += b.Budget
	a.Evicted += b.Evicted
	a.Cold = a.Cold || b.Cold
	return a
}
