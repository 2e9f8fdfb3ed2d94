package front

import (
	"bytes"
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/tidwall/btree"
)

// Position is a place in the order of keys within a front: name space, slot, hash.
type Position struct {
	Space uint32 // number
	Slot  uint16 // Slots: behind the last one
	Hash  uint64
}

func (p Position) compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Space, q.Space), cmp.Compare(p.Slot, q.Slot), cmp.Compare(p.Hash, q.Hash))
}

// Walk reads the front in the order of positions, step by step, as it was when the walk began, while it goes on
// changing: whoever is about to change something that the walk has not passed puts the old version aside first.
//
// A checkpoint's walk sees the entries that were dirty; a view sees all entries. A view's reader looks up in the
// store, as it was when the view began, what the view does not have.
type Walk struct {
	f      *Front
	old    Tag // the dirty epoch that a checkpoint reads; Clean: a view
	spaces []*Space
	counts [][]uint32 // checkpoint: live keys per slot of each space
	cursor Position   // everything before has been read
	at     int        // index into spaces
	kept   *btree.BTreeG[kept]
	held   int64 // bytes of blocks in kept
	done   bool
	refs   []found

	settling bool
	slot     uint16
	failed   error
}

// kept is an old version that a walk still needs. ref 0: the front had no entry.
type kept struct {
	pos Position
	key []byte
	ref Ref
}

func keptLess(a, b kept) bool {
	if c := a.pos.compare(b.pos); c != 0 {
		return c < 0
	}
	return bytes.Compare(a.key, b.key) < 0
}

// Record is an entry that a walk meets.
type Record struct {
	Position
	Key []byte
	Item
	Use uint32 // its recency word
}

func (f *Front) newWalk(old Tag, spaces []*Space) *Walk {
	w := &Walk{f: f, old: old, spaces: spaces, kept: btree.NewBTreeGOptions(keptLess, btree.Options{NoLocks: true})}
	if len(spaces) > 0 {
		w.cursor = Position{Space: spaces[0].Number}
	}
	f.walks = append(f.walks, w)
	return w
}

// BeginView starts a walk over all entries of the given name spaces, which stand in the order of their numbers.
func (f *Front) BeginView(spaces []*Space) *Walk { return f.newWalk(Clean, spaces) }

// BeginCheckpoint turns the dirty epoch and starts a walk over what was dirty before. One at a time.
func (f *Front) BeginCheckpoint() *Walk {
	w := f.newWalk(f.cur, f.Spaces())
	f.cur = 3 - f.cur
	for _, sp := range w.spaces {
		w.counts = append(w.counts, sp.Counts())
	}
	return w
}

// Counts are the name spaces of a checkpoint and the number of live keys per slot of each, as of its beginning.
func (w *Walk) Counts() ([]*Space, [][]uint32) { return w.spaces, w.counts }

// Held is the memory of old versions put aside for the walk, bytes.
func (w *Walk) Held() int64 { return w.held }

// Step emits the records of the next stretch, at most about most of them, and returns its bounds: from is included,
// to is not. more is false at the end. The records are valid until the lock is given up. It needs the shared lock,
// and is never called concurrently for one walk.
func (w *Walk) Step(most int, emit func(Record)) (from, to Position, more bool) {
	from = w.cursor
	if w.at >= len(w.spaces) {
		return from, from, false
	}
	sp := w.spaces[w.at]
	n := 0
	budget := stepBytes
	for visited := 0; n < most && budget > 0 && visited < 1024; visited++ {
		si, end := w.stretch(sp)
		met, end := w.gather(sp, si, end, &budget, emit)
		n += met
		w.cursor = end
		if end.Slot == Slots {
			w.at++
			if w.at < len(w.spaces) {
				w.cursor = Position{Space: w.spaces[w.at].Number}
			}
			return from, end, w.at < len(w.spaces)
		}
	}
	return from, w.cursor, true
}

// stretch is the segment that the cursor stands in, -1 for none, and where that or the gap ends.
func (w *Walk) stretch(sp *Space) (si int32, end Position) {
	c := w.cursor
	next := Position{Space: c.Space, Slot: c.Slot + 1}
	s := sp.slot(c.Slot)
	if s == nil { // nothing has ever been in any slot of the page
		return -1, Position{Space: c.Space, Slot: c.Slot/pageSlots*pageSlots + pageSlots}
	}
	if s.seg == -1 {
		return -1, next
	}
	si, gapEnd := w.f.segmentAt(sp, s, c.Hash)
	if si < 0 {
		if gapEnd == 0 {
			return -1, next
		}
		return -1, Position{Space: c.Space, Slot: c.Slot, Hash: gapEnd}
	}
	seg := &w.f.segments[si]
	if end := seg.lo + 1<<seg.bits; end < 1<<sp.hashBits() {
		return si, Position{Space: c.Space, Slot: c.Slot, Hash: end}
	}
	return si, next
}

