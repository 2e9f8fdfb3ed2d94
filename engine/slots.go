package engine

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
)

// Refusal says that a command was not run since the shard does not own the slot of one of its keys; or that a whole data
// base was to be changed while a slot was frozen, which then is that slot. A transaction is refused as a whole.
type Refusal struct {
	Slot  uint16
	State keyspace.SlotState
}

// RefusalCode leads the text of the error reply that stands for a refusal.
const RefusalCode = "LARDERSLOT"

// String is the text of the error reply of a command that was refused in an entry.
func (r Refusal) String() string {
	return fmt.Sprintf("%s %d %v", RefusalCode, r.Slot, r.State)
}

// ParseRefusal reads the text of an error reply; false: it is none of a refusal.
func ParseRefusal(text string) (r Refusal, ok bool) {
	rest, ok := strings.CutPrefix(text, RefusalCode+" ")
	if !ok {
		return r, false
	}
	number, state, _ := strings.Cut(rest, " ")
	slot, err := strconv.ParseUint(number, 10, 16)
	if err != nil || slot >= keyspace.SlotCount {
		return r, false
	}
	for s := keyspace.Owned; s <= keyspace.Foreign; s++ {
		if s.String() == state {
			return Refusal{uint16(slot), s}, true
		}
	}
	return r, false
}

// SlotState is what the shard has to do with a slot as of the last entry.
func (e *Engine) SlotState(slot uint16) keyspace.SlotState { return e.keys.Slots().State(slot) }

// selects says of a row of the server's own whether it passes over keys that are not owned, by itself.
func selects(row *command.Command) bool { return row.Internal() && row != command.Exec() }

// refused says whether a command may not run, and why. While the shard owns all slots it is no more than a look.
func (d *declared) refused(t *keyspace.SlotTable, row *command.Command, args [][]byte) (r Refusal, refused bool) {
	if t == nil {
		return r, false
	}
	return d.refusedBy(t, row, args)
}

func (d *declared) refusedBy(t *keyspace.SlotTable, row *command.Command, args [][]byte) (r Refusal, refused bool) {
	if row == command.Exec() {
		_ = command.EachNested(args, func(c command.Nested) error { // Apply has reported the error
			if !refused && c.Row != nil && c.Row != row {
				r, refused = d.refusedBy(t, c.Row, c.Args)
			}
			return nil
		})
		return r, refused
	}
	if row.Flags&command.TouchesAll != 0 {
		slot, frozen := t.First(keyspace.Frozen)
		return Refusal{slot, keyspace.Frozen}, frozen
	}
	if selects(row) || !row.ArityOK(len(args)) {
		return r, false
	}
	at, err := row.KeyPositions(args, d.at[:0])
	d.at = at
	if err != nil {
		return r, false // the handler says what is wrong
	}
	for _, i := range at {
		if slot := keyspace.Slot(args[i]); t.State(slot) != keyspace.Owned {
			return Refusal{slot, t.State(slot)}, true
		}
	}
	return r, false
}

// SlotExport begins to copy slots, which it tells to LARDER.IMPORT of another shard.
func (e *Engine) SlotExport(ranges []keyspace.SlotRange) *keyspace.SlotExport {
	return e.keys.ExportSlots(ranges)
}

// CountKeysInSlot is how many keys of a data base a slot has; none that shows nowhere.
func (e *Engine) CountKeysInSlot(db int, slot uint16) int64 {
	e.keys.RLock()
	defer e.keys.RUnlock()
	var tx keyspace.Tx
	tx.Begin(e.keys, keyspace.Reading, db, 0, 0)
	return tx.CountInSlot(db, slot)
}

// KeysInSlot names up to most keys of a slot, those whose time has come at now not. It may wait for the disk.
func (e *Engine) KeysInSlot(db int, slot uint16, most int, now int64) (keys [][]byte, err error) {
	_, err = e.keys.Detach(nil, false, db, now, 0, func(tx *keyspace.Tx) { keys = tx.KeysInSlot(db, slot, most) })
	return keys, err
}
