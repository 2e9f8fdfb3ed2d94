package keyspace

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// Preference is which keys are evicted first.
type Preference int

const (
	// LeastRecent is the key that has been unused for longest.
	LeastRecent Preference = iota
	// LeastFrequent is the key that is used least.
	LeastFrequent
	// AnyKey is a key at random.
	AnyKey
	// SoonestDue is the key whose time to live ends first.
	SoonestDue
)

// EvictionRule says which keys are evicted.
type EvictionRule struct {
	Prefer  Preference
	Timed   bool // only keys with a time to live
	Samples int  // keys of each data base that are compared to choose one
}

// Victims chooses keys to evict. As in Redis the choice is by samples: those that fit best are kept in a pool, and the
// best of that goes. What a chosen key takes up is an estimate. Keys that the store alone has count as the least
// recently and least frequently used. It belongs to one goroutine.
type Victims struct {
	ks     *Keyspace
	random func() uint64
	rule   EvictionRule
	pool   []victim // ascending by score
	chosen map[string]struct{}
	hand   [Databases]front.Place // where the search for keys with a time to live goes on
	db     int                    // whose turn it is to lose a key at random
	label  []byte
}

// victim is a key that may go, the sooner the higher its score.
type victim struct {
	Key
	score uint64
	bytes int64
}

const (
	poolSize   = 16
	pickStep   = 16   // keys chosen before the shared lock is given back
	sampleLook = 1024 // entries looked at in search of a few with a time to live
	rareTimed  = 32   // from so few keys in one with a time to live on, the search goes on from where it ended
	coldRun    = 64   // records of the store looked at from a random position on
)

// NewVictims makes a chooser. random draws numbers.
func (ks *Keyspace) NewVictims(random func() uint64) *Victims {
	return &Victims{ks: ks, random: random, chosen: map[string]struct{}{}}
}

// Choose names keys that the rule lets go: most at most, or fewer whose going frees want bytes. None: there is none,
// or, where barren is false, none was found yet.
func (v *Victims) Choose(rule EvictionRule, want int64, most int) (keys []Key, barren bool, err error) {
	if rule != v.rule {
		v.rule, v.pool = rule, nil
	}
	clear(v.chosen)
	if keys, want, err = v.cold(nil, want, most); err != nil {
		return nil, false, err
	}
	for more := true; more && want > 0 && len(keys) < most; {
		keys, want, more = v.some(keys, want, min(most, len(keys)+pickStep))
	}
	if len(keys) == 0 && rule.Prefer == AnyKey { // what is left may be cold, all of it
		if keys, _, err = v.coldRuns(keys, want, most); err != nil {
			return nil, false, err
		}
	}
	return keys, len(keys) == 0 && v.barren(), nil
}

// nodeBytes is what the nodes of a large collection take up.
func nodeBytes(it front.Item) int64 {
	if it.Enc != value.Large {
		return 0
	}
	_, _, size := collection.Nodes(it.Value)
	return size
}

// barren says whether there is no key at all that may go.
func (v *Victims) barren() bool {
	v.ks.mu.RLock()
	defer v.ks.mu.RUnlock()
	for _, sp := range v.ks.mu.dbs {
		if v.candidates(sp) > 0 && v.ks.visibleLen(sp) > 0 {
			return false
		}
	}
	return true
}

// owned says whether the shard owns a key's slot: no other key may be removed.
func (v *Victims) owned(key []byte) bool {
	t := v.ks.Slots()
	return t == nil || t.state[Slot(key)] == Owned
}

// candidates is how many keys of a name space may go.
func (v *Victims) candidates(sp *front.Space) int64 {
	if v.rule.Timed {
		return sp.Timed()
	}
	return sp.Len()
}

// some adds a few keys of the front under the shared lock; more is false if none is left to find now.
func (v *Victims) some(keys []Key, want int64, most int) (_ []Key, left int64, more bool) {
	v.ks.mu.RLock()
	defer v.ks.mu.RUnlock()
	for len(keys) < most && want > 0 {
		x, ok := v.nextLocked()
		if !ok {
			return keys, want, false
		}
		keys = append(keys, x.Key)
		want -= x.bytes
	}
	return keys, want, true
}

