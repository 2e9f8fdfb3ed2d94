package store

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// View is the store at one point in time. Checkpoints that complete later do not show in it. It is a plain Pebble
// snapshot: compactions keep the records it can see, and only those. (The eventually-file-only kind would keep whole
// tables instead, up to the size of the store; it guards against excises, which here wait for all views: Replacement.)
type View struct {
	store    *Store
	snapshot *pebble.Snapshot
	meta     Meta
	hasMeta  bool
	close    sync.Once
}

// View pins the store as it is now.
func (s *Store) View() (v *View, err error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	if err := s.hold(func(h *holds) error {
		if h.shut {
			return ErrReplacing
		}
		h.views++
		return nil
	}); err != nil {
		return nil, err
	}
	v = &View{store: s}
	defer func() {
		if err != nil {
			v.Close()
		}
	}()
	defer s.recovered("read", &err)
	v.snapshot = s.db.NewSnapshot()
	v.meta, v.hasMeta, err = s.readMeta(v.snapshot)
	return v, err
}

// Meta is that of the last checkpoint the view contains.
func (v *View) Meta() (m Meta, ok bool) { return v.meta, v.hasMeta }

// Get is Store.Get in the view.
func (v *View) Get(p Position, key, buf []byte) (value []byte, found bool, err error) {
	return v.store.get(v.snapshot, p, key, buf)
}

// Iter walks the keys' records of a range: All(), InNamespace(ns), InSlot(ns, slot), each with .From(p) if wanted.
func (v *View) Iter(r Range) (it *Iter, err error) {
	if err := v.store.usable(); err != nil {
		return nil, err
	}
	defer v.store.recovered("read", &err)
	i, err := v.snapshot.NewIter(&pebble.IterOptions{LowerBound: r.from, UpperBound: r.to})
	if err != nil {
		return nil, v.store.explain("read", err)
	}
	return &Iter{store: v.store, it: i}, nil
}

// Records hands everything to fn in the store's order, but the meta record: stored key and value, valid during the call
// only. Replacement.Add takes them. An error of fn ends the walk and is returned.
func (v *View) Records(fn func(stored, value []byte) error) error {
	return v.store.walk(v.snapshot, Range{from: []byte{kindKeys}, to: metaKey}, fn)
}

// Close lets the view go; its iterators must have been closed. Closing twice does nothing.
func (v *View) Close() (err error) {
	v.close.Do(func() {
		defer v.store.recovered("close a view", &err)
		if v.snapshot != nil {
			err = v.snapshot.Close()
		}
		err = errors.Join(err, v.store.hold(func(h *holds) error {
			if h.views--; h.views == 0 && h.viewsClosed != nil {
				close(h.viewsClosed)
				h.viewsClosed = nil
			}
			return nil
		}))
	})
	return err
}

// Iter is a walk over keys' records in order:
//
//	for it.Next() { … it.Position(), it.Key(), it.Value() … }
//	err := it.Close()
//
// It belongs to one goroutine.
type Iter struct {
	store   *Store
	it      *pebble.Iterator
	started bool
	done    bool
	err     error
}

// Next moves to the first or next record; false at the end or on an error, which Close returns.
func (it *Iter) Next() (ok bool) {
	if it.done {
		return false
	}
	defer func() {
		ok = ok && it.err == nil
		it.done = !ok
	}()
	defer it.store.recovered("read", &it.err)
	if it.started {
		return it.it.Next()
	}
	it.started = true
	return it.it.First()
}

// Position is where the record stands.
func (it *Iter) Position() Position { return decodePosition(it.it.Key()) }

// Key is the key, valid until the next call of Next.
func (it *Iter) Key() []byte { return keyOf(it.it.Key()) }

// Value is the value, read when asked for, valid until the next call of Next.
func (it *Iter) Value() (value []byte, err error) {
	defer it.store.recovered("read", &err)
	value, err = it.it.ValueAndErr()
	return value, it.store.explain("read", err)
}

// Close ends the walk and returns what went wrong in it. Closing twice does nothing.
func (it *Iter) Close() (err error) {
	if it.it == nil {
		return nil
	}
	defer it.store.recovered("read", &err)
	i := it.it
	it.it, it.done = nil, true
	if closeErr := it.store.explain("read", i.Close()); it.err == nil {
		it.err = closeErr
	}
	return it.err
}
