package keyspace

import (
	"bytes"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
	"github.com/zeebo/xxh3"
)

// What Tx.Kind says of a key decides which of the following may be called for it: the one of its kind, or, where the key
// does not exist (value.None), any. A collection that was opened is good until the transaction's command ends; several may
// be open at a time, but none may be used behind a Put, Delete, Swap or Flush of its key.

// Kind is the kind of value under key, value.None if there is none. It counts as a use of the key.
func (tx *Tx) Kind(db int, key []byte) value.Kind {
	e, _ := tx.Get(db, key)
	return e.Kind
}

// Hash opens the hash under key, which holds one or does not exist.
func (tx *Tx) Hash(db int, key []byte) *collection.Hash {
	return openAt(tx, &tx.opened.hashes, db, key, value.Hash, (*collection.Hash).Open)
}

// List opens the list under key, which holds one or does not exist.
func (tx *Tx) List(db int, key []byte) *collection.List {
	return openAt(tx, &tx.opened.lists, db, key, value.List, (*collection.List).Open)
}

// Set opens the set under key, which holds one or does not exist.
func (tx *Tx) Set(db int, key []byte) *collection.Set {
	return openAt(tx, &tx.opened.sets, db, key, value.Set, (*collection.Set).Open)
}

// ZSet opens the sorted set under key, which holds one or does not exist.
func (tx *Tx) ZSet(db int, key []byte) *collection.ZSet {
	return openAt(tx, &tx.opened.zsets, db, key, value.ZSet, (*collection.ZSet).Open)
}

// opened are the collections that a transaction has opened, kept to be used again by later commands.
type opened struct {
	hashes pool[collection.Hash]
	lists  pool[collection.List]
	sets   pool[collection.Set]
	zsets  pool[collection.ZSet]
}

type pool[T any] struct {
	all  []*room[T]
	used int
}

// room is a collection with its home.
type room[T any] struct {
	home       home
	collection T
}

func (o *opened) reset() { o.hashes.used, o.lists.used, o.sets.used, o.zsets.used = 0, 0, 0, 0 }

func openAt[T any](tx *Tx, p *pool[T], db int, key []byte, kind value.Kind, into func(*T, collection.Home)) *T {
	if p.used == len(p.all) {
		p.all = append(p.all, &room[T]{})
	}
	r := p.all[p.used]
	p.used++
	r.home = home{tx: tx, db: db, key: key, kind: kind, nodeKey: r.home.nodeKey[:0]}
	if tx.mode != Detached {
		r.home.slot, r.home.hash = Slot(key), tx.ks.hash(key)
	}
	into(&r.collection, &r.home)
	return &r.collection
}

// home is a key's entry, and the nodes beside it, for the collection that lives there.
type home struct {
	tx         *Tx
	db         int
	key        []byte
	kind       value.Kind
	slot       uint16
	hash       uint64
	collection uint64 // under which its nodes stand
	nodeKey    []byte // buffer
	copied     *copied
}

func (h *home) find() (front.Loc, front.Item, bool) {
	return h.tx.findAt(h.db, h.slot, h.hash, h.key)
}

// Root implements collection.Home.
func (h *home) Root() ([]byte, value.Encoding) {
	var b []byte
	var enc value.Encoding
	if h.tx.mode == Detached {
		c := h.tx.copiedKey(h.db, h.key)
		if !c.ok {
			return nil, 0
		}
		h.slot = Slot(h.key)
		h.copied = c
		b, enc = c.entry.Value, c.entry.Enc
	} else {
		_, it, live := h.find()
		if !live {
			return nil, 0
		}
		b, enc = it.Value, it.Enc
	}
	if enc == value.Large {
		h.collection, _, _ = collection.Nodes(b)
	}
	return b, enc
}

// ResizeRoot implements collection.Home.
func (h *home) ResizeRoot(n int, enc value.Encoding) []byte {
	f := h.tx.ks.front
	l, _, live := h.find()
	if !live {
		if err := f.Put(&l, front.Item{Kind: h.kind, Enc: enc, Value: emptyValue}, h.tx.ks.recency.Load()); err != nil {
			return h.failed(err, n)
		}
		if l, _, live = h.find(); !live {
			return h.failed(errNodeGone, n)
		}
	}
	b, err := f.Grow(&l, n, enc, h.tx.ks.recency.Load())
	if err != nil {
		return h.failed(err, n)
	}
	return b
}

// failed notes that memory could not be had; the process ends, but not here.
func (h *home) failed(err error, n int) []byte {
	h.tx.fail(err)
	return make([]byte, n)
}

// Drop implements collection.Home.
func (h *home) Drop() {
	if l, _, live := h.find(); live {
		h.tx.remove(&l)
	}
}

