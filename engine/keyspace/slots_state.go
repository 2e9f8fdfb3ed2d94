package keyspace

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/larder-db/larder/engine/front"
)

// Layout of the slots' part of the state (uvarints):
//
//	runs of slots of one state: how many slots, state, migration; together all slots
//	number of the last migration that was forgotten
//	number of migrations, then for each: id, attempt, begun, entries, offset, flags (1: spoiled, 2: sealed),
//	number of collections to be removed, then for each: data base, slot, number
//
// States older than version 3 have none: the shard owns all slots.

// appendSlots describes the state of the slots.
func (t *turn) appendSlots(b []byte) []byte {
	for from := 0; from < front.Slots; {
		to := from + 1
		s, id := t.slots.State(uint16(from)), t.slots.migrationOf(uint16(from))
		for to < front.Slots && t.slots.State(uint16(to)) == s && t.slots.migrationOf(uint16(to)) == id {
			to++
		}
		b = appendNumbers(b, uint64(to-from), uint64(s), id)
		from = to
	}
	b = appendNumbers(b, t.forgotten, uint64(len(t.migrations)))
	for _, m := range t.migrations {
		flags := uint64(0)
		if m.spoiled {
			flags |= 1
		}
		if m.sealed {
			flags |= 2
		}
		b = appendNumbers(b, m.id, m.attempt, m.begun, m.entries, m.offset, flags, uint64(len(m.unremoved)))
		for _, g := range m.unremoved {
			b = appendNumbers(b, uint64(g.db), uint64(g.slot), g.number)
		}
	}
	return b
}

func appendNumbers(b []byte, list ...uint64) []byte {
	for _, n := range list {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (t *SlotTable) migrationOf(slot uint16) uint64 {
	if t == nil {
		return 0
	}
	return t.migration[slot]
}

// cloneMigrations copies what is remembered of migrations.
func cloneMigrations(list []migration) []migration {
	out := slices.Clone(list)
	for i := range out {
		out[i].unremoved = slices.Clone(out[i].unremoved)
	}
	return out
}

// decodeSlots reads what appendSlots wrote.
func (ks *Keyspace) decodeSlots(r *stateReader) error {
	t := &SlotTable{}
	for from := 0; from < front.Slots; {
		n, s, id := r.uvarint(), r.uvarint(), r.uvarint()
		if !r.ok || n == 0 || n > uint64(front.Slots-from) || s >= slotStates {
			return fmt.Errorf("%w: bad states of slots", ErrState)
		}
		for range n {
			t.state[from], t.migration[from] = SlotState(s), id
			from++
		}
	}
	ks.setSlots(t)
	ks.mu.forgotten = r.uvarint()
	ks.mu.migrations = nil
	for n := r.uvarint(); n > 0; n-- {
		m := migration{id: r.uvarint(), attempt: r.uvarint(), begun: r.uvarint(), entries: r.uvarint(), offset: r.uvarint()}
		flags := r.uvarint()
		m.spoiled, m.sealed = flags&1 != 0, flags&2 != 0
		for n := r.uvarint(); n > 0 && r.ok; n-- {
			g := goneCollection{db: int(r.uvarint()), slot: uint16(r.uvarint()), number: r.uvarint()}
			if g.db < 0 || g.db >= Databases || g.slot >= front.Slots {
				r.ok = false
			}
			m.unremoved = append(m.unremoved, g)
		}
		if !r.ok {
			break
		}
		ks.mu.migrations = append(ks.mu.migrations, m)
	}
	if !r.ok {
		return fmt.Errorf("%w: bad migrations", ErrState)
	}
	return nil
}
