package keyspace

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// ErrExportLost: a whole data base changed, or too much at once. The export has to begin again, and the import with it.
var ErrExportLost = errors.New("the export of slots is out of date")

// SlotExport copies slots while they are in use, record by record. A walk reads every record once, in the order of
// positions and in bounded steps; what changes behind it is noted, and read again, until no change is left that was not
// sent. As of then, and once nothing may change any more, the records that were sent, each newer one in the place of
// the older, are those of the slots.
//
// Large collections are sent under numbers of the export's own, from 1 on within each slot. The target's last number so grows
// with each import by what is in a slot, not by what the source's last number is: slots may go to and fro for ever. What one
// export has sent makes sense to one import only.
//
// It belongs to one goroutine. Close ends it.
type SlotExport struct {
	ks    *Keyspace
	slots [front.Slots]bool
	walk  exportPlace // read so far; the walker's own
	tx    Tx

	numbers map[slotNumber]uint64 // of collections, as they are sent
	last    [front.Slots]uint64   // one of each slot

	// Written by Apply under the exclusive lock, or under the shared one by the export itself.
	passed exportPlace // what changes from here on need not be noted
	keys   map[string]struct{}
	nodes  map[exportedNode]struct{}
	gone   []goneCollection
	dead   map[collectionID]struct{} // collections whose nodes are not sent
	size   int                       // of what is noted, bytes
	lost   bool
}

// exportPlace is a place in the order of the walk: each data base's keys, then the nodes of its large collections.
type exportPlace struct {
	space int // twice the data base's number, plus one for nodes
	slot  uint16
	hash  uint64
}

const exportSpaces = 2 * Databases

func (p exportPlace) compare(q exportPlace) int {
	return cmp.Or(cmp.Compare(p.space, q.space), cmp.Compare(p.slot, q.slot), cmp.Compare(p.hash, q.hash))
}

// slotNumber is the number of a large collection, which no other of its slot has.
type slotNumber struct {
	slot   uint16
	number uint64
}

type exportedNode struct {
	db   int
	slot uint16
	hash uint64
}

const (
	exportStep  = 256      // records read at a time
	notedKey    = 80       // bytes that a noted key takes up besides itself, about
	notedNode   = 48       // and a node, or a collection that is gone
	mostNoted   = 64 << 20 // bytes; with more noted, the export is lost
	changesStep = 64       // changed records read under the lock at a time
	mostChanged = 4 << 20  // bytes of changed records read at a time, or one record
)

// ExportSlots begins to copy slots: from now on changes are noted.
func (ks *Keyspace) ExportSlots(ranges []SlotRange) *SlotExport {
	x := &SlotExport{ks: ks, keys: map[string]struct{}{}, nodes: map[exportedNode]struct{}{}, dead: map[collectionID]struct{}{}, numbers: map[slotNumber]uint64{}}
	for slot := range slotsOf(ranges) {
		x.slots[slot] = true
	}
	x.tx.Begin(ks, Detached, 0, 0, 0)
	ks.mu.Lock()
	defer ks.mu.Unlock()
	for id := range ks.mu.dead {
		if x.slots[id.slot] {
			x.dead[id] = struct{}{}
		}
	}
	ks.mu.exports = append(ks.mu.exports, x)
	return x
}

// Close ends the noting of changes.
func (x *SlotExport) Close() {
	x.ks.mu.Lock()
	defer x.ks.mu.Unlock()
	x.ks.mu.exports = slices.DeleteFunc(x.ks.mu.exports, func(y *SlotExport) bool { return y == x })
	x.lose()
}

// Seed is the hash seed that the order of the records goes by.
func (ks *Keyspace) Seed() uint64 {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	return ks.mu.seed
}

// Next reads the next records, packed into parts of about size bytes each. more is false at the end of the walk.
func (x *SlotExport) Next(size int) (parts [][]byte, more bool, err error) {
	for len(parts) == 0 {
		if x.walk.space == exportSpaces {
			return nil, false, nil
		}
		if !x.slots[x.walk.slot] {
			x.nextSlot()
			continue
		}
		if parts, err = x.step(size); err != nil {
			return nil, false, err
		}
	}
	return parts, true, nil
}