// findNode looks a node up; live says that it is there.
func (h *home) findNode(id uint32) (l front.Loc, it front.Item, live bool) {
	ks := h.tx.ks
	hash := front.NodeHash(h.collection, id)
	h.nodeKey = front.AppendNodeKey(h.nodeKey[:0], h.slot, hash)
	l = ks.front.Find(ks.mu.dbs[h.db].Nodes, h.slot, hash, h.nodeKey)
	if !l.Known() {
		if l.Final() {
			return l, it, false
		}
		if h.tx.mode == Reading {
			h.tx.cold = true
			return l, it, false
		}
		if err := ks.loadLocked(&l); err != nil {
			h.tx.fail(err)
			return l, it, false
		}
		if !l.Known() {
			return l, it, false
		}
	}
	it = ks.front.Item(&l)
	return l, it, !it.Tombstone
}

// Node implements collection.Home.
func (h *home) Node(id uint32) []byte {
	if h.tx.mode == Detached {
		hash := front.NodeHash(h.collection, id)
		h.nodeKey = front.AppendNodeKey(h.nodeKey[:0], h.slot, hash)
		node, err := h.copied.nodes.node(h.slot, hash, h.nodeKey)
		if err != nil {
			h.tx.fail(err)
			return nil
		}
		return node
	}
	l, it, live := h.findNode(id)
	if !live {
		if !h.tx.cold {
			h.tx.fail(errNodeGone)
		}
		return nil
	}
	h.tx.ks.front.Touch(&l, h.tx.ks.recency.Load())
	return it.Value
}

// ResizeNode implements collection.Home.
func (h *home) ResizeNode(id uint32, n int) []byte {
	l, _, live := h.findNode(id)
	if !live {
		return h.failed(errNodeGone, n)
	}
	b, err := h.tx.ks.front.Grow(&l, n, value.Natural, h.tx.ks.recency.Load())
	if err != nil {
		return h.failed(err, n)
	}
	return b
}

// NewCollection implements collection.Home.
func (h *home) NewCollection() uint64 {
	h.tx.ks.mu.collections++
	h.collection = h.tx.ks.mu.collections
	return h.collection
}

// AddNode implements collection.Home.
func (h *home) AddNode(id uint32, n int) []byte {
	ks := h.tx.ks
	hash := front.NodeHash(h.collection, id)
	h.nodeKey = front.AppendNodeKey(h.nodeKey[:0], h.slot, hash)
	l := ks.front.Find(ks.mu.dbs[h.db].Nodes, h.slot, hash, h.nodeKey)
	if err := ks.front.Put(&l, front.Item{Value: emptyValue}, ks.recency.Load()); err != nil {
		return h.failed(err, n)
	}
	return h.ResizeNode(id, n)
}

// HasNode implements collection.Home.
func (h *home) HasNode(id uint32) bool {
	_, _, live := h.findNode(id)
	return live
}

// RemoveNode implements collection.Home.
func (h *home) RemoveNode(id uint32) {
	l, _, live := h.findNode(id)
	if !live {
		h.tx.fail(errNodeGone)
		return
	}
	if err := h.tx.ks.front.Remove(&l, h.tx.ks.recency.Load()); err != nil {
		h.tx.fail(err)
	}
}

// Hash implements collection.Home.
func (h *home) Hash(member []byte) uint64 { return xxh3.HashSeed(member, h.tx.ks.mu.seed) >> 2 }

// Copy stores what from holds under to as well, in place of what was there, with the time to live expire (0: none). The
// source must exist, and not be the destination.
func (tx *Tx) Copy(fromDB int, from []byte, toDB int, to []byte, expire int64) {
	tx.Delete(toDB, to)
	e, ok := tx.Get(fromDB, from)
	if !ok {
		return
	}
	e.Expire = expire
	if e.Enc != value.Large {
		e.Value = bytes.Clone(e.Value)
		tx.Put(toDB, to, e)
		return
	}
	source := &home{tx: tx, db: fromDB, key: from, kind: e.Kind, slot: Slot(from), hash: tx.ks.hash(from)}
	destination := &home{tx: tx, db: toDB, key: to, kind: e.Kind, slot: Slot(to), hash: tx.ks.hash(to)}
	collection.CopyLarge(source, destination)
	if expire != 0 {
		tx.SetExpire(toDB, to, expire)
	}
}

// Move is Copy with the source's own time to live, and removes the source. Within a slot, nodes stay where they are.
func (tx *Tx) Move(fromDB int, from []byte, toDB int, to []byte) {
	l, it, live := tx.find(fromDB, from)
	if !live {
		return
	}
	if it.Enc != value.Large || fromDB != toDB || l.Slot != Slot(to) {
		tx.Copy(fromDB, from, toDB, to, it.Expire)
		tx.Delete(fromDB, from)
		return
	}
	e := entryOf(it)
	e.Value = bytes.Clone(e.Value)
	if err := tx.ks.front.Remove(&l, tx.ks.recency.Load()); err != nil { // without its nodes
		tx.fail(err)
	}
	tx.Put(toDB, to, e)
}