type found struct {
	hash uint64
	key  []byte
	ref  Ref
	kept bool
}

// stepBytes bounds the keys and values that one step emits, but for the last: its reader copies them under the lock.
const stepBytes = 1 << 20

// gather emits what the walk sees between the cursor and end, or, when the budget of bytes is used up, the next hash
// before it. It returns how many records that were, and where it stopped.
func (w *Walk) gather(sp *Space, si int32, end Position, budget *int, emit func(Record)) (int, Position) {
	f := w.f
	w.refs = w.refs[:0]
	if si >= 0 {
		seg := &f.segments[si]
		if seg.table != 0 && (w.old == Clean || seg.dirty&(1<<(w.old-1)) != 0) {
			for _, c := range f.cells(seg) {
				if c == 0 {
					continue
				}
				r := cellRef(c)
				if w.old != Clean && tagOf(f.arena.meta(r)) != w.old {
					continue
				}
				key := f.arena.key(r)
				if hash := f.hash(sp, key); hash >= w.cursor.Hash { // the cursor may stand amid a segment
					w.refs = append(w.refs, found{hash: hash, key: key, ref: r})
				}
			}
		}
	}
	if w.kept != nil {
		w.refs = w.appendKept(w.refs, end)
	}
	less := func(a, b found) int {
		if c := cmp.Or(cmp.Compare(a.hash, b.hash), bytes.Compare(a.key, b.key)); c != 0 || a.kept == b.kept {
			return c
		} else if a.kept {
			return -1
		}
		return 1
	}
	if !slices.IsSortedFunc(w.refs, less) {
		slices.SortFunc(w.refs, less)
	}
	n := 0
	for i, r := range w.refs {
		if r.ref == 0 || i > 0 && w.refs[i-1].kept && w.refs[i-1].hash == r.hash && bytes.Equal(w.refs[i-1].key, r.key) {
			continue
		}
		if *budget <= 0 && w.refs[i-1].hash != r.hash {
			return n, Position{sp.Number, w.cursor.Slot, r.hash}
		}
		it := f.arena.item(r.ref)
		emit(Record{Position{sp.Number, w.cursor.Slot, r.hash}, r.key, it, atomic.LoadUint32(f.arena.recency(r.ref))})
		*budget -= len(r.key) + len(it.Value)
		n++
	}
	return n, end
}

// appendKept adds what was put aside between the cursor and end.
func (w *Walk) appendKept(refs []found, end Position) []found {
	w.kept.Ascend(kept{pos: w.cursor}, func(k kept) bool {
		if k.pos.compare(end) >= 0 {
			return false
		}
		refs = append(refs, found{hash: k.pos.Hash, key: k.key, ref: k.ref, kept: true})
		return true
	})
	return refs
}

// Lookup finds an entry as it was when the walk, which nobody steps, began. known is false where the front had none; the
// store as it was then has the answer. It needs the shared lock; the item aliases the arena.
func (w *Walk) Lookup(sp *Space, slotNo uint16, hash uint64, key []byte) (it Item, known bool) {
	if k, ok := w.kept.Get(kept{pos: Position{sp.Number, slotNo, hash}, key: key}); ok {
		if k.ref == 0 {
			return it, false
		}
		return w.f.arena.item(k.ref), true
	}
	l := w.f.Find(sp, slotNo, hash, key)
	if !l.Known() {
		return it, false
	}
	return w.f.Item(&l), true
}

// End gives up a view, or what a checkpoint has put aside. It needs the exclusive lock.
func (w *Walk) End() {
	if w.done {
		return
	}
	w.done = true
	f := w.f
	f.walks = slices.DeleteFunc(f.walks, func(x *Walk) bool { return x == w })
	w.kept.Scan(func(k kept) bool {
		if k.ref != 0 {
			f.arena.release(k.ref)
		}
		return true
	})
	w.kept, w.held = nil, 0
}

// Settle goes through a checkpoint's name spaces after its walk, a bounded step for each call under the exclusive
// lock: with durable set its entries become clean and its tombstones go, else they are dirty again. It returns false
// when all is done; then the walk has ended.
func (w *Walk) Settle(durable bool, most int) (more bool) {
	if !w.settling {
		w.settling, w.at, w.cursor = true, 0, Position{Space: ^uint32(0)} // nothing is put aside for it any more
		w.slot = 0
	}
	for n := 0; n < most; {
		if w.at >= len(w.spaces) {
			w.f.hand.idle = 0 // there are clean entries again
			w.End()
			return false
		}
		n++
		switch sp := w.spaces[w.at]; {
		case sp.dead:
			w.slot = Slots
		case sp.slot(w.slot) == nil:
			w.slot += pageSlots
		default:
			n += w.settleSlot(durable)
			w.slot++
		}
		if w.slot == Slots {
			w.slot = 0
			w.at++
		}
	}
	return true
}

