package keyspace

import (
	"sync/atomic"

	"github.com/larder-db/larder/engine/front"
)

// usage is how uses of keys are noted. It is local: nothing that Apply does to the state depends on it.
type usage struct {
	clock  atomic.Uint32 // seconds
	lfu    atomic.Bool   // uses are counted
	factor atomic.Uint32
	decay  atomic.Uint32 // minutes
}

// SetRecencyClock sets the local clock by which uses of keys are noted, seconds since any full minute. It never goes back:
// what was used just now would seem to be of old.
func (ks *Keyspace) SetRecencyClock(seconds uint32) {
	for have := ks.usage.clock.Load(); seconds > have && !ks.usage.clock.CompareAndSwap(have, seconds); {
		have = ks.usage.clock.Load()
	}
}

// CountUses says whether uses of keys are counted, as an LFU policy needs it, and how.
func (ks *Keyspace) CountUses(on bool, p front.LFU) {
	ks.usage.factor.Store(p.LogFactor)
	ks.usage.decay.Store(p.DecayMinutes)
	ks.usage.lfu.Store(on)
}

func (u *usage) counting() front.LFU {
	return front.LFU{LogFactor: u.factor.Load(), DecayMinutes: u.decay.Load()}
}

// rank judges recency words for dropping clean entries: what is highest goes first.
func (u *usage) rank() func(use uint32) uint32 {
	now := u.clock.Load()
	if !u.lfu.Load() {
		return func(use uint32) uint32 { return front.Idle(use, now) }
	}
	p := u.counting()
	return func(use uint32) uint32 { return (255-uint32(p.Frequency(use, now)))<<24 | front.Idle(use, now) }
}

// fresh is the recency word of a new entry.
func (tx *Tx) fresh() uint32 { return front.FreshUse(tx.ks.usage.clock.Load()) }

// touch notes a use of the key at l. A trial uses nothing.
func (tx *Tx) touch(l *front.Loc) {
	if tx.mode == Trying {
		return
	}
	u := &tx.ks.usage
	now, use := u.clock.Load(), tx.ks.front.Recency(l)
	if !u.lfu.Load() {
		tx.ks.front.Touch(l, front.UsedAt(use, now))
		return
	}
	if tx.counted != l.Hash { // a command's uses of a key are one
		tx.counted = l.Hash
		tx.chance += 0x9e3779b97f4a7c15
		tx.ks.front.Touch(l, u.counting().Used(use, now, mix(tx.chance)))
	}
}

// written is the recency word of the key at l when it gets a new value: where uses are counted, those of the old value
// go on counting, as in Redis.
func (tx *Tx) written(l *front.Loc, live bool) uint32 {
	if !live {
		tx.counted = l.Hash // it begins to count with the next command
	}
	if !live || !tx.ks.usage.lfu.Load() {
		return tx.fresh()
	}
	tx.touch(l)
	return tx.ks.front.Recency(l)
}

// mix makes a random number of a counter (the finalizer of splitmix64).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// LFUPolicy says whether the configured eviction policy counts uses; OBJECT FREQ asks.
func (tx *Tx) LFUPolicy() bool { return tx.ks.usage.lfu.Load() }

// Recency is what is known of a key's use: idle time in milliseconds, and the logarithmic use counter of the LFU policy (0–255).
func (tx *Tx) Recency(db int, key []byte) (idle int64, freq uint8, ok bool) {
	if tx.mode == Detached {
		_, ok := tx.copyOf(db, key)
		return 0, front.NewFrequency, ok // it was loaded just now
	}
	l, _, live := tx.find(db, key)
	if !live {
		return 0, 0, false
	}
	u := &tx.ks.usage
	now, use := u.clock.Load(), tx.ks.front.Recency(&l)
	return int64(front.Idle(use, now)) * 1000, u.counting().Frequency(use, now), true
}

// SetRecency overwrites what Recency reports (RESTORE's IDLETIME and FREQ), as far as the policy goes by it. Negative:
// leave.
func (tx *Tx) SetRecency(db int, key []byte, idle int64, freq int) {
	tx.changes()
	l, _, live := tx.find(db, key)
	if !live {
		return
	}
	now := tx.ks.usage.clock.Load()
	switch lfu := tx.LFUPolicy(); {
	case lfu && freq >= 0:
		tx.ks.front.Touch(&l, front.WithFrequency(now, uint8(freq)))
	case !lfu && idle >= 0:
		tx.ks.front.Touch(&l, front.FreshUse(now-uint32(idle/1000)))
	}
}
