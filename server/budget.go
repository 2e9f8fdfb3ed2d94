package server

import "github.com/larder-db/larder/engine/keyspace"

// maxmemory is one budget for all shards of the node. Each has what it uses and an equal part of what is free; where
// nothing is free, shards have in proportion to what they use, and none less than a floor. The division is made anew when
// shards open or close, when the configuration changes, and now and then (keepMemory).

// leastFront is the least that a front is given, bytes.
const leastFront = 8 << 20

// marks are a shard's bound for data in memory, where it has one, bytes; a bound of 0: none.
type marks struct{ bound, low int64 }

// budgets divide maxmemory between the fronts and the stores' block cache.
func budgets(maxmemory int64) (front, cache int64) {
	if maxmemory == 0 {
		return 0, 64 << 20
	}
	cache = min(max(maxmemory/16, 4<<20), 128<<20)
	return max(maxmemory-maxmemory/8-cache, leastFront), cache
}

// floorPart is what part of an equal share a shard has at least.
const floorPart = 4

// shares divide a budget among shards that use so much.
func shares(budget int64, used []int64) []int64 {
	all, n := int64(0), int64(len(used))
	for _, u := range used {
		all += u
	}
	list := make([]int64, n)
	if free := budget - all; free >= 0 {
		for i, u := range used {
			list[i] = u + free/n
		}
	} else {
		for i, u := range used {
			list[i] = int64(float64(budget) * float64(u) / float64(all))
		}
	}
	floor := budget / n / floorPart
	lacking, spare := int64(0), int64(0)
	for _, s := range list {
		lacking += max(floor-s, 0)
		spare += max(s-floor, 0)
	}
	for i, s := range list {
		if s < floor {
			list[i] = floor
		} else if lacking > 0 {
			list[i] -= int64(float64(s-floor) * float64(lacking) / float64(spare))
		}
	}
	return list
}

// divide gives the shards their shares and has them go by the configuration.
func (n *node) divide(shards []*shard) {
	if len(shards) == 0 {
		return
	}
	p := n.policy.Load()
	used := make([]int64, len(shards))
	for i, sh := range shards {
		used[i] = sh.engine.Keys().Used()
	}
	list := make([]int64, len(shards))
	if p.budget > 0 {
		list = shares(p.budget, used)
	}
	for i, sh := range shards {
		keys := sh.engine.Keys()
		keys.SetBudget(list[i])
		keys.SetWhole(p.whole)
		keys.CountUses(p.rule.Prefer == keyspace.LeastFrequent, p.uses)
		m := &marks{}
		if p.whole && p.budget > 0 {
			m.bound, m.low = list[i], list[i]-margin(list[i])
		}
		sh.marks.Store(m)
	}
}
