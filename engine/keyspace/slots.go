package keyspace

import (
	"errors"
	"fmt"
	"slices"

	"github.com/larder-db/larder/engine/front"
)

// A shard owns slots. Which ones is part of its state, changed by entries alone, so that of two shards between which a
// slot moves no more than one answers for it at any time: the source freezes the slot before the target owns it.
//
//	owned      its keys are read and written
//	frozen     another shard is about to own it: its keys stay as they are, and nobody sees them by name
//	importing  another shard owns it, and its keys are being copied to this one: nobody sees them at all
//	foreign    another shard owns it: what keys there still are have no meaning, and nobody sees them
//
// The steps of a migration come from the leader of its source, who may be deposed without knowing it. So each step bears
// the migration's number, and the number of the attempt, which grows with each leader that takes it up: once a shard has
// seen an attempt, it refuses what older ones ask for.

// SlotState is what a shard has to do with a slot.
type SlotState uint8

// The states of a slot.
const (
	Owned SlotState = iota
	Frozen
	Importing
	Foreign

	slotStates = 4
)

// String implements fmt.Stringer.
func (s SlotState) String() string {
	if s >= slotStates {
		return "unknown"
	}
	return [slotStates]string{"owned", "frozen", "importing", "foreign"}[s]
}

// SlotCount is how many slots there are.
const SlotCount = front.Slots

// SlotRange is the slots from From to To, both included.
type SlotRange struct{ From, To uint16 }

// SlotTable is the state of all slots at a moment. It does not change.
type SlotTable struct {
	state     [front.Slots]SlotState
	migration [front.Slots]uint64 // that froze it or imports it
	count     [slotStates]int
}

// State is a slot's state.
func (t *SlotTable) State(slot uint16) SlotState {
	if t == nil {
		return Owned
	}
	return t.state[slot]
}

// Any says whether a slot is in a state.
func (t *SlotTable) Any(s SlotState) bool { return t != nil && t.count[s] > 0 }

// hidden says whether the keys of a slot show nowhere.
func (t *SlotTable) hidden(slot uint16) bool { return t.State(slot) >= Importing }

// visible says of a table's slots whether their keys are counted and listed.
func (t *SlotTable) visible(slot uint16) bool { return !t.hidden(slot) }

// Slots is the state of all slots; nil: the shard owns them all. It needs no lock, and changes under the exclusive lock.
func (ks *Keyspace) Slots() *SlotTable { return ks.slots.Load() }

// Owns says whether the shard owns the key's slot.
func (tx *Tx) Owns(key []byte) bool {
	t := tx.ks.Slots()
	return t == nil || t.state[Slot(key)] == Owned
}

// migration is what a shard remembers of a migration that it takes part in.
type migration struct {
	id      uint64
	attempt uint64 // the newest one
	// Of the target:
	begun     uint64 // the attempt whose import it is
	entries   uint64 // of that import that were applied
	offset    uint64 // is added to the numbers of large collections that come
	spoiled   bool   // what was imported is not what the source sent any more
	sealed    bool   // the source has sent everything
	unremoved []goneCollection
}

// goneCollection is a large collection whose nodes are still to be removed from an importing slot.
type goneCollection struct {
	db     int
	slot   uint16
	number uint64
}

// RememberedMigrations is how many migrations a shard remembers at least. One that is under way has to be among them.
const RememberedMigrations = 1024

// Errors of the steps of a migration.
var (
	// ErrStale: a newer attempt was seen. Whoever asks has been deposed.
	ErrStale = errors.New("a newer attempt of the migration is known")
	// ErrSlotState: the slots are not in a state for this.
	ErrSlotState = errors.New("the slots are in another state")
	// ErrSlotsNotEmpty: the slots have keys, and must have none.
	ErrSlotsNotEmpty = errors.New("the slots have keys")
	// ErrSpoiled: what was imported is not all that the source has: the copy has to begin again.
	ErrSpoiled = errors.New("the import is not complete")
	// ErrUnremoved: nodes of collections that are gone are still to be removed.
	ErrUnremoved = errors.New("deletions are under way")
	// ErrSeed: the source's keys have another order.
	ErrSeed = errors.New("the shards have different hash seeds")
)

// SlotStep is a step of a migration.
type SlotStep int

