package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// What a shard that gives slots away and one that gets them put into their logs; see keyspace/slots.go. Slots are told as
// ranges from-to, both included.
//
//	LARDER.SLOTS step migration attempt range [range ...]                  OK
//	LARDER.SLOTS STATE migration attempt range [range ...]                 how many of the slots are owned, frozen by this
//	                                                                       migration, importing for it, foreign, and otherwise
//	LARDER.SLOTS DROP migration attempt range [range ...]                  how many keys and nodes were removed; 0: none were left
//	LARDER.IMPORT migration attempt entry seed records                     how many collections are still to be removed
var slotCommands = []Command{
	{
		Name: internal + "SLOTS", Arity: -5, Flags: Write, Do: slots,
		Group: "cluster", Since: "7.0.0", Summary: "Changes what the shard has to do with slots.",
	},
	{
		Name: internal + "IMPORT", Arity: 6, Flags: Write | DenyOOM, Do: importSlots,
		Group: "cluster", Since: "7.0.0", Summary: "Stores records of slots that are being imported.",
	},
}

// The steps that LARDER.SLOTS takes.
const (
	SlotsState       = "STATE"
	SlotsFreeze      = "FREEZE"
	SlotsThaw        = "THAW"
	SlotsBeginImport = "IMPORTING"
	SlotsSeal        = "SEAL"
	SlotsOwn         = "OWN"
	SlotsDisown      = "FOREIGN"
	SlotsDrop        = "DROP"
)

var slotSteps = map[string]keyspace.SlotStep{
	SlotsState: keyspace.Announce, SlotsFreeze: keyspace.Freeze, SlotsThaw: keyspace.Thaw,
	SlotsBeginImport: keyspace.BeginImport, SlotsSeal: keyspace.Seal, SlotsOwn: keyspace.Own, SlotsDisown: keyspace.Disown,
}

// SlotsArgs is the arguments of a LARDER.SLOTS.
func SlotsArgs(step string, migration, attempt uint64, ranges []keyspace.SlotRange) [][]byte {
	args := [][]byte{[]byte(internal + "SLOTS"), []byte(step), number(migration), number(attempt)}
	for _, r := range ranges {
		b := append(strconv.AppendUint(nil, uint64(r.From), 10), '-')
		args = append(args, strconv.AppendUint(b, uint64(r.To), 10))
	}
	return args
}

// ImportArgs is the arguments of a LARDER.IMPORT.
func ImportArgs(h keyspace.ImportHead, records []byte) [][]byte {
	return [][]byte{[]byte(internal + "IMPORT"), number(h.Migration), number(h.Attempt), number(h.Entry), number(h.Seed), records}
}

func number(n uint64) []byte { return strconv.AppendUint(nil, n, 10) }

// slotErrors are the errors of steps, and how replies name them.
var slotErrors = []struct {
	err  error
	code string
}{
	{keyspace.ErrStale, "LARDERSTALE"},
	{keyspace.ErrSlotState, "LARDERSTATE"},
	{keyspace.ErrSlotsNotEmpty, "LARDERNOTEMPTY"},
	{keyspace.ErrSpoiled, "LARDERSPOILED"},
	{keyspace.ErrUnremoved, "LARDERUNREMOVED"},
	{keyspace.ErrGap, "LARDERGAP"},
	{keyspace.ErrSeed, "LARDERSEED"},
	{keyspace.ErrImport, "LARDERIMPORT"},
}

// SlotError is the error that the text of an error reply of LARDER.SLOTS or LARDER.IMPORT stands for.
func SlotError(text string) error {
	code, said, _ := strings.Cut(text, " ")
	for _, e := range slotErrors {
		if e.code == code {
			return fmt.Errorf("%w%s", e.err, strings.TrimPrefix(said, e.err.Error()))
		}
	}
	return errors.New(text)
}

func refuseSlots(w reply.Writer, err error) {
	for _, e := range slotErrors {
		if errors.Is(err, e.err) {
			w.Error(e.code + " " + err.Error())
			return
		}
	}
	w.Error("ERR " + err.Error())
}

// emptyStep is how many keys and nodes one DROP removes, about.
const emptyStep = 1024

func slots(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	migration, attempt, ok := migrationArgs(args[2], args[3])
	ranges := make([]keyspace.SlotRange, len(args)-4)
	for i := range ranges {
		r, good := slotRangeArg(args[4+i])
		ranges[i], ok = r, ok && good
	}
	name := strings.ToUpper(string(args[1]))
	step, known := slotSteps[name]
	if !ok || !known && name != SlotsDrop {
		w.Error(reply.Syntax)
		return
	}
	if name == SlotsDrop {
		n, err := tx.EmptySlots(migration, attempt, ranges, emptyStep)
		if err != nil {
			refuseSlots(w, err)
			return
		}
		w.Int(int64(n))
		return
	}
	if err := tx.StepSlots(step, migration, attempt, ranges); err != nil {
		refuseSlots(w, err)
		return
	}
	if name != SlotsState {
		w.Simple(reply.OK)
		return
	}
	counts := tx.CountStates(migration, ranges)
	w.Array(len(counts))
	for _, n := range counts {
		w.Int(int64(n))
	}
}

func importSlots(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	migration, attempt, ok := migrationArgs(args[1], args[2])
	entry, seed, good := migrationArgs(args[3], args[4])
	if !ok || !good {
		w.Error(reply.Syntax)
		return
	}
	left, err := tx.Import(keyspace.ImportHead{Migration: migration, Attempt: attempt, Entry: entry, Seed: seed}, args[5])
	if err != nil {
		refuseSlots(w, err)
		return
	}
	w.Int(int64(left))
}

// migrationArgs reads two numbers.
func migrationArgs(a, b []byte) (x, y uint64, ok bool) {
	x, err := strconv.ParseUint(string(a), 10, 64)
	if err != nil {
		return 0, 0, false
	}
	y, err = strconv.ParseUint(string(b), 10, 64)
	return x, y, err == nil
}

func slotRangeArg(arg []byte) (r keyspace.SlotRange, ok bool) {
	a, b, found := strings.Cut(string(arg), "-")
	from, err := strconv.ParseUint(a, 10, 16)
	to, err2 := strconv.ParseUint(b, 10, 16)
	r = keyspace.SlotRange{From: uint16(from), To: uint16(to)}
	return r, found && err == nil && err2 == nil && from <= to && to < keyspace.SlotCount
}

// Imports says of a command of a migration whether it stores records.
func Imports(args [][]byte) bool {
	return len(args) == 6 && strings.EqualFold(string(args[0]), internal+"IMPORT") && len(args[5]) > 0
}

// BeginsImport says of a command of a migration, and of which one, whether it has a shard begin to import slots.
func BeginsImport(args [][]byte) (migration uint64, begins bool) {
	if len(args) < 5 || !strings.EqualFold(string(args[0]), internal+"SLOTS") || !strings.EqualFold(string(args[1]), SlotsBeginImport) {
		return 0, false
	}
	migration, err := strconv.ParseUint(string(args[2]), 10, 64)
	return migration, err == nil
}

// MigrationRow is the row of a command that may be part of a migration; an error: it may not.
func MigrationRow(args [][]byte) (*Command, error) {
	if len(args) > 0 {
		row := Lookup(args[0])
		if row != nil && (row.Name == internal+"SLOTS" || row.Name == internal+"IMPORT") && row.ArityOK(len(args)) {
			return row, nil
		}
	}
	return nil, errors.New("not a command of a migration")
}
