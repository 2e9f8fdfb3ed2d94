package keyspace

import (
	"bytes"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/value"
)

// A command of an entry that is about to be applied may need nodes of large collections that are cold. Which ones, only the
// command knows: so before the lock is taken for the entry, it is tried. A trial runs under the shared lock, up to the
// command's first change, and notes what it misses; what is missed is fetched, and the trial repeated, until it misses
// nothing. What a command needs behind its first change is loaded in place. So is what a trial leaves out: it is bounded,
// since the command may go on for long over what it misses, or before it changes anything.

// tryingNodes is how many nodes a trial may look at.
const tryingNodes = 16 * readingNodes

// missed is an entry that a trial did not find in the front.
type missed struct {
	space *front.Space
	key   []byte
}

// trialOver ends a trial: at its first change, or where it has taken long enough.
type trialOver struct{}

// changes is called by whatever is about to change something.
func (tx *Tx) changes() {
	if tx.mode == Trying {
		panic(trialOver{}) // recovered in try
	}
}

// miss notes what a transaction that may not wait needs.
func (tx *Tx) miss(sp *front.Space, key []byte) {
	tx.cold = true
	if tx.mode == Trying {
		if tx.missing = append(tx.missing, missed{sp, bytes.Clone(key)}); len(tx.missing) >= mostFills {
			panic(trialOver{}) // recovered in try
		}
	}
}

// mayWait says whether the transaction may read the store in place.
func (tx *Tx) mayWait() bool { return tx.mode != Reading && tx.mode != Trying }

// WarmFor fetches what run, a command's handler, needs before it changes anything.
func (ks *Keyspace) WarmFor(db int, run func(tx *Tx)) error {
	var tx Tx
	for range attempts {
		if err := ks.try(&tx, db, run); err != nil {
			return err
		}
		if len(tx.missing) == 0 {
			return nil
		}
		if err := ks.fetch(tx.missing); err != nil {
			return err
		}
	}
	return nil // memory is so short that what was fetched is gone again: it is loaded in place
}

// try runs a command under the shared lock, up to its first change.
func (ks *Keyspace) try(tx *Tx, db int, run func(tx *Tx)) error {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	tx.Begin(ks, Trying, db, ks.clock.Load(), 0)
	defer func() {
		if x := recover(); x != nil {
			if _, over := x.(trialOver); !over {
				panic(x)
			}
		}
	}()
	run(tx)
	return tx.err
}

// fetch brings entries into the front and waits for them.
func (ks *Keyspace) fetch(list []missed) error {
	var wait []*fill
	for _, m := range list[:min(len(list), mostFills)] {
		slot, _ := ks.front.Place(m.space, m.key)
		wait = append(wait, ks.start(m.space, m.key, ks.storedIn(m.space, slot)))
	}
	for _, f := range wait {
		<-f.done
		if f.err != nil {
			return f.err
		}
	}
	return nil
}

// AnyCold says whether one of the keys holds a large collection whose nodes may be cold.
func (ks *Keyspace) AnyCold(keys []Key) bool { return ks.anyLarge(keys, true) }

// AnyLarge says whether one of the keys holds a large collection. One that only the store has may be left out.
func (ks *Keyspace) AnyLarge(keys []Key) bool { return ks.anyLarge(keys, false) }

func (ks *Keyspace) anyLarge(keys []Key, cold bool) bool {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	for _, k := range keys {
		sp := ks.mu.dbs[k.DB]
		if sp.Nodes.Len() == 0 {
			continue
		}
		slot, hash := ks.front.Place(sp, k.Key)
		if cold && sp.Nodes.Complete(slot) {
			continue
		}
		if l := ks.front.Find(sp, slot, hash, k.Key); l.Known() && ks.front.Item(&l).Enc == value.Large {
			return true
		}
	}
	return false
}
