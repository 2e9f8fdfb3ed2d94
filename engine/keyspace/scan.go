package keyspace

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
)

// A scan's cursor is a position: slot and hash in 62 bits. It is stateless: it outlives a restart and a failover, and a
// key that is there throughout is met exactly once. Zero is the start, and the end when it is returned.
const (
	cursorHash = 48
	scanStep   = 512
)

func cursorOf(slot uint16, hash uint64) uint64 {
	if slot >= front.Slots {
		return 0
	}
	return uint64(slot)<<cursorHash | hash
}

func positionOf(cursor uint64) (slot uint16, hash uint64, ok bool) {
	s := cursor >> cursorHash
	return uint16(s), cursor & (1<<cursorHash - 1), s < front.Slots
}

// scanned is a copy of what a stretch of the order holds of one key in the front.
type scanned struct {
	position store.Position
	key      []byte
	entry    Entry
	gone     bool
	use      uint32 // recency word; 0: only the store has it
}

// Scan walks the keys of db in position order from cursor (0: the start), calling visit for each until at least
// count entries were visited and a position boundary is reached. It returns the cursor to go on from, 0 at the end.
// A key that is due is skipped. visit must not call the transaction. Kind and Expire of the entry are right, its
// Value is empty: the walk does not load values.
func (tx *Tx) Scan(db int, cursor uint64, count int, visit func(key []byte, e Entry)) (next uint64) {
	if tx.view != nil {
		return tx.view.scan(tx, count, visit)
	}
	slot, hash, ok := positionOf(cursor)
	if !ok {
		return 0
	}
	for n := 0; ; {
		stretch, to, err := tx.stretch(db, slot, hash, count-n, count-n)
		if err != nil {
			tx.fail(err)
			return 0
		}
		if tx.cold {
			return 0
		}
		for _, s := range stretch {
			if !s.gone && !(s.entry.Expire != 0 && tx.now > s.entry.Expire) {
				visit(s.key, s.entry)
			}
			n++
		}
		if n >= count || to.Slot == front.Slots {
			return cursorOf(to.Slot, to.Hash)
		}
		slot, hash = to.Slot, to.Hash
	}
}

// stretch is what stands from a position on in a data base, as stretchOf says; what is in slots that show nowhere is gone.
func (tx *Tx) stretch(db int, slot uint16, hash uint64, most, mostMerged int) (list []scanned, to front.Position, err error) {
	var slots *SlotTable
	list, to, err = tx.stretchOf(func() *front.Space {
		slots = tx.ks.Slots()
		return tx.ks.mu.dbs[db]
	}, slot, hash, most, mostMerged, false)
	slots.hide(list)
	return list, to, err
}

// hide makes gone what is in slots that show nowhere.
func (t *SlotTable) hide(list []scanned) {
	if t == nil {
		return
	}
	for i := range list {
		if t.hidden(list[i].position.Slot) {
			list[i].gone = true
		}
	}
}

// stretchOf is what stands from a position on, of front and store together, as of one moment: a segment of the front or
// more if that has less than most entries, and no more than about mostMerged where the store has many. A detached
// transaction takes the lock for the front's part, where it calls space, and reads the store's without.
func (tx *Tx) stretchOf(space func() *front.Space, slot uint16, hash uint64, most, mostMerged int, values bool) (list []scanned, to front.Position, err error) {
	ks := tx.ks
	unlock := func() {}
	if tx.mode == Detached {
		ks.mu.RLock()
		unlock = sync.OnceFunc(ks.mu.RUnlock)
		defer unlock()
	}
	sp := space()
	from := front.Position{Space: sp.Number, Slot: slot, Hash: hash}
	to = ks.front.Range(sp, slot, hash, most, func(r front.Record) { list = append(list, scannedOf(r, values)) })
	if ks.completeBetween(sp, from, to) {
		return list, to, nil
	}
	if !tx.mayWait() {
		tx.cold = true
		return nil, to, nil
	}
	v, err := ks.store.View()
	if err != nil {
		return nil, to, err
	}
	defer v.Close()
	unlock()
	return mergeStore(v, list, from, to, mostMerged, values)
}