// settleSlot settles one slot and returns what that took, in entries that stay.
func (w *Walk) settleSlot(durable bool) (n int) {
	f, sp := w.f, w.spaces[w.at]
	s := sp.slot(w.slot)
	if s == nil {
		return 0
	}
	if durable {
		s.stored = 0
		if counts := w.counts[w.at]; counts != nil {
			s.stored = counts[w.slot]
		}
		if s.stored == 0 {
			f.setComplete(sp, s, true)
		}
	}
	for _, si := range sp.list(s) {
		seg := &f.segments[si]
		if seg.dirty&(1<<(w.old-1)) == 0 {
			continue
		}
		seg.dirty &^= 1 << (w.old - 1)
		n += w.settleSegment(sp, s, si, durable)
	}
	return n
}

func (w *Walk) settleSegment(sp *Space, s *slot, si int32, durable bool) (n int) {
	f := w.f
	var gone []Ref
	for _, c := range f.cells(&f.segments[si]) {
		if c == 0 {
			continue
		}
		n++
		r := cellRef(c)
		m := f.arena.meta(r)
		if tagOf(m) != w.old {
			continue
		}
		switch {
		case !durable:
			f.setTag(r, m, f.arena.blockLen(r), f.cur)
			f.segments[si].dirty |= 1 << (f.cur - 1)
		case whatOf(m) == whatTombstone:
			gone = append(gone, r)
		default:
			f.setTag(r, m, f.arena.blockLen(r), Clean)
		}
	}
	for _, r := range gone {
		key := f.arena.key(r)
		l := f.Find(sp, f.segments[si].slot, f.hash(sp, key), key)
		f.dropEntry(&l)
	}
	return n + goneCost*len(gone)
}

// goneCost is how many entries that stay could be settled beside one that goes.
const goneCost = 4

// Range emits the entries of a name space between from and the bound that it returns, tombstones included, about most
// of them, in order. The records are valid until the lock is given up.
func (f *Front) Range(sp *Space, slotNo uint16, hash uint64, most int, emit func(Record)) (to Position) {
	w := &Walk{f: f, spaces: []*Space{sp}, cursor: Position{sp.Number, slotNo, hash}}
	_, to, _ = w.Step(most, emit)
	return to
}

// wanted says whether a walk still needs the entry at l, whose meta is m.
func (f *Front) wanted(l *Loc, m uint32) bool {
	for _, w := range f.walks {
		if w.wants(l, m) {
			return true
		}
	}
	return false
}

func (w *Walk) wants(l *Loc, m uint32) bool {
	if w.old != Clean {
		return tagOf(m) == w.old && !w.passed(l)
	}
	return !w.passed(l) && w.covers(l.Space) && !w.has(l)
}

// passed says whether the walk has read l's position.
func (w *Walk) passed(l *Loc) bool {
	return w.settling || w.at >= len(w.spaces) || w.position(l).compare(w.cursor) < 0
}

func (w *Walk) covers(sp *Space) bool { return slices.Contains(w.spaces, sp) }

func (w *Walk) position(l *Loc) Position { return Position{l.Space.Number, l.Slot, l.Hash} }

func (w *Walk) has(l *Loc) bool {
	_, ok := w.kept.Get(kept{pos: w.position(l), key: l.Key})
	return ok
}

// giveUp releases the block at l, whose meta is m, or hands it to the walks that need it.
func (f *Front) giveUp(l *Loc, m uint32) {
	taken := false
	for _, w := range f.walks {
		if !w.wants(l, m) {
			continue
		}
		r := l.ref
		if taken { // the second walk that needs it gets a copy
			n := f.arena.blockLen(r)
			c, err := f.arena.alloc(n)
			if err != nil {
				w.failed = err
				continue
			}
			copy(f.arena.bytes(c, n), f.arena.bytes(r, n))
			r = c
		}
		taken = true
		w.held += int64(blockSize(f.arena.blockLen(r)))
		w.kept.Set(kept{pos: w.position(l), key: f.arena.key(r), ref: r})
	}
	if !taken {
		f.arena.release(l.ref)
	}
}

// keepAbsence tells the views that have not passed l that the front had no entry there.
func (f *Front) keepAbsence(l *Loc) {
	for _, w := range f.walks {
		if w.old == Clean && !w.passed(l) && w.covers(l.Space) && !w.has(l) {
			w.kept.Set(kept{pos: w.position(l), key: bytes.Clone(l.Key)})
		}
	}
}

func (f *Front) checkpointing() bool {
	return slices.ContainsFunc(f.walks, func(w *Walk) bool { return w.old != Clean })
}

// Walked says whether a walk is under way.
func (f *Front) Walked() bool { return len(f.walks) > 0 }

// Err is what went wrong while old versions were put aside; the walk's result is then not to be used.
func (w *Walk) Err() error { return w.failed }
