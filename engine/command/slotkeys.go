package command

import (
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
)

// What the front end asks of one node's own data. They are no rows of the table: clients reach them as subcommands of
// CLUSTER, whose arguments have been checked.
var (
	// CountKeysInSlot is CLUSTER COUNTKEYSINSLOT slot.
	CountKeysInSlot = &Command{Name: "COUNTKEYSINSLOT", Arity: 3, Flags: ReadOnly, Do: countKeysInSlot}
	// GetKeysInSlot is CLUSTER GETKEYSINSLOT slot count.
	GetKeysInSlot = &Command{Name: "GETKEYSINSLOT", Arity: 4, Flags: ReadOnly, Do: getKeysInSlot}
)

func countKeysInSlot(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	slot, _ := value.ParseInt(args[2]) // checked by the caller
	count := int64(0)
	tx.VisitSlot(tx.DB(), uint16(slot), func([]byte) bool {
		count++
		return true
	})
	w.Int(count)
}

func getKeysInSlot(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	slot, _ := value.ParseInt(args[2])
	most, _ := value.ParseInt(args[3])
	var found keyList
	tx.VisitSlot(tx.DB(), uint16(slot), func(key []byte) bool {
		if most <= 0 {
			return false
		}
		most--
		found.add(key)
		return true
	})
	found.reply(w)
}