// nextSlot goes on with the next slot that is copied.
func (x *SlotExport) nextSlot() {
	next := exportPlace{space: x.walk.space, slot: x.walk.slot}
	for next.slot++; next.slot < front.Slots && !x.slots[next.slot]; next.slot++ {
	}
	if next.slot == front.Slots {
		next = exportPlace{space: next.space + 1}
	}
	x.moveTo(next)
}

// moveTo notes how far the walk has come.
func (x *SlotExport) moveTo(p exportPlace) {
	x.ks.mu.RLock()
	defer x.ks.mu.RUnlock()
	x.walk, x.passed = p, p
}

// step reads one stretch. While it is read, all changes of its name space are noted: the stretch is as of some moment
// meanwhile.
func (x *SlotExport) step(size int) (parts [][]byte, err error) {
	db, nodes := x.walk.space/2, x.walk.space%2 == 1
	list, to, err := x.tx.stretchOf(func() *front.Space {
		x.passed = exportPlace{space: x.walk.space + 1}
		if nodes {
			return x.ks.mu.dbs[db].Nodes
		}
		return x.ks.mu.dbs[db]
	}, x.walk.slot, x.walk.hash, exportStep, exportStep, true)
	if err != nil {
		return nil, err
	}
	next := exportPlace{x.walk.space, to.Slot, to.Hash}
	if to.Slot == front.Slots {
		next = exportPlace{space: x.walk.space + 1}
	}
	x.moveTo(next)
	x.ks.mu.RLock()
	defer x.ks.mu.RUnlock()
	if x.lost {
		return nil, ErrExportLost
	}
	p := packer{size: size}
	for i := range list {
		if r := &list[i]; x.slots[r.position.Slot] && !r.gone {
			x.pack(&p, db, nodes, r)
		}
	}
	return p.parts, nil
}

// numberOf is the number under which a collection is sent.
func (x *SlotExport) numberOf(slot uint16, number uint64) uint64 {
	n, given := x.numbers[slotNumber{slot, number}]
	if !given {
		x.last[slot]++
		n = x.last[slot]
		x.numbers[slotNumber{slot, number}] = n
	}
	return n
}

// hashOf is the hash of a node under the number under which its collection is sent.
func (x *SlotExport) hashOf(slot uint16, hash uint64) uint64 {
	return x.numberOf(slot, hash>>value.NodeBits)<<value.NodeBits | hash&(1<<value.NodeBits-1)
}

// pack adds a record that is there, unless it is a node of a collection that is gone.
func (x *SlotExport) pack(p *packer, db int, nodes bool, r *scanned) {
	it := front.Item{Kind: r.entry.Kind, Enc: r.entry.Enc, Expire: r.entry.Expire, Value: r.entry.Value}
	if nodes {
		id := collectionID{r.position.Namespace, r.position.Slot, r.position.Hash >> value.NodeBits}
		if _, dead := x.dead[id]; !dead {
			p.add(&sent{what: sentNode, db: db, slot: r.position.Slot, hash: x.hashOf(r.position.Slot, r.position.Hash), item: it})
		}
		return
	}
	if it.Enc == value.Large && collection.CheckRoot(it.Value, it.Enc) == nil { // the target refuses what is damaged
		it.Value = collection.WithNumber(it.Value, x.numberOf(r.position.Slot, collection.Number(it.Value)))
	}
	s := sent{what: sentKey, db: db, key: r.key, item: it, idle: coldIdle}
	if r.use != 0 {
		s.idle, s.uses = front.Idle(r.use, x.ks.usage.clock.Load()), uint8(r.use)
	}
	p.add(&s)
}

// packer packs records into parts.
type packer struct {
	size  int
	parts [][]byte
}

func (p *packer) add(s *sent) {
	n := len(p.parts)
	if n == 0 || len(p.parts[n-1])+len(s.key)+len(s.item.Value) > p.size {
		p.parts = append(p.parts, nil)
		n++
	}
	p.parts[n-1] = s.append(p.parts[n-1])
}

// Changed is how many records were noted that have to be sent again.
func (x *SlotExport) Changed() (n int, err error) {
	x.ks.mu.RLock()
	defer x.ks.mu.RUnlock()
	if x.lost {
		return 0, ErrExportLost
	}
	return len(x.keys) + len(x.nodes) + len(x.gone), nil
}