func scannedOf(r front.Record, values bool) scanned {
	s := scanned{
		position: store.Position{Namespace: r.Space, Slot: r.Slot, Hash: r.Hash},
		key:      bytes.Clone(r.Key),
		entry:    Entry{Kind: r.Kind, Enc: r.Enc, Expire: r.Expire},
		gone:     r.Tombstone,
		use:      r.Use,
	}
	if values {
		s.entry.Value = bytes.Clone(r.Value)
	}
	return s
}

func (ks *Keyspace) completeBetween(sp *front.Space, from, to front.Position) bool {
	for s := from.Slot; s < front.Slots && s <= to.Slot; s++ {
		if s == to.Slot && to.Hash == 0 {
			break
		}
		if !sp.Complete(s) {
			return false
		}
	}
	return true
}

// mergeStore adds to a stretch of the front what only the store has of it, and returns how far it came.
func mergeStore(v *store.View, in []scanned, from, to front.Position, most int, values bool) ([]scanned, front.Position, error) {
	m := merger{}
	if err := m.open(v, from); err != nil {
		return nil, to, err
	}
	m.front, m.to = in, to
	out, err := m.merge(most, values)
	if cerr := m.it.Close(); err == nil {
		err = cerr
	}
	return out, m.at, err
}

// merger joins stretches of the front with the store's records.
type merger struct {
	it    *store.Iter
	have  bool
	front []scanned      // what is left of the front's stretch
	to    front.Position // the stretch's end
	at    front.Position // everything before has been returned
}

// mergeBytes bounds the values that one call of merge returns, but for the last.
const mergeBytes = 1 << 20

func (m *merger) open(v *store.View, from front.Position) error {
	it, err := v.Iter(store.InNamespace(from.Space).From(store.Position{Namespace: from.Space, Slot: from.Slot, Hash: from.Hash}))
	if err != nil {
		return err
	}
	m.it = it
	m.have = it.Next()
	return nil
}

// merge returns the next entries before the stretch's end, the front's taking precedence: all of them, or, where there
// are more than about most, those before some position, so that a slot of millions comes in bounded parts.
func (m *merger) merge(most int, values bool) (out []scanned, err error) {
	end := store.Position{Namespace: m.to.Space, Slot: m.to.Slot, Hash: m.to.Hash}
	for size := 0; ; {
		c := 0 // below 0: the front's is next; above: the store's; 0: both have it
		switch stored := m.have && m.it.Position().Compare(end) < 0; {
		case !stored && len(m.front) == 0:
			m.at = m.to
			return out, nil
		case !stored:
			c = -1
		case len(m.front) == 0:
			c = 1
		default:
			c = compareKeys(m.front[0].position, m.front[0].key, m.it.Position(), m.it.Key())
		}
		var s scanned
		if c <= 0 {
			s = m.front[0]
		} else {
			s.position = m.it.Position()
		}
		if (len(out) >= most || size >= mergeBytes) && out[len(out)-1].position != s.position {
			m.at = front.Position{Space: s.position.Namespace, Slot: s.position.Slot, Hash: s.position.Hash}
			return out, nil
		}
		if c <= 0 {
			m.front = m.front[1:]
		} else if s, err = m.stored(values); err != nil {
			return nil, err
		}
		if c >= 0 {
			m.have = m.it.Next()
		}
		size += len(s.key) + len(s.entry.Value)
		out = append(out, s)
	}
}

// stored is a copy of the store's record.
func (m *merger) stored(values bool) (s scanned, err error) {
	record, err := m.it.Value()
	if err != nil {
		return s, err
	}
	it, err := decodeRecord(record)
	if err != nil {
		return s, err
	}
	s = scanned{position: m.it.Position(), key: bytes.Clone(m.it.Key()), entry: Entry{Kind: it.Kind, Enc: it.Enc, Expire: it.Expire}}
	if values {
		s.entry.Value = bytes.Clone(it.Value)
	}
	return s, nil
}

