package keyspace

// Observer is told what becomes of keys, by Apply, under the exclusive lock, before the entry ends. It changes nothing
// and waits for nothing. Whatever a command did to a key counts, were it to write the same value again.
type Observer interface {
	// Touched says that a command changed or removed a key.
	Touched(db int, key []byte)
	// Reaped says that a key was removed because its time had come.
	Reaped(db int, key []byte)
	// Flushing says that db is about to lose all its keys.
	Flushing(db int, look Look)
	// Swapping says that a and b are about to change places.
	Swapping(a, b int, look Look)
}

// Look says whether a key is there; due: its time has come, and it is not removed yet.
type Look func(db int, key []byte) (there, due bool)

// Observe has o told of changes from now on; nil: nobody. Each change costs one atomic load where nobody is told.
func (ks *Keyspace) Observe(o Observer) {
	if o == nil {
		ks.watched.Store(nil)
		return
	}
	ks.watched.Store(&o)
}

// Touched tells that a command changed a key. Whatever changes one through the transaction tells it by itself; a handler
// calls it where Redis counts a change although there is none.
func (tx *Tx) Touched(db int, key []byte) {
	tx.changes()
	tx.ks.exportTouched(db, key)
	if o := tx.ks.watched.Load(); o != nil {
		(*o).Touched(db, key)
	}
}

func (tx *Tx) reaped(db int, key []byte) {
	tx.ks.exportTouched(db, key)
	if o := tx.ks.watched.Load(); o != nil {
		(*o).Reaped(db, key)
	}
}

func (tx *Tx) flushing(db int) {
	tx.ks.loseExports()
	tx.ks.spoilImports()
	if o := tx.ks.watched.Load(); o != nil {
		(*o).Flushing(db, tx.look)
	}
}

func (tx *Tx) swapping(a, b int) {
	tx.ks.loseExports()
	tx.ks.spoilImports()
	if o := tx.ks.watched.Load(); o != nil && a != b {
		(*o).Swapping(a, b, tx.look)
	}
}

// look implements Look. It removes nothing: other replicas do not look.
func (tx *Tx) look(db int, key []byte) (there, due bool) {
	var at Tx
	at.Begin(tx.ks, Riding, db, 0, 0) // with the clock at 0 nothing is due
	e, there := at.Peek(db, key)
	if at.err != nil {
		tx.fail(at.err)
	}
	return there, there && e.Expire != 0 && tx.now > e.Expire
}

// KeyState is what there is to know of a key that is to be observed.
type KeyState struct {
	There  bool
	Expire int64 // Unix milliseconds; 0: never
}

// States calls see with the state of all keys at one moment, those whose time has come included, while nothing can
// change. Without wait it returns false where a key is cold; with wait it may wait for the store.
func (ks *Keyspace) States(keys []Key, wait bool, see func(states []KeyState)) (done bool, err error) {
	mode, unlock := Reading, ks.mu.RUnlock
	if wait {
		if err := ks.Warm(keys); err != nil {
			return false, err
		}
		mode, unlock = Riding, ks.mu.Unlock
		ks.mu.Lock()
	} else {
		ks.mu.RLock()
	}
	defer unlock()
	var tx Tx
	tx.Begin(ks, mode, 0, 0, 0) // with the clock at 0 nothing is due
	states := make([]KeyState, len(keys))
	for i, k := range keys {
		e, there := tx.Peek(k.DB, k.Key)
		states[i] = KeyState{There: there, Expire: e.Expire}
	}
	if tx.err != nil || tx.cold {
		return false, tx.err
	}
	see(states)
	return true, nil
}