// Few says whether no more than most records were noted, which have no more than size bytes together, about.
func (x *SlotExport) Few(most, size int) (few bool, err error) {
	ks := x.ks
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	if x.lost {
		return false, ErrExportLost
	}
	if len(x.keys)+len(x.nodes)+len(x.gone) > most {
		return false, nil
	}
	for name := range x.keys {
		if size -= x.sizeOf(changedKey(ks, name), false); size < 0 {
			return false, nil
		}
	}
	for n := range x.nodes {
		if size -= x.sizeOf(n.changed(), true); size < 0 {
			return false, nil
		}
	}
	return true, nil
}

// sizeOf is how many bytes a changed record has as the front knows it. What changed lately is seldom in the store alone.
func (x *SlotExport) sizeOf(c changed, nodes bool) int {
	sp := x.ks.mu.dbs[c.db]
	if nodes {
		sp = sp.Nodes
	}
	n := len(c.key) + notedNode
	if l := x.ks.front.Find(sp, c.slot, c.hash, c.key); l.Known() {
		n += len(x.ks.front.Item(&l).Value)
	}
	return n
}

// Changes reads about most of the records that changed behind the walk, packed like those of Next, but no more once they have
// some megabytes; no parts: nothing has changed.
func (x *SlotExport) Changes(most, size int) (parts [][]byte, err error) {
	p := &packer{size: size}
	for room := mostChanged; most > 0 && room > 0; {
		keys, nodes, gone, bytes, err := x.take(min(most, changesStep), room)
		n := len(keys) + len(nodes) + len(gone)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		most, room = most-n, room-bytes
		if err := x.packChanged(p, false, keys); err != nil {
			return nil, err
		}
		if err := x.packChanged(p, true, nodes); err != nil {
			return nil, err
		}
		for _, g := range gone {
			p.add(&sent{what: sentGoneCollection, db: g.db, slot: g.slot, number: x.numberOf(g.slot, g.number)})
		}
	}
	return p.parts, nil
}

// changed is a key or a node that has to be read again.
type changed struct {
	db   int
	slot uint16
	hash uint64
	key  []byte
}

func changedKey(ks *Keyspace, name string) changed {
	key := []byte(name[1:])
	return changed{int(name[0]), Slot(key), ks.hash(key), key}
}

func (n exportedNode) changed() changed {
	return changed{n.db, n.slot, n.hash, front.AppendNodeKey(nil, n.slot, n.hash)}
}

// reread is a record that was read again; known: the front knew it.
type reread struct {
	scanned
	known bool
}

// take takes up to most of the notes of each kind, or fewer whose records have about room bytes. Their order does not matter:
// each names a record that is read as it is then.
func (x *SlotExport) take(most, room int) (keys, nodes []changed, gone []goneCollection, size int, err error) {
	x.ks.mu.Lock()
	defer x.ks.mu.Unlock()
	if x.lost {
		return nil, nil, nil, 0, ErrExportLost
	}
	for name := range x.keys {
		if len(keys) == most || size >= room {
			break
		}
		c := changedKey(x.ks, name)
		keys, size = append(keys, c), size+x.sizeOf(c, false)
		delete(x.keys, name)
		x.size -= len(name) + notedKey
	}
	for n := range x.nodes {
		if len(keys)+len(nodes) >= most || size >= room {
			break
		}
		c := n.changed()
		nodes, size = append(nodes, c), size+x.sizeOf(c, true)
		delete(x.nodes, n)
		x.size -= notedNode
	}
	n := min(len(x.gone), most)
	gone, x.gone = x.gone[:n:n], x.gone[n:]
	return keys, nodes, gone, size, nil
}

// packChanged reads records as they are now, all at one moment.
func (x *SlotExport) packChanged(p *packer, nodes bool, list []changed) error {
	if len(list) == 0 {
		return nil
	}
	read := make([]reread, len(list))
	v, err := x.readChanged(nodes, list, read)
	if v != nil {
		for i := range read {
			if err == nil && !read[i].known {
				err = readStored(v, &read[i].scanned)
			}
		}
		err = errors.Join(err, v.Close())
	}
	if err != nil {
		return err
	}
	x.ks.mu.RLock()
	defer x.ks.mu.RUnlock()
	if x.lost {
		return ErrExportLost
	}
	for i := range read {
		x.packNow(p, nodes, list[i], &read[i].scanned)
	}
	return nil
}