// The steps.
const (
	// Announce changes nothing; it makes an attempt known.
	Announce SlotStep = iota
	// Freeze: owned slots become frozen.
	Freeze
	// Thaw: frozen slots are owned again.
	Thaw
	// BeginImport: foreign slots without keys become importing. Those that are already begin anew.
	BeginImport
	// Seal: the import has everything. Without it nothing is owned: whoever asks for that need not know how far the import
	// has come.
	Seal
	// Own: importing slots are owned.
	Own
	// Disown: frozen slots become foreign, with their keys; importing ones only if they have none.
	Disown
)

// become says what state a slot of state s, frozen or imported by the same migration or not, gets by a step.
func (step SlotStep) become(s SlotState, same bool) (SlotState, bool) {
	switch {
	case step == Freeze && (s == Owned || s == Frozen && same):
		return Frozen, true
	case step == Thaw && (s == Owned || s == Frozen && same):
		return Owned, true
	case step == BeginImport && (s == Foreign || s == Importing && same):
		return Importing, true
	case step == Seal && s == Importing && same:
		return Importing, true
	case step == Own && (s == Owned || s == Importing && same):
		return Owned, true
	case step == Disown && (s == Foreign || s == Frozen && same || s == Importing && same):
		return Foreign, true
	}
	return s, false
}

// StepSlots does a step of a migration for all of the slots, or for none. A step that was done already is done again.
// Migration 0 stands for the founding of a shard, which no attempt fences: it may own foreign slots, and disown owned
// ones without keys.
//
// Whoever asks may not know what became of his last request, which may arrive late. So an attempt begins one import at
// most, and what it began is not removed in its name; see EmptySlots.
func (tx *Tx) StepSlots(step SlotStep, id, attempt uint64, ranges []SlotRange) error {
	tx.changes()
	m, err := tx.ks.attemptLocked(id, attempt)
	if err != nil || step == Announce {
		return err
	}
	next, imports, err := tx.ks.stepped(step, id, ranges)
	switch {
	case err != nil:
		return err
	case step == BeginImport && imports && m.begun == attempt:
		return nil
	case step == BeginImport:
		m.begun, m.entries, m.offset, m.spoiled, m.sealed, m.unremoved = attempt, 0, tx.ks.mu.collections, false, false, nil
	case (step == Own && imports || step == Seal) && m.spoiled, step == Own && imports && !m.sealed && id != 0:
		return ErrSpoiled
	case step == Seal && len(m.unremoved) > 0:
		return ErrUnremoved
	case step == Seal:
		m.sealed = true
	}
	if step == Freeze || step == Disown {
		tx.leaving(ranges)
	}
	tx.ks.setSlots(next)
	tx.ks.mu.emptying = emptying{}
	return nil
}

// stepped is the state of all slots after a step; imports: some of the slots were importing.
func (ks *Keyspace) stepped(step SlotStep, id uint64, ranges []SlotRange) (next *SlotTable, imports bool, err error) {
	t := ks.Slots()
	next = &SlotTable{}
	if t != nil {
		*next = *t
	}
	for slot := range slotsOf(ranges) {
		s := t.State(slot)
		became, ok := step.become(s, next.migration[slot] == id)
		if id == 0 && (step == Own && s == Foreign || step == Disown && s == Owned) {
			became, ok = Foreign-s, true
		}
		if !ok {
			return nil, false, fmt.Errorf("%w: slot %d is %v", ErrSlotState, slot, s)
		}
		if (step == BeginImport && s == Foreign || step == Disown && s != Frozen && s != Foreign) && !ks.slotEmpty(slot) {
			return nil, false, fmt.Errorf("%w: slot %d", ErrSlotsNotEmpty, slot)
		}
		imports = imports || s == Importing
		next.state[slot], next.migration[slot] = became, 0
		if became == Frozen || became == Importing {
			next.migration[slot] = id
		}
	}
	return next, imports, nil
}

// setSlots makes it the state of all slots.
func (ks *Keyspace) setSlots(t *SlotTable) {
	t.count = [slotStates]int{}
	for _, s := range t.state {
		t.count[s]++
	}
	if t.count[Owned] == front.Slots {
		t = nil
	}
	ks.slots.Store(t)
}

// attemptLocked notes an attempt of a migration, and refuses one that is older than what is known.
func (ks *Keyspace) attemptLocked(id, attempt uint64) (*migration, error) {
	if id == 0 {
		return &migration{}, nil
	}
	list := ks.mu.migrations
	i, known := slices.BinarySearchFunc(list, id, func(m migration, id uint64) int { return compareNumbers(m.id, id) })
	switch {
	case known && attempt < list[i].attempt || !known && id <= ks.mu.forgotten:
		return nil, ErrStale
	case !known:
		ks.mu.migrations = slices.Insert(list, i, migration{id: id})
		i -= ks.forgetMigrations(id)
	}
	m := &ks.mu.migrations[i]
	m.attempt = attempt
	return m, nil
}