// fruitless is how many samples may bring nothing new before the search is given up for now.
const fruitless = 16

func (v *Victims) nextLocked() (victim, bool) {
	for range fruitless {
		if v.rule.Prefer == AnyKey {
			v.sampleLocked(v.nextDB(), 1)
		} else {
			for db := range v.ks.mu.dbs {
				v.sampleLocked(db, v.rule.Samples)
			}
		}
		for n := len(v.pool); n > 0; n = len(v.pool) {
			x := v.pool[n-1]
			v.pool = v.pool[:n-1]
			if v.stillLocked(x) && v.take(x.Key) {
				return x, true
			}
		}
	}
	return victim{}, false
}

// nextDB is the next data base that has keys that may go.
func (v *Victims) nextDB() int {
	for range Databases {
		v.db = (v.db + 1) % Databases
		if v.candidates(v.ks.mu.dbs[v.db]) > 0 {
			break
		}
	}
	return v.db
}

// take notes a choice; false if it was made before.
func (v *Victims) take(k Key) bool {
	v.name(k.DB, k.Key)
	if _, taken := v.chosen[string(v.label)]; taken {
		return false
	}
	v.chosen[string(v.label)] = struct{}{}
	return true
}

// name makes label stand for a key.
func (v *Victims) name(db int, key []byte) {
	v.label = append(append(v.label[:0], byte(db)), key...)
}

// stillLocked says whether a key of the pool is there and has not become less fit to go.
func (v *Victims) stillLocked(x victim) bool {
	f := v.ks.front
	l := f.Find(v.ks.mu.dbs[x.DB], Slot(x.Key.Key), v.ks.hash(x.Key.Key), x.Key.Key)
	if !l.Known() {
		return !l.Final()
	}
	it := f.Item(&l)
	return !it.Tombstone && (!v.rule.Timed || it.Expire != 0) && v.score(f.Recency(&l), it.Expire) >= x.score
}

// score is how fit a key is to go.
func (v *Victims) score(use uint32, expire int64) uint64 {
	u := &v.ks.usage
	switch now := u.clock.Load(); v.rule.Prefer {
	case LeastRecent:
		return uint64(front.Idle(use, now))
	case LeastFrequent:
		return math.MaxUint8 - uint64(u.counting().Frequency(use, now))
	case SoonestDue:
		return math.MaxUint64 - uint64(expire)
	}
	return 0
}

// sampleLocked enters some keys of a data base into the pool.
func (v *Victims) sampleLocked(db, samples int) {
	f, sp := v.ks.front, v.ks.mu.dbs[db]
	n := v.candidates(sp)
	if n == 0 {
		return
	}
	visit := func(s front.Sampled) { v.offer(db, s) }
	look := samples
	if v.rule.Timed {
		look = sampleLook
		if n < sp.Len()/rareTimed {
			v.hand[db] = f.SampleFrom(sp, v.hand[db], samples, look, true, visit)
			return
		}
	}
	f.SampleFrom(sp, f.RandomPlace(sp, v.random(), v.random()), samples, look+samples, v.rule.Timed, visit)
}

// offer puts a key into the pool if it has room or the key is fitter than another.
func (v *Victims) offer(db int, s front.Sampled) {
	if !v.owned(s.Key) {
		return
	}
	score := v.score(s.Use, s.Expire)
	if len(v.pool) == poolSize && score <= v.pool[0].score {
		return
	}
	v.name(db, s.Key)
	if _, taken := v.chosen[string(v.label)]; taken {
		return
	}
	for _, x := range v.pool {
		if x.DB == db && bytes.Equal(x.Key.Key, s.Key) {
			return
		}
	}
	if len(v.pool) == poolSize {
		v.pool = slices.Delete(v.pool, 0, 1)
	}
	at, _ := slices.BinarySearchFunc(v.pool, score, func(x victim, score uint64) int { return cmp.Compare(x.score, score) })
	v.pool = slices.Insert(v.pool, at, victim{Key{db, bytes.Clone(s.Key)}, score, s.Bytes + nodeBytes(s.Item)})
}

