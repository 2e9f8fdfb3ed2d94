package keyspace

import (
	"fmt"

	"github.com/larder-db/larder/engine/front"
)

// emptying is where a slot's first key or node stands that is still to be removed: what comes before, tombstones mostly,
// need not be passed again. It says nothing about the state, only where to look.
type emptying struct {
	space uint32
	slot  uint16
	hash  uint64
}

// EmptySlots removes about most keys and nodes of slots that are foreign or, for this migration, importing. It returns how
// many it removed: 0 when none are left. Which ones those are depends on the state alone.
//
// Large collections of a foreign slot are whole: their nodes are freed and dropped like those of any collection that is
// deleted. Those of an importing slot may lack some, so that each is removed by itself. They are those of an earlier
// attempt: a request that arrives late removes nothing of what is being imported.
func (tx *Tx) EmptySlots(id, attempt uint64, ranges []SlotRange, most int) (n int, err error) {
	tx.changes()
	m, err := tx.ks.attemptLocked(id, attempt)
	if err != nil {
		return 0, err
	}
	t := tx.ks.Slots()
	for slot := range slotsOf(ranges) {
		if s := t.State(slot); s != Foreign && (s != Importing || t.migration[slot] != id || m.begun == attempt) {
			return 0, fmt.Errorf("%w: slot %d is %v", ErrSlotState, slot, s)
		}
	}
	m.sealed = false
	for slot := range slotsOf(ranges) {
		for _, sp := range tx.ks.mu.dbs {
			n += tx.emptySlot(sp, slot, most-n, t.State(slot) == Foreign)
			n += tx.emptySlot(sp.Nodes, slot, most-n, false)
			if n >= most || tx.err != nil {
				return n, nil
			}
		}
	}
	return n, nil
}

// emptySlot removes up to most keys or nodes of a slot; whole: with a key its collection's nodes.
func (tx *Tx) emptySlot(sp *front.Space, slot uint16, most int, whole bool) (n int) {
	if sp.SlotLen(slot) == 0 { // where the last step ended stays known
		return 0
	}
	at := &tx.ks.mu.emptying
	if at.space != sp.Number || at.slot != slot {
		*at = emptying{space: sp.Number, slot: slot}
	}
	for n < most && sp.SlotLen(slot) > 0 && tx.err == nil {
		some := min(most-n, int(sp.SlotLen(slot))) // a stretch goes on in the next slots, which is of no use here
		list, to, err := tx.stretchOf(func() *front.Space { return sp }, slot, at.hash, some, some, false)
		if err != nil {
			tx.fail(err)
			return n
		}
		for _, s := range list {
			if s.position.Slot != slot || n >= most {
				break
			}
			if s.gone || sp.OfNodes() && tx.ks.deadLocked(sp.Number, slot, s.position.Hash) {
				continue
			}
			l := tx.ks.front.Find(sp, slot, s.position.Hash, s.key)
			if tx.known(&l); tx.err == nil && whole && l.Known() {
				tx.ks.abandonLocked(&l)
			}
			tx.removeRaw(l)
			n++
			at.hash = s.position.Hash
		}
		if n >= most || to.Slot != slot {
			return n
		}
		at.hash = to.Hash
	}
	return n
}
