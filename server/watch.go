package server

import (
	"sync"
	"sync/atomic"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/raftfsm"
)

// watches is who watches which keys of a shard. It belongs to this node alone, and no key has a version for it: Apply tells of every
// key that it changes, and who watches it is marked. What Apply has not come to yet is the business of the filter
// in raftfsm: a transaction is proposed only once nothing in flight can touch what its client watches.
type watches struct {
	keys    *keyspace.Keyspace
	group   *raftfsm.Group
	wake    func()       // has the loops look again whether a transaction that waits may go
	holding atomic.Int64 // transactions for which everybody else waits

	mu struct {
		sync.Mutex
		byKey    [keyspace.Databases]map[string]map[*watcher]*watch
		watchers int
		total    int
	}
}

// watcher is what one client watches, from its first WATCH until EXEC, DISCARD or UNWATCH.
type watcher struct {
	shard *shard
	term  uint64      // of leadership at the first WATCH
	dirty atomic.Bool // a watched key was touched

	// Guarded by watches.mu, and the loop's while no WATCH is under way.
	list     []*watch
	cells    []uint16
	deadline int64 // when the first of the keys ends; 0: never
	gone     bool
}

// watch is one key that is watched.
type watch struct {
	db    int
	key   string
	stale bool // its time had come before it was watched: its removal changes nothing
}

// add has w watch keys, whose states are these, at the moment they are: nothing is applied while add runs.
func (r *watches) add(w *watcher, keys []keyspace.Key, states []keyspace.KeyState, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w.gone {
		return
	}
	if len(w.list) == 0 {
		if r.mu.watchers++; r.mu.watchers == 1 {
			r.group.SetWatched(true)
			r.keys.Observe(r)
		}
	}
	for i, k := range keys {
		byKey := r.mu.byKey[k.DB]
		if byKey == nil {
			byKey = map[string]map[*watcher]*watch{}
			r.mu.byKey[k.DB] = byKey
		}
		of := byKey[string(k.Key)]
		if of[w] != nil {
			continue
		}
		x := &watch{db: k.DB, key: string(k.Key)}
		if of == nil {
			of = map[*watcher]*watch{}
			byKey[x.key] = of
		}
		of[w] = x
		r.mu.total++
		w.list = append(w.list, x)
		w.cells = append(w.cells, engine.CellOf(k.Key))
		switch expire := states[i].Expire; {
		case expire == 0:
		case now > expire:
			x.stale = true
		case w.deadline == 0 || expire < w.deadline:
			w.deadline = expire
		}
	}
}

// remove has w watch nothing any more, for good.
func (r *watches) remove(w *watcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.gone = true
	if len(w.list) == 0 {
		return
	}
	for _, x := range w.list {
		byKey := r.mu.byKey[x.db]
		if delete(byKey[x.key], w); len(byKey[x.key]) == 0 {
			delete(byKey, x.key)
		}
	}
	r.mu.total -= len(w.list)
	w.list = nil
	if r.mu.watchers--; r.mu.watchers == 0 {
		r.keys.Observe(nil)
		r.group.SetWatched(false)
	}
}

// figures is how many clients watch, and how many keys they watch together.
func (r *watches) figures() (clients, keys int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.watchers, r.mu.total
}

// touchAll marks everybody: the data was loaded again.
func (r *watches) touchAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, byKey := range r.mu.byKey {
		for _, of := range byKey {
			for w := range of {
				w.dirty.Store(true)
			}
		}
	}
}

// Touched implements keyspace.Observer.
func (r *watches) Touched(db int, key []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w := range r.mu.byKey[db][string(key)] {
		w.dirty.Store(true)
	}
}

// Reaped implements keyspace.Observer.
func (r *watches) Reaped(db int, key []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for w, x := range r.mu.byKey[db][string(key)] {
		w.lost(x)
	}
}

// lost notes that a watched key is gone.
func (w *watcher) lost(x *watch) {
	if x.stale {
		x.stale = false // what comes next is news
		return
	}
	w.dirty.Store(true)
}

// Flushing implements keyspace.Observer. Who watches a key that does not exist does not mind.
func (r *watches) Flushing(db int, look keyspace.Look) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, of := range r.mu.byKey[db] {
		if there, _ := look(db, []byte(key)); !there {
			continue
		}
		for w, x := range of {
			w.lost(x)
		}
	}
}

// Swapping implements keyspace.Observer. Clients watch a key of a data base's number, which after the swap may be there
// or not, another one, or one whose time has come.
func (r *watches) Swapping(a, b int, look keyspace.Look) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range [][2]int{{a, b}, {b, a}} {
		for key, of := range r.mu.byKey[d[0]] {
			before, _ := look(d[0], []byte(key))
			after, due := look(d[1], []byte(key))
			for w, x := range of {
				w.swapped(x, before, after, due)
			}
		}
	}
}

// swapped notes what a SWAPDB means for a watched key: whether it was there before, and is there now, or due.
func (w *watcher) swapped(x *watch, before, after, due bool) {
	switch {
	case !before && !after:
	case x.stale && !after:
		x.stale = false
	case x.stale && due:
	case !x.stale && !before && due:
		x.stale = true
	default:
		w.dirty.Store(true)
	}
}
