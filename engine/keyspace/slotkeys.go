package keyspace

// VisitSlot visits the keys of one slot in the order of their positions until visit returns false.
func (tx *Tx) VisitSlot(db int, slot uint16, visit func(key []byte) bool) {
	const step = 512
	for cursor, more := cursorOf(slot, 0), true; more; {
		next := tx.Scan(db, cursor, step, func(key []byte, _ Entry) {
			more = more && Slot(key) == slot && visit(key)
		})
		at, _, ok := positionOf(next)
		if next == 0 || !ok || at != slot {
			return
		}
		cursor = next
	}
}
