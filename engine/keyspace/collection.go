package keyspace

import (
	"bytes"
	"errors"

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
	if tx.mode != Detached && !tx.noTouch {
		if l, kind, _, _ := tx.again(db, key); l != nil {
			tx.touch(l)
			return kind
		}
	}
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

// LongString opens the string under key, which is stored in pieces (see Entry.Long).
func (tx *Tx) LongString(db int, key []byte) *collection.String {
	return openAt(tx, &tx.opened.strings, db, key, value.String, (*collection.String).Open)
}

// putLong is Put for a string that is stored in pieces. What was there has been given up.
func (tx *Tx) putLong(l *front.Loc, db int, key []byte, e Entry) {
	it := front.Item{Kind: value.String, Enc: value.Large, Expire: e.Expire, Value: collection.NoRoot}
	if err := tx.ks.front.Put(l, it, tx.fresh()); err != nil {
		tx.fail(err)
		return
	}
	s := tx.LongString(db, key)
	s.Create(len(e.Value))
	s.Write(0, e.Value)
}

// Lengthen stores the string under key in pieces from now on, which may become longer at small cost; an empty one if there
// is none.
func (tx *Tx) Lengthen(db int, key []byte) *collection.String {
	tx.changes()
	l, it, live := tx.find(db, key)
	var e Entry
	if live {
		e = entryOf(it)
	}
	if !e.Long() {
		e.Value = bytes.Clone(e.Value)
		tx.putLong(&l, db, key, e)
	}
	return tx.LongString(db, key)
}

// Whole is a string's bytes, be it stored in pieces or not. Where they are many and this is an event loop, a worker has to
// do it: then the reply is not to be used.
func (tx *Tx) Whole(db int, key []byte, e Entry) []byte {
	if !e.Long() {
		return e.Value
	}
	if !tx.mayWait() {
		tx.cold = true
		return nil
	}
	s := tx.LongString(db, key)
	n := s.Len()
	return s.AppendTo(make([]byte, 0, n), 0, n)
}

// Long says whether it is a string that is stored in pieces: then Value is not its bytes.
func (e *Entry) Long() bool { return e.Kind == value.String && e.Enc == value.Large }

// opened are the collections that a transaction has opened, kept to be used again by later commands.
type opened struct {
	hashes pool[collection.Hash]
	lists  pool[collection.List]
	sets   pool[collection.Set]
	zsets  pool[collection.ZSet]

	strings pool[collection.String]
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

func (o *opened) reset() {
	o.hashes.reset()
	o.lists.reset()
	o.sets.reset()
	o.zsets.reset()
	o.strings.reset()
}

// keepRooms is how many collections of a kind are kept for reuse: SORT may open millions.
const keepRooms = 64

func (p *pool[T]) reset() {
	p.used = 0
	if len(p.all) > keepRooms {
		p.all = append([]*room[T](nil), p.all[:keepRooms]...)
	}
}

func openAt[T any](tx *Tx, p *pool[T], db int, key []byte, kind value.Kind, into func(*T, collection.Home)) *T {
	if p.used == len(p.all) {
		p.all = append(p.all, &room[T]{})
	}
	r := p.all[p.used]
	p.used++
	r.home = home{tx: tx, db: db, key: key, kind: kind}
	into(&r.collection, &r.home)
	return &r.collection
}

// home is a key's entry, and the nodes beside it, for the collection that lives there.
type home struct {
	tx         *Tx
	db         int
	key        []byte
	kind       value.Kind
	slot       uint16 // of key, once it was found
	collection uint64 // under which its nodes stand
	copied     *copied
}

func (h *home) find() (l front.Loc, it front.Item, live bool) {
	l, it, live = h.tx.find(h.db, h.key)
	h.slot = l.Slot
	return l, it, live
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
	} else if l, _, e, v := h.tx.again(h.db, h.key); l != nil {
		h.slot = l.Slot
		b, enc = v, e
	} else {
		_, it, live := h.find()
		if !live {
			return nil, 0
		}
		b, enc = it.Value, it.Enc
	}
	if enc == value.Large {
		h.collection = collection.Number(b)
	}
	return b, enc
}

// ResizeRoot implements collection.Home.
func (h *home) ResizeRoot(n int, enc value.Encoding) []byte {
	h.tx.Touched(h.db, h.key)
	f := h.tx.ks.front
	if l, _, _, _ := h.tx.again(h.db, h.key); l != nil {
		h.slot = l.Slot
		b, err := h.tx.grow(l, n, enc, h.tx.written(l, true))
		if err != nil {
			return h.failed(err, n)
		}
		return b
	}
	l, _, live := h.find()
	if !live {
		if err := f.Put(&l, front.Item{Kind: h.kind, Enc: enc, Value: emptyValue}, h.tx.written(&l, false)); err != nil {
			return h.failed(err, n)
		}
		if l, _, live = h.find(); !live {
			return h.failed(errNodeGone, n)
		}
	}
	b, err := f.Grow(&l, n, enc, h.tx.written(&l, true))
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
	h.tx.changes()
	if l, _, live := h.find(); live {
		h.tx.remove(&l)
		h.tx.Touched(h.db, h.key)
	}
}

// nodeCache remembers where nodes were found, while no entry of the front moves: the path to a collection's element begins
// with the same pages again and again.
type nodeCache struct {
	moves uint64 // front.Moves as of which the places are good
	round uint64 // of the places that are good; 0: of none
	nodes [64]foundNode
}

type foundNode struct {
	loc   front.Loc
	key   [front.NodeKeySize]byte
	round uint64
}

// place is where the cache has a node, or would have it; ok says that it is there.
func (c *nodeCache) place(f *front.Front, sp *front.Space, slot uint16, hash uint64) (n *foundNode, ok bool) {
	if moves := f.Moves(); c.moves != moves {
		c.moves = moves
		c.round++
	}
	n = &c.nodes[(hash^hash>>20)%uint64(len(c.nodes))]
	return n, n.round == c.round && n.loc.Hash == hash && n.loc.Slot == slot && n.loc.Space == sp
}

// node finds the place of a node; the front may have none.
func (tx *Tx) node(sp *front.Space, slot uint16, hash uint64) *foundNode {
	if tx.nodes == nil {
		tx.nodes = &nodeCache{round: 1}
	}
	f := tx.ks.front
	n, ok := tx.nodes.place(f, sp, slot, hash)
	if !ok {
		front.AppendNodeKey(n.key[:0], slot, hash)
		n.loc = f.Find(sp, slot, hash, n.key[:])
		n.round = 0
		if n.loc.Known() {
			n.round = tx.nodes.round
		}
	}
	return n
}

// grow is front.Grow for a node's place in the cache, or the key's that was found last. That this entry moves is known
// there; others stay.
func (tx *Tx) grow(l *front.Loc, n int, enc value.Encoding, use uint32) ([]byte, error) {
	f := tx.ks.front
	before := f.Moves()
	b, err := f.Grow(l, n, enc, use)
	if now := f.Moves(); now != before {
		if tx.nodes != nil && tx.nodes.moves == before {
			tx.nodes.moves = now
		}
		if tx.last.moves == before {
			tx.last.moves = now
		}
	}
	return b, err
}

// readingNodes is how many nodes a read may look at on an event loop, under the shared lock: a megabyte of them.
const readingNodes = 256

// findNode looks a node up; live says that it is there.
func (h *home) findNode(id uint32) (l *front.Loc, node []byte, live bool) {
	ks := h.tx.ks
	l = &h.tx.node(ks.mu.dbs[h.db].Nodes, h.slot, front.NodeHash(h.collection, id)).loc
	if !l.Known() && !h.loadNode(l) {
		return l, nil, false
	}
	node, live = ks.front.Value(l)
	return l, node, live
}

// loadNode makes a node resident that may be in the store alone.
func (h *home) loadNode(l *front.Loc) bool {
	if l.Final() {
		return false
	}
	if !h.tx.mayWait() {
		h.tx.miss(l.Space, l.Key)
		return false
	}
	if err := h.tx.ks.loadLocked(l); err != nil {
		h.tx.fail(err)
		return false
	}
	return l.Known()
}

// Node implements collection.Home.
func (h *home) Node(id uint32) []byte {
	if h.tx.mode == Detached {
		hash := front.NodeHash(h.collection, id)
		node, err := h.copied.nodes.node(h.slot, hash, front.AppendNodeKey(nil, h.slot, hash))
		if err != nil {
			h.tx.fail(err)
			return nil
		}
		return node
	}
	if h.tx.nodesRead++; h.tx.nodesRead > readingNodes && h.tx.mode == Reading {
		h.tx.cold = true // a worker goes on, holding no lock
		return nil
	}
	if h.tx.nodesRead > tryingNodes && h.tx.mode == Trying {
		panic(trialOver{}) // recovered in try
	}
	l, node, live := h.findNode(id)
	if !live {
		if !h.tx.cold {
			h.tx.fail(errNodeGone)
		}
		return nil
	}
	h.tx.ks.front.Touch(l, h.tx.fresh())
	return node
}

// WriteNode implements collection.Home.
func (h *home) WriteNode(id uint32) []byte {
	h.tx.Touched(h.db, h.key)
	h.exportNode(id)
	l, node, live := h.findNode(id)
	if !live {
		return h.failed(errNodeGone, nodeRoom)
	}
	b, err := h.tx.grow(l, len(node), value.Natural, h.tx.fresh())
	if err != nil {
		return h.failed(err, len(node))
	}
	return b
}

// nodeRoom is what a node that is gone is written to: any fits.
const nodeRoom = 8 << 10

// ResizeNode implements collection.Home.
func (h *home) ResizeNode(id uint32, n int) []byte {
	h.tx.Touched(h.db, h.key)
	h.exportNode(id)
	l, _, live := h.findNode(id)
	if !live {
		return h.failed(errNodeGone, n)
	}
	b, err := h.tx.grow(l, n, value.Natural, h.tx.fresh())
	if err != nil {
		return h.failed(err, n)
	}
	return b
}

// sparedNumbers is how many numbers of large collections are left when commands that add data are refused: others, such as
// RENAME, may need some.
const sparedNumbers = 1 << 32

var errNumbersUsedUp = errors.New("the numbers of large collections are used up")

// NumbersUsedUp says that commands that add data are to be refused, since large collections hardly find a number any more.
// The caller holds the lock.
func (ks *Keyspace) NumbersUsedUp() bool { return ks.mu.collections > maxCollection-sparedNumbers }

// NewCollection implements collection.Home.
func (h *home) NewCollection() uint64 {
	h.tx.changes()
	if h.tx.ks.mu.collections == maxCollection {
		h.tx.fail(errNumbersUsedUp)
		return maxCollection
	}
	h.tx.ks.mu.collections++
	h.collection = h.tx.ks.mu.collections
	return h.collection
}

// AddNode implements collection.Home.
func (h *home) AddNode(id uint32, n int) []byte {
	h.tx.changes()
	h.exportNode(id)
	ks := h.tx.ks
	l := h.tx.node(ks.mu.dbs[h.db].Nodes, h.slot, front.NodeHash(h.collection, id)).loc
	if err := ks.front.Put(&l, front.Item{Value: emptyValue}, h.tx.fresh()); err != nil {
		return h.failed(err, n)
	}
	return h.ResizeNode(id, n)
}

// HasNode implements collection.Home.
func (h *home) HasNode(id uint32) bool {
	if h.tx.mode == Detached {
		hash := front.NodeHash(h.collection, id)
		node, err := h.copied.nodes.node(h.slot, hash, front.AppendNodeKey(nil, h.slot, hash))
		if err != nil && !errors.Is(err, errNodeGone) {
			h.tx.fail(err)
		}
		return node != nil
	}
	_, _, live := h.findNode(id)
	return live
}

// RemoveNode implements collection.Home.
func (h *home) RemoveNode(id uint32) {
	h.tx.Touched(h.db, h.key)
	h.exportNode(id)
	l, _, live := h.findNode(id)
	if !live {
		h.tx.fail(errNodeGone)
		return
	}
	if err := h.tx.ks.front.Remove(l, h.tx.fresh()); err != nil {
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
	source := &home{tx: tx, db: fromDB, key: from, kind: e.Kind, slot: Slot(from)}
	destination := &home{tx: tx, db: toDB, key: to, kind: e.Kind, slot: Slot(to)}
	collection.CopyLarge(source, destination)
	if expire != 0 {
		tx.SetExpire(toDB, to, expire)
	}
}

// Move is Copy with the source's own time to live, and removes the source. Within a slot, nodes stay where they are.
func (tx *Tx) Move(fromDB int, from []byte, toDB int, to []byte) {
	tx.changes()
	l, it, live := tx.find(fromDB, from)
	if !live {
		return
	}
	use := tx.ks.front.Recency(&l)
	defer func() {
		if l, _, live := tx.find(toDB, to); live { // what is known of its use goes along
			tx.ks.front.Touch(&l, use)
		}
	}()
	if it.Enc != value.Large || fromDB != toDB || l.Slot != Slot(to) {
		tx.Copy(fromDB, from, toDB, to, it.Expire)
		tx.Delete(fromDB, from)
		return
	}
	e := entryOf(it)
	e.Value = bytes.Clone(e.Value)
	tx.Touched(fromDB, from)
	if err := tx.ks.front.Remove(&l, tx.fresh()); err != nil { // without its nodes
		tx.fail(err)
	}
	tx.Put(toDB, to, e)
}