func compareKeys(p store.Position, key []byte, q store.Position, other []byte) int {
	if c := p.Compare(q); c != 0 {
		return c
	}
	return bytes.Compare(key, other)
}

// view is all keys of some data bases as they were when it was made. Writers put aside what they change before the
// view has passed it; the store's part is a pinned snapshot.
type view struct {
	ks     *Keyspace
	walk   *front.Walk
	store  *store.View
	merger merger
	space  uint32
	open   bool
	values bool
	part   bool // the stretch that the walk read last is not merged to its end
	more   bool // the walk has more
	done   bool
	slots  *SlotTable
}

// newViewLocked pins the given name spaces. The exclusive lock is held.
func (ks *Keyspace) newViewLocked(spaces []*front.Space, values bool) (*view, error) {
	sv, err := ks.store.View()
	if err != nil {
		return nil, err
	}
	return &view{ks: ks, walk: ks.front.BeginView(spaces), store: sv, values: values, slots: ks.Slots()}, nil
}

// next returns the next entries, about scanStep of them; more is false at the end.
func (v *view) next() (out []scanned, more bool, err error) {
	if v.done {
		return nil, false, nil
	}
	if !v.part {
		if err := v.step(); err != nil {
			return nil, false, err
		}
	}
	if out, err = v.merger.merge(scanStep, v.values); err != nil {
		return nil, false, err
	}
	v.slots.hide(out)
	v.part = v.merger.at != v.merger.to
	v.done = !v.part && !v.more
	return out, !v.done, nil
}

// step reads the front's next stretch.
func (v *view) step() error {
	var list []scanned
	v.ks.mu.RLock()
	from, to, more := v.walk.Step(scanStep, func(r front.Record) { list = append(list, scannedOf(r, v.values)) })
	err := v.walk.Err()
	v.ks.mu.RUnlock()
	if err != nil {
		return err
	}
	if !v.open || v.space != from.Space {
		if err := v.closeIter(); err != nil {
			return err
		}
		if err := v.merger.open(v.store, from); err != nil {
			return err
		}
		v.open, v.space = true, from.Space
	}
	v.merger.front, v.merger.to, v.more = list, to, more
	return nil
}

func (v *view) closeIter() error {
	if !v.open {
		return nil
	}
	v.open = false
	return v.merger.it.Close()
}

// close lets everything go.
func (v *view) close() error {
	err := v.closeIter()
	v.ks.mu.Lock()
	v.walk.End()
	v.ks.mu.Unlock()
	if cerr := v.store.Close(); err == nil {
		err = cerr
	}
	return err
}

// scan is Tx.Scan over a view, which goes on from where it is.
func (v *view) scan(tx *Tx, count int, visit func([]byte, Entry)) uint64 {
	for n := 0; n < count; {
		out, more, err := v.next()
		if err != nil {
			tx.fail(err)
			return 0
		}
		for _, s := range out {
			if !s.gone && !(s.entry.Expire != 0 && tx.now > s.entry.Expire) {
				visit(s.key, s.entry)
			}
		}
		n += len(out)
		if !more {
			return 0
		}
	}
	return 1
}

// Each calls visit for every key of every data base, data base by data base in the order of positions, as they all
// are at one moment. The entries are copies; through tx, a detached transaction that knows this key alone, collections
// open. Keys that are due but not deleted yet are among them.
func (ks *Keyspace) Each(visit func(tx *Tx, db int, key []byte, e Entry) error) (err error) {
	ks.mu.Lock()
	dbs := ks.mu.dbs
	spaces := slices.SortedFunc(slices.Values(dbs[:]), func(a, b *front.Space) int { return int(a.Number) - int(b.Number) })
	v, err := ks.newViewLocked(spaces, true)
	nodes := map[uint32]*nodeView{}
	for _, sp := range spaces {
		if err == nil && sp.Nodes.Len() > 0 {
			nodes[sp.Number], err = ks.newNodeViewLocked(sp.Nodes)
		}
	}
	now := ks.clock.Load()
	ks.mu.Unlock()
	defer func() {
		if v != nil {
			err = errors.Join(err, v.close())
		}
		for _, nv := range nodes {
			if nv != nil {
				err = errors.Join(err, nv.close())
			}
		}
	}()
	if err != nil {
		return err
	}
	byNumber := map[uint32]int{}
	for db, sp := range dbs {
		byNumber[sp.Number] = db
	}
	for more := true; more; {
		var out []scanned
		if out, more, err = v.next(); err != nil {
			return err
		}
		for _, s := range out {
			if s.gone {
				continue
			}
			db := byNumber[s.position.Namespace]
			tx := ks.detachedOver(db, now, Key{db, s.key}, s.entry, nodes[s.position.Namespace])
			if err := visit(tx, db, s.key, s.entry); err != nil {
				return err
			}
			if tx.err != nil {
				return tx.err
			}
		}
	}
	return nil
}