// cold adds keys that the store alone has. Where the choice is by use they go before all others, where it is random
// their share is that of their number; where it is by time to live they are offered to the pool.
func (v *Victims) cold(keys []Key, want int64, most int) (_ []Key, left int64, err error) {
	switch {
	case v.ks.AllWarm():
		return keys, want, nil
	case v.rule.Prefer == SoonestDue:
		return v.coldRun(keys, want, most)
	case v.rule.Prefer == AnyKey:
		most = int(float64(most) * v.coldShare())
	}
	return v.coldRuns(keys, want, most)
}

// coldRuns adds cold keys from random positions on, until there are enough or none are found.
func (v *Victims) coldRuns(keys []Key, want int64, most int) (_ []Key, left int64, err error) {
	if v.ks.AllWarm() {
		return keys, want, nil
	}
	for miss := 0; miss < fruitless && len(keys) < most && want > 0; miss++ {
		before := len(keys)
		if keys, want, err = v.coldRun(keys, want, most); err != nil {
			return nil, 0, err
		}
		if len(keys) > before {
			miss = -1
		}
	}
	return keys, want, nil
}

// coldShare is about which part of all keys is in the store alone.
func (v *Victims) coldShare() float64 {
	v.ks.mu.RLock()
	defer v.ks.mu.RUnlock()
	var all int64
	for _, sp := range v.ks.mu.dbs {
		all += sp.Len()
	}
	if all == 0 {
		return 0
	}
	return max(0, 1-float64(v.ks.front.Stats().Entries)/float64(all))
}

// coldRun adds the cold ones among the records that follow a random position.
func (v *Victims) coldRun(keys []Key, want int64, most int) (_ []Key, left int64, err error) {
	db := v.nextDBOf()
	list, err := v.storedFrom(db)
	if err != nil {
		return nil, 0, err
	}
	v.ks.mu.RLock()
	defer v.ks.mu.RUnlock()
	sp := v.ks.mu.dbs[db]
	for _, r := range list {
		if len(keys) == most || want <= 0 {
			break
		}
		l := v.ks.front.Find(sp, Slot(r.key), v.ks.hash(r.key), r.key)
		switch {
		case l.Known() || l.Final() || v.rule.Timed && r.expire == 0 || !v.owned(r.key):
		case v.rule.Prefer == SoonestDue:
			v.offer(db, front.Sampled{Key: r.key, Item: front.Item{Expire: r.expire}, Bytes: r.bytes})
		case v.take(Key{db, r.key}):
			keys = append(keys, Key{db, r.key})
			want -= r.bytes
		}
	}
	return keys, want, nil
}

func (v *Victims) nextDBOf() int {
	v.ks.mu.RLock()
	defer v.ks.mu.RUnlock()
	return v.nextDB()
}

// storedRecord is a key that the store has, without its value.
type storedRecord struct {
	key    []byte
	expire int64
	bytes  int64 // that it would take up in the front
}

// storedFrom reads a few records of a data base from a random position on.
func (v *Victims) storedFrom(db int) (list []storedRecord, err error) {
	v.ks.mu.RLock()
	sp := v.ks.mu.dbs[db]
	at := store.Position{Namespace: sp.Number, Hash: v.random() >> (64 - cursorHash)}
	if n := sp.Len(); n > 0 {
		at.Slot, _ = sp.SlotAt(int64(v.random() % uint64(n)))
	}
	v.ks.mu.RUnlock()
	view, err := v.ks.store.View()
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := view.Close(); err == nil {
			err = cerr
		}
	}()
	it, err := view.Iter(store.InNamespace(sp.Number).From(at))
	if err != nil {
		return nil, err
	}
	for len(list) < coldRun && it.Next() {
		record, err := it.Value()
		if err != nil {
			_ = it.Close() // it would repeat the error
			return nil, err
		}
		item, err := decodeRecord(record)
		if err != nil {
			_ = it.Close() // the record's fault is the one that counts
			return nil, err
		}
		list = append(list, storedRecord{bytes.Clone(it.Key()), item.Expire, front.EntryBytes(len(it.Key()), len(item.Value), item.Expire) + nodeBytes(item)})
	}
	return list, it.Close()
}
