package keyspace

import (
	"bytes"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// Entry is what a transaction sees of one key. Value aliases memory of the front: it is valid until the next
// mutating call on the transaction, and until the transaction ends.
type Entry struct {
	Kind   value.Kind
	Enc    value.Encoding
	Value  []byte
	Expire int64 // Unix time in milliseconds; 0: none
}

// Mode says where a transaction runs.
type Mode uint8

const (
	// Reading: under the shared lock, on an event loop. It never changes anything and never waits for the store.
	Reading Mode = iota
	// Writing: inside Apply. A key that is due is deleted when it is met; what only the store has is loaded.
	Writing
	// Riding: a read at its place inside Apply. As Writing, but it changes nothing that can be observed.
	Riding
	// Detached: on a worker, over copies of its keys or a view of all of them.
	Detached
	// Trying: under the shared lock, up to the first change, to see what is cold (WarmFor).
	Trying
)

// Tx is one command's view of the key space, for reading or for writing.
//
// A writing transaction runs inside Apply, alone. Now is the entry's clock, and a key that is due at Now is absent:
// Get deletes it. A reading transaction runs under the shared lock; it never changes anything: where it would need
// what only the store has, or meets a key that is due, it answers "absent" and notes the fact (see Cold and Due);
// the caller then discards the reply and runs the command again behind a fill or a proposed deletion.
type Tx struct {
	ks      *Keyspace
	mode    Mode
	db      int
	now     int64
	rnd     uint64
	own     uint64 // what reads that ride along draw from
	term    uint64
	chance  uint64 // what decides whether a use is counted
	counted uint64 // hash of the key whose use this command has counted last
	noTouch bool   // reads do not count as uses

	cold bool
	due  bool
	err  error

	copies []copied // Detached: the declared keys, and others that were met
	copyAt map[string]int
	view   *view  // Detached: all keys, for walks
	opened opened // collections, for reuse
	nodes  *nodeCache
	last   lastFound

	missing []missed // Trying

	nodesRead int // by the command under way
}

// Begin makes tx ready for one command. The caller holds the lock that the mode needs.
func (tx *Tx) Begin(ks *Keyspace, mode Mode, db int, now int64, seed uint64) {
	*tx = Tx{ks: ks, mode: mode, db: db, now: now, rnd: seed, own: ^seed, chance: seed, opened: tx.opened, nodes: tx.nodes, last: tx.last}
	tx.opened.reset()
}

// Again is Begin for the next command of the same entry or run: all but the data base goes on.
func (tx *Tx) Again(mode Mode, db int) {
	tx.mode, tx.db, tx.cold, tx.due, tx.counted = mode, db, false, false, 0
	tx.opened.reset()
	tx.nodesRead = 0
}

// Cold says that the command met a key that only the store may have: its reply is not to be used.
func (tx *Tx) Cold() bool { return tx.cold }

// Due says that the command met a key whose time has come and which is not deleted yet: its reply is not to be used.
func (tx *Tx) Due() bool { return tx.due }

// Err is what went wrong below: the store could not be read, or memory could not be had. The state cannot be trusted
// after a write that ended so.
func (tx *Tx) Err() error { return tx.err }

// SetNoTouch says whether reads do not count as uses of their keys (CLIENT NO-TOUCH), until the next Begin.
func (tx *Tx) SetNoTouch(on bool) { tx.noTouch = on }

// SetTerm notes the term of the entry that is applied, until the next Begin.
func (tx *Tx) SetTerm(term uint64) { tx.term = term }

// Term is the term of the entry that is applied, 0 outside of Apply.
func (tx *Tx) Term() uint64 { return tx.term }

// Mode is where the transaction runs.
func (tx *Tx) Mode() Mode { return tx.mode }

// Now is the transaction's time, Unix milliseconds.
func (tx *Tx) Now() int64 { return tx.now }

// DB is the number of the data base that the client has selected.
func (tx *Tx) DB() int { return tx.db }

// Databases is how many data bases there are: numbers 0 to Databases()-1 are valid for SELECT, MOVE, COPY, SWAPDB.
func (tx *Tx) Databases() int { return Databases }

// Rand is the next number of a generator (splitmix64) seeded by the entry (for a read: by the caller). Reads that ride
// along have one of their own: other replicas do not run them, and must draw the same for the writes behind.
func (tx *Tx) Rand() uint64 {
	state := &tx.rnd
	if tx.mode == Riding {
		state = &tx.own
	}
	*state += 0x9e3779b97f4a7c15
	return mix(*state)
}

func (tx *Tx) fail(err error) {
	if tx.err == nil {
		tx.err = err
	}
}

// find looks a key up; live says that it is there and not due.
func (tx *Tx) find(db int, key []byte) (l front.Loc, it front.Item, live bool) {
	ks := tx.ks
	f := ks.front
	sp := ks.mu.dbs[db]
	if tx.last.is(f, sp, key) {
		l = tx.last.loc
		l.Key = key
	} else if l = f.Find(sp, Slot(key), ks.hash(key), key); ks.Slots().hidden(l.Slot) {
		return l, it, false // a key that was not declared
	} else if l.Known() {
		tx.last = lastFound{loc: l, moves: f.Moves()}
	}
	if !l.Known() {
		if l.Final() {
			return l, it, false
		}
		if !tx.mayWait() {
			tx.miss(l.Space, key)
			return l, it, false
		}
		if err := ks.loadLocked(&l); err != nil {
			tx.fail(err)
			return l, it, false
		}
		if !l.Known() {
			return l, it, false
		}
	}
	it = f.Item(&l)
	if it.Tombstone {
		return l, it, false
	}
	if it.Expire != 0 && tx.now > it.Expire {
		switch tx.mode {
		case Reading:
			tx.due = true
		case Writing:
			tx.remove(&l)
			tx.reaped(db, key)
		}
		return l, it, false
	}
	return l, it, true
}

// lastFound is the key that was found last: most commands look the same one up several times, and often the next does.
type lastFound struct {
	loc   front.Loc
	moves uint64 // front.Moves when it was found
}

// is says whether it is the place of key.
func (x *lastFound) is(f *front.Front, sp *front.Space, key []byte) bool {
	return x.moves == f.Moves() && x.loc.Space == sp && x.loc.Known() && bytes.Equal(f.Key(&x.loc), key)
}

// again is the place of a key that was found last, is live and has no time to live; nil if it is not so.
func (tx *Tx) again(db int, key []byte) (l *front.Loc, kind value.Kind, enc value.Encoding, v []byte) {
	f := tx.ks.front
	if !tx.last.is(f, tx.ks.mu.dbs[db], key) {
		return nil, 0, 0, nil
	}
	l = &tx.last.loc
	l.Key = key
	kind, enc, v, ok := f.Plain(l)
	if !ok {
		return nil, 0, 0, nil
	}
	return l, kind, enc, v
}

func entryOf(it front.Item) Entry {
	return Entry{Kind: it.Kind, Enc: it.Enc, Value: it.Value, Expire: it.Expire}
}

// Get looks key up in data base db, and counts as a use of it for recency.
func (tx *Tx) Get(db int, key []byte) (Entry, bool) {
	if tx.mode == Detached {
		return tx.copyOf(db, key)
	}
	l, it, live := tx.find(db, key)
	if !live {
		return Entry{}, false
	}
	if !tx.noTouch {
		tx.touch(&l)
	}
	return entryOf(it), true
}

// Peek is Get without counting as a use (OBJECT, TTL, TYPE … where Redis does not touch).
func (tx *Tx) Peek(db int, key []byte) (Entry, bool) {
	if tx.mode == Detached {
		return tx.copyOf(db, key)
	}
	_, it, live := tx.find(db, key)
	if !live {
		return Entry{}, false
	}
	return entryOf(it), true
}

func (tx *Tx) remove(l *front.Loc) {
	tx.changes()
	tx.ks.abandonLocked(l)
	if err := tx.ks.front.Remove(l, tx.fresh()); err != nil {
		tx.fail(err)
	}
}

// Put stores a whole value under key, replacing what was there, with its time to live (0: none).
// val may alias what Get returned.
func (tx *Tx) Put(db int, key []byte, e Entry) {
	tx.changes()
	l, _, live := tx.find(db, key)
	tx.Touched(db, key)
	if live {
		tx.ks.abandonLocked(&l)
	}
	if e.Kind == value.String && e.Enc != value.Large && len(e.Value) > collection.LargeString {
		tx.putLong(&l, db, key, e)
		return
	}
	v := e.Value
	if v == nil {
		v = emptyValue
	}
	it := front.Item{Kind: e.Kind, Enc: e.Enc, Expire: e.Expire, Value: v}
	if err := tx.ks.front.Put(&l, it, tx.written(&l, live)); err != nil {
		tx.fail(err)
	}
}

var emptyValue = []byte{}

// Grow gives write access to the string under key, resized to n bytes: kept bytes stay, new ones are zero, kind and
// time to live stay, the encoding becomes enc. The key must exist and hold a string. The slice is valid until the
// next call on the transaction. Cost is in proportion to the change where the memory allows it.
func (tx *Tx) Grow(db int, key []byte, n int, enc value.Encoding) []byte {
	tx.changes()
	l, _, live := tx.find(db, key)
	if !live {
		return make([]byte, n) // not reached by a handler that has looked
	}
	b, err := tx.ks.front.Grow(&l, n, enc, tx.written(&l, true))
	if err != nil {
		tx.fail(err)
		return make([]byte, n)
	}
	tx.Touched(db, key)
	return b
}

// SetExpire sets the time to live of an existing key (0: none) and says whether the key existed.
func (tx *Tx) SetExpire(db int, key []byte, at int64) bool {
	tx.changes()
	l, it, live := tx.find(db, key)
	if !live {
		return false
	}
	tx.Touched(db, key)
	if it.Expire == at {
		return true
	}
	it.Expire = at
	if err := tx.ks.front.Put(&l, it, tx.ks.front.Recency(&l)); err != nil {
		tx.fail(err)
	}
	return true
}

// Delete removes key and says whether it was there.
func (tx *Tx) Delete(db int, key []byte) bool {
	l, _, live := tx.find(db, key)
	if live {
		tx.remove(&l)
		tx.Touched(db, key)
	}
	return live
}

// Len is the number of keys in db, those that are due but not yet deleted included, as Redis's DBSIZE counts.
func (tx *Tx) Len(db int) int64 {
	if tx.mode == Detached {
		tx.ks.mu.RLock()
		defer tx.ks.mu.RUnlock()
	}
	return tx.ks.visibleLen(tx.ks.mu.dbs[db])
}

// visibleLen is the number of a name space's keys without those of slots that show nowhere.
func (ks *Keyspace) visibleLen(sp *front.Space) int64 {
	t := ks.Slots()
	if t == nil {
		return sp.Len()
	}
	return sp.LenOf(t.visible)
}

// Flush removes every key of db and returns how many there were. The memory is freed in the background.
func (tx *Tx) Flush(db int) int64 {
	tx.changes()
	ks := tx.ks
	sp := ks.mu.dbs[db]
	n := sp.Len()
	if n == 0 {
		return 0 // its number stays, and nothing has to be dropped: FLUSHALL meets fifteen of these
	}
	tx.flushing(db)
	ks.front.DropSpace(sp)
	ks.mu.dropped = append(ks.mu.dropped, sp.Number)
	ks.mu.dbs[db] = ks.newSpace()
	return n
}

// Swap exchanges the data bases a and b.
func (tx *Tx) Swap(a, b int) {
	tx.changes()
	tx.swapping(a, b)
	dbs := &tx.ks.mu.dbs
	dbs[a], dbs[b] = dbs[b], dbs[a]
}

// MemoryUsage is the number of bytes that key and value take up in the front, overhead included, were the key resident.
func (tx *Tx) MemoryUsage(db int, key []byte) (int64, bool) {
	e, ok := tx.Peek(db, key)
	if !ok {
		return 0, false
	}
	n := front.EntryBytes(len(key), len(e.Value), e.Expire)
	if e.Enc == value.Large {
		_, _, size := collection.Nodes(e.Value)
		n += size
	}
	return n, true
}

// Key names a key and its data base.
type Key struct {
	DB  int
	Key []byte
}

// copied is a key of a detached transaction with its contents, none if it is absent, and, for a large collection, its nodes
// as of the same moment.
type copied struct {
	Key
	entry Entry
	ok    bool
	nodes *nodeView
}

func (tx *Tx) copyOf(db int, key []byte) (Entry, bool) {
	c := tx.copiedKey(db, key)
	return c.entry, c.ok
}

// copiedKey is the copy of a key, made now if it was not declared.
func (tx *Tx) copiedKey(db int, key []byte) *copied {
	if i, ok := tx.copyIndex(db, key); ok {
		return &tx.copies[i]
	}
	if err := tx.ks.copyUndeclared(tx, Key{db, bytes.Clone(key)}); err != nil {
		tx.fail(err)
		return &copied{}
	}
	return &tx.copies[len(tx.copies)-1]
}

// fewCopies is how many copies are searched one by one; with more, an index is kept.
const fewCopies = 8

// copyIndex finds a key among the copies.
func (tx *Tx) copyIndex(db int, key []byte) (int, bool) {
	for i := range tx.copies[:min(len(tx.copies), fewCopies)] {
		if c := &tx.copies[i]; c.DB == db && bytes.Equal(c.Key.Key, key) {
			return i, true
		}
	}
	if len(tx.copies) <= fewCopies {
		return 0, false
	}
	if tx.copyAt == nil {
		tx.copyAt = map[string]int{}
	}
	for i := fewCopies + len(tx.copyAt); i < len(tx.copies); i++ {
		tx.copyAt[copyName(tx.copies[i].DB, tx.copies[i].Key.Key)] = i
	}
	i, ok := tx.copyAt[copyName(db, key)]
	return i, ok
}

func copyName(db int, key []byte) string { return string(append([]byte{byte(db)}, key...)) }

// position is where a key's record stands in the store.
func (ks *Keyspace) position(sp *front.Space, key []byte) store.Position {
	return store.Position{Namespace: sp.Number, Slot: Slot(key), Hash: ks.hash(key)}
}
