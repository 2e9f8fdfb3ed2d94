package keyspace

import (
	"bytes"
	"errors"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// Detach runs a read on the caller's goroutine without holding the lock while it runs: over copies of its declared
// keys, all as of one moment, or, with all set, over a view of data base db. due: one of the keys has to be deleted first, and
// nothing was run.
func (ks *Keyspace) Detach(keys []Key, all bool, db int, now int64, seed uint64, run func(tx *Tx)) (due bool, err error) {
	return ks.detach(keys, all, db, now, seed, false, run)
}

// DetachPast is Detach where nobody can delete a key whose time has come: such keys count as absent.
func (ks *Keyspace) DetachPast(keys []Key, all bool, db int, now int64, seed uint64, run func(tx *Tx)) (err error) {
	_, err = ks.detach(keys, all, db, now, seed, true, run)
	return err
}

func (ks *Keyspace) detach(keys []Key, all bool, db int, now int64, seed uint64, past bool, run func(tx *Tx)) (due bool, err error) {
	tx := &Tx{}
	tx.Begin(ks, Detached, db, now, seed)
	defer func() { err = errors.Join(err, tx.letGo()) }()
	if all {
		ks.mu.Lock()
		tx.view, err = ks.newViewLocked([]*front.Space{ks.mu.dbs[db]}, false)
		ks.mu.Unlock()
		if err != nil {
			return false, err
		}
	} else if due, err = ks.copyKeys(tx, keys, past); err != nil || due && !past {
		return due, err
	}
	run(tx)
	return false, tx.err
}

// letGo closes the views of a detached transaction.
func (tx *Tx) letGo() (err error) {
	if tx.view != nil {
		err = tx.view.close()
	}
	for i := range tx.copies {
		if v := tx.copies[i].nodes; v != nil {
			err = errors.Join(err, v.close())
		}
	}
	tx.copies, tx.copyAt = nil, nil
	return err
}

// copyKeys takes copies of all keys at one moment. due: one of them has to be deleted first. With past that is no reason to
// stop: another of them may be cold.
func (ks *Keyspace) copyKeys(tx *Tx, keys []Key, past bool) (due bool, err error) {
	for range attempts {
		if err := ks.Warm(keys); err != nil {
			return false, err
		}
		read := Tx{}
		ks.mu.RLock()
		read.Begin(ks, Reading, tx.db, tx.now, tx.chance)
		large := tx.copyAll(&read, keys)
		ks.mu.RUnlock()
		if large { // the nodes have to be pinned at the same moment
			break
		}
		if read.err != nil || read.due && !past || !read.cold {
			return read.due, read.err
		}
	}
	// Large collections, or memory is so short that what was fetched is gone again: nobody else may come between.
	tx.copies = nil
	return tx.dueAmong(keys), ks.copyNow(tx, keys)
}

// dueAmong says whether one of the keys has to be deleted first.
func (tx *Tx) dueAmong(keys []Key) bool {
	ks := tx.ks
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	read := Tx{}
	read.Begin(ks, Reading, tx.db, tx.now, 0)
	for _, k := range keys {
		read.Peek(k.DB, k.Key)
	}
	return read.due
}

// copyAll replaces the transaction's copies by those that read finds. It says whether a large collection is among them.
func (tx *Tx) copyAll(read *Tx, keys []Key) (large bool) {
	tx.copies = tx.copies[:0]
	for _, k := range keys {
		e, ok := read.Get(k.DB, k.Key)
		large = large || e.Enc == value.Large
		e.Value = bytes.Clone(e.Value)
		tx.copies = append(tx.copies, copied{Key: k, entry: e, ok: ok})
	}
	return large
}

// copyUndeclared adds a copy of a key that a command meets: under the shared lock, if nothing has to be loaded or pinned.
func (ks *Keyspace) copyUndeclared(tx *Tx, k Key) error {
	read := Tx{}
	ks.mu.RLock()
	read.Begin(ks, Reading, tx.db, tx.now, 0)
	e, ok := read.Peek(k.DB, k.Key)
	e.Value = bytes.Clone(e.Value)
	ks.mu.RUnlock()
	if read.err != nil || read.cold || e.Enc == value.Large {
		return ks.copyNow(tx, []Key{k})
	}
	tx.copies = append(tx.copies, copied{Key: k, entry: e, ok: ok})
	return nil
}

// copyNow adds copies of keys, all as of one moment, with views of the nodes of large collections.
func (ks *Keyspace) copyNow(tx *Tx, keys []Key) error {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	var read Tx
	read.Begin(ks, Riding, tx.db, tx.now, 0)
	for _, k := range keys {
		e, ok := read.Peek(k.DB, k.Key)
		e.Value = bytes.Clone(e.Value)
		c := copied{Key: k, entry: e, ok: ok}
		if e.Enc == value.Large {
			var err error
			if c.nodes, err = ks.newNodeViewLocked(ks.mu.dbs[k.DB].Nodes); err != nil {
				return err
			}
		}
		tx.copies = append(tx.copies, c)
	}
	return read.err
}

// nodeView is the nodes of a data base's large collections as they were at one moment. Writers put aside what they change;
// the store's part is a pinned snapshot. It belongs to one goroutine.
type nodeView struct {
	ks    *Keyspace
	space *front.Space
	walk  *front.Walk
	store *store.View
	cache [16]cachedNode
	next  int
	fills int // how many more cold nodes are brought into the front
}

// cachedNode has its slot: of collections in two slots, one imported, the numbers may be the same.
type cachedNode struct {
	slot uint16
	hash uint64
	node []byte
}

// viewFills bounds what one detached read brings into the front: a walk over a whole cold collection would push out what
// is hot.
const viewFills = 64

func (ks *Keyspace) newNodeViewLocked(sp *front.Space) (*nodeView, error) {
	sv, err := ks.store.View()
	if err != nil {
		return nil, err
	}
	return &nodeView{ks: ks, space: sp, walk: ks.front.BeginView([]*front.Space{sp}), store: sv, fills: viewFills}, nil
}

// node is a copy of a node; it stays as it is.
func (v *nodeView) node(slot uint16, hash uint64, key []byte) ([]byte, error) {
	for i := range v.cache {
		if c := &v.cache[i]; c.node != nil && c.slot == slot && c.hash == hash {
			return c.node, nil
		}
	}
	ks := v.ks
	ks.mu.RLock()
	it, known := v.walk.Lookup(v.space, slot, hash, key)
	node := bytes.Clone(it.Value)
	err := v.walk.Err()
	ks.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	if it.Tombstone {
		return nil, errNodeGone
	}
	if !known {
		if node, err = v.stored(slot, hash, key); err != nil {
			return nil, err
		}
	}
	v.cache[v.next] = cachedNode{slot, hash, node}
	v.next = (v.next + 1) % len(v.cache)
	return node, nil
}

// stored reads a node from the store as it was, and has it brought into the front.
func (v *nodeView) stored(slot uint16, hash uint64, key []byte) ([]byte, error) {
	record, found, err := v.store.Get(store.Position{Namespace: v.space.Number, Slot: slot, Hash: hash}, key, nil)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errNodeGone
	}
	it, err := decodeRecord(record)
	if err == nil {
		err = collection.CheckNode(it.Value)
	}
	if err != nil {
		return nil, err
	}
	if v.fills > 0 {
		v.fills--
		v.ks.start(v.space, key, v.ks.storedIn(v.space, slot))
	}
	return it.Value, nil
}

func (v *nodeView) close() error {
	v.ks.mu.Lock()
	v.walk.End()
	v.ks.mu.Unlock()
	return v.store.Close()
}

// storedIn is how many records the store has of a slot.
func (ks *Keyspace) storedIn(sp *front.Space, slot uint16) uint32 {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	return sp.Stored(slot)
}

// detachedOver is a detached transaction over one key as a view has it.
func (ks *Keyspace) detachedOver(db int, now int64, k Key, e Entry, nodes *nodeView) *Tx {
	tx := &Tx{}
	tx.Begin(ks, Detached, db, now, 0)
	tx.copies = []copied{{Key: k, entry: e, ok: true, nodes: nodes}}
	return tx
}