const (
	randomTries = 100 // bound of the search for a key that is not due, as in Redis
	randomList  = 512 // keys of a slot up to which all are listed to pick one
	randomSome  = 64  // in a larger slot, one of so many that follow a random position is picked
)

// RandomKey picks a key of db. In a slot with very many keys the choice is only roughly even.
func (tx *Tx) RandomKey(db int) (key []byte, ok bool) {
	for range randomTries {
		slot, at, count := tx.randomPlace(db)
		if count == 0 {
			return nil, false
		}
		hash, want := uint64(0), int(count)
		if count > randomList {
			hash, want = tx.Rand()>>(64-cursorHash), randomSome
		}
		list, err := tx.liveFrom(db, slot, hash, want)
		large := count > randomList
		if missing := want - len(list); large && missing > 0 && err == nil { // the slot's order is a ring
			var rest []scanned
			rest, err = tx.liveFrom(db, slot, 0, missing)
			list = append(list, rest...)
		}
		if err != nil {
			tx.fail(err)
		}
		if err != nil || tx.cold {
			return nil, false
		}
		if large && len(list) > 0 {
			at = int64(tx.Rand() % uint64(len(list)))
		}
		if at >= int64(len(list)) {
			continue
		}
		if s := list[at]; s.entry.Expire == 0 || tx.now <= s.entry.Expire {
			return s.key, true
		}
	}
	return nil, false
}

// randomPlace picks a key by its place in its slot, which has count keys; none in an empty data base.
func (tx *Tx) randomPlace(db int) (slot uint16, at int64, count uint32) {
	ks := tx.ks
	if tx.mode == Detached {
		ks.mu.RLock()
		defer ks.mu.RUnlock()
	}
	sp := ks.mu.dbs[db]
	n := ks.visibleLen(sp)
	if n == 0 {
		return 0, 0, 0
	}
	if at = int64(tx.Rand() % uint64(n)); ks.Slots() == nil {
		slot, at = sp.SlotAt(at)
	} else {
		slot, at = sp.SlotAtOf(at, ks.Slots().visible)
	}
	return slot, at, sp.SlotLen(slot)
}

// liveFrom is the first want live keys of one slot from a hash on, or as many as there are.
func (tx *Tx) liveFrom(db int, slot uint16, hash uint64, want int) (live []scanned, err error) {
	for len(live) < want {
		list, to, err := tx.stretch(db, slot, hash, 1, want)
		if err != nil || tx.cold {
			return nil, err
		}
		for _, s := range list {
			if !s.gone && s.position.Slot == slot {
				live = append(live, s)
			}
		}
		if to.Slot != slot {
			break
		}
		hash = to.Hash
	}
	return live[:min(len(live), want)], nil // no more: keys behind the slot's beginning would come up more often
}

// CursorSlot is the slot at which a scan goes on from a cursor; behind the last one where the cursor is none.
func CursorSlot(cursor uint64) int {
	slot, _, ok := positionOf(cursor)
	if !ok {
		return front.Slots
	}
	return int(slot)
}

// SlotCursor is the cursor from which a scan goes on at a slot; 0, the end, behind the last one.
func SlotCursor(slot int) uint64 {
	if slot >= front.Slots {
		return 0
	}
	return cursorOf(uint16(slot), 0)
}