// readChanged copies what the front has of records, and pins the store where it lacks some.
func (x *SlotExport) readChanged(nodes bool, list []changed, read []reread) (v *store.View, err error) {
	ks := x.ks
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	cold := false
	for i, c := range list {
		sp := ks.mu.dbs[c.db]
		if nodes {
			sp = sp.Nodes
		}
		r := &read[i]
		r.scanned = scanned{position: store.Position{Namespace: sp.Number, Slot: c.slot, Hash: c.hash}, key: c.key, gone: true}
		l := ks.front.Find(sp, c.slot, c.hash, c.key)
		if r.known = l.Known() || l.Final(); !l.Known() {
			cold = cold || !r.known
			continue
		}
		it := ks.front.Item(&l)
		it.Value = bytes.Clone(it.Value)
		r.entry, r.gone, r.use = entryOf(it), it.Tombstone, ks.front.Recency(&l)
	}
	if cold {
		v, err = ks.store.View()
	}
	return v, err
}

// readStored completes a record that only the store may have.
func readStored(v *store.View, r *scanned) error {
	record, found, err := v.Get(r.position, r.key, nil)
	if err != nil || !found {
		return err
	}
	it, err := decodeRecord(record)
	r.entry, r.gone = entryOf(it), false
	return err
}

// packNow adds a record as it is now, or that it is gone.
func (x *SlotExport) packNow(p *packer, nodes bool, c changed, r *scanned) {
	switch {
	case !r.gone:
		x.pack(p, c.db, nodes, r)
	case nodes:
		p.add(&sent{what: sentGoneNode, db: c.db, slot: c.slot, hash: x.hashOf(c.slot, c.hash)})
	default:
		p.add(&sent{what: sentGoneKey, db: c.db, key: c.key})
	}
}

// exportTouched notes a change of a key for the exports that have read it.
func (ks *Keyspace) exportTouched(db int, key []byte) {
	if len(ks.mu.exports) == 0 {
		return
	}
	slot := Slot(key)
	for _, x := range ks.mu.exports {
		if !x.slots[slot] || x.lost || (exportPlace{2 * db, slot, ks.hash(key)}).compare(x.passed) >= 0 {
			continue
		}
		name := copyName(db, key)
		if _, noted := x.keys[name]; !noted {
			x.keys[name] = struct{}{}
			x.grow(len(name) + notedKey)
		}
	}
}

// exportNode notes a change of a node.
func (h *home) exportNode(id uint32) {
	ks := h.tx.ks
	if len(ks.mu.exports) == 0 {
		return
	}
	n := exportedNode{h.db, h.slot, front.NodeHash(h.collection, id)}
	for _, x := range ks.mu.exports {
		if !x.slots[n.slot] || x.lost || (exportPlace{2*n.db + 1, n.slot, n.hash}).compare(x.passed) >= 0 {
			continue
		}
		if _, noted := x.nodes[n]; !noted {
			x.nodes[n] = struct{}{}
			x.grow(notedNode)
		}
	}
}

// exportGone notes that a large collection is gone.
func (ks *Keyspace) exportGone(d deadCollection) {
	for _, x := range ks.mu.exports {
		if !x.slots[d.slot] || x.lost {
			continue
		}
		x.dead[d.id()] = struct{}{}
		db := slices.IndexFunc(ks.mu.dbs[:], func(sp *front.Space) bool { return sp.Nodes == d.space })
		x.gone = append(x.gone, goneCollection{db, d.slot, d.number})
		x.grow(2 * notedNode)
	}
}

// grow counts what is noted.
func (x *SlotExport) grow(n int) {
	if x.size += n; x.size > mostNoted {
		x.lose()
	}
}

// lose gives the export up.
func (x *SlotExport) lose() {
	x.lost = true
	x.keys, x.nodes, x.gone, x.dead = nil, nil, nil, nil
}

// loseExports gives all exports up: a data base was flushed or swapped, or the state replaced.
func (ks *Keyspace) loseExports() {
	for _, x := range ks.mu.exports {
		x.lose()
	}
}