func compareNumbers(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// forgetMigrations forgets the oldest migration that is over if there are too many, and returns how many of those before
// keep that was.
func (ks *Keyspace) forgetMigrations(keep uint64) (before int) {
	if len(ks.mu.migrations) <= RememberedMigrations {
		return 0
	}
	under := map[uint64]bool{keep: true}
	if t := ks.Slots(); t != nil {
		for _, id := range t.migration {
			under[id] = true
		}
	}
	i := slices.IndexFunc(ks.mu.migrations, func(m migration) bool { return !under[m.id] })
	if i < 0 {
		return 0
	}
	gone := ks.mu.migrations[i].id
	ks.mu.forgotten = max(ks.mu.forgotten, gone)
	ks.mu.migrations = slices.Delete(ks.mu.migrations, i, i+1)
	if gone < keep {
		return 1
	}
	return 0
}

// spoilImports is told that a whole data base changed: imports under way, whose keys may have been among its own, have to
// begin again. (To leave their keys out would mean to drop a data base slot by slot.)
func (ks *Keyspace) spoilImports() {
	t := ks.Slots()
	if !t.Any(Importing) {
		return
	}
	for slot, s := range t.state {
		if s != Importing {
			continue
		}
		for i := range ks.mu.migrations {
			if m := &ks.mu.migrations[i]; m.id == t.migration[slot] {
				m.spoiled = true
			}
		}
	}
}

// leaving tells who watches keys of slots that the shard is about to own no more that they may change, out of its sight.
func (tx *Tx) leaving(ranges []SlotRange) {
	o := tx.ks.watched.Load()
	if o == nil {
		return
	}
	left := map[uint16]bool{}
	for slot := range slotsOf(ranges) {
		left[slot] = true
	}
	for db := range Databases {
		(*o).Flushing(db, func(_ int, key []byte) (there, due bool) { return left[Slot(key)], false })
	}
}

// slotEmpty says whether no data base has a key, or a node of a large collection, in a slot.
func (ks *Keyspace) slotEmpty(slot uint16) bool {
	for _, sp := range ks.mu.dbs {
		if sp.SlotLen(slot) > 0 || sp.Nodes.SlotLen(slot) > 0 {
			return false
		}
	}
	return true
}

// slotsOf is every slot of some ranges.
func slotsOf(ranges []SlotRange) func(yield func(uint16) bool) {
	return func(yield func(uint16) bool) {
		for _, r := range ranges {
			for slot := int(r.From); slot <= int(r.To) && slot < front.Slots; slot++ {
				if !yield(uint16(slot)) {
					return
				}
			}
		}
	}
}

// CountInSlot is how many keys of db a slot has, those of a slot that shows nowhere not.
func (tx *Tx) CountInSlot(db int, slot uint16) int64 {
	if tx.mode == Detached {
		tx.ks.mu.RLock()
		defer tx.ks.mu.RUnlock()
	}
	if tx.ks.Slots().hidden(slot) {
		return 0
	}
	return int64(tx.ks.mu.dbs[db].SlotLen(slot))
}

// KeysInSlot is up to most keys of a slot of db, in the order of positions.
func (tx *Tx) KeysInSlot(db int, slot uint16, most int) (keys [][]byte) {
	most = min(most, int(tx.CountInSlot(db, slot)))
	list, err := tx.liveFrom(db, slot, 0, most)
	if err != nil {
		tx.fail(err)
		return nil
	}
	for _, s := range list {
		if s.entry.Expire == 0 || tx.now <= s.entry.Expire {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// CountStates is how many of some slots are in each state, those that another migration froze or imports counted last.
func (tx *Tx) CountStates(id uint64, ranges []SlotRange) (n [slotStates + 1]int) {
	t := tx.ks.Slots()
	for slot := range slotsOf(ranges) {
		if s := t.State(slot); (s == Frozen || s == Importing) && t.migration[slot] != id {
			n[slotStates]++
		} else {
			n[s]++
		}
	}
	return n
}

// First is the first slot in a state; false: none is.
func (t *SlotTable) First(s SlotState) (slot uint16, ok bool) {
	if !t.Any(s) {
		return 0, false
	}
	i := slices.Index(t.state[:], s)
	return uint16(i), true
}
