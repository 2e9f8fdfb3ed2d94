package keyspace

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
)

// object is what a key holds in the model: a list, or members with a value each.
type object struct {
	kind   value.Kind
	list   []string
	fields map[string]string
}

func (o *object) clone() *object {
	return &object{o.kind, slices.Clone(o.list), maps.Clone(o.fields)}
}

func (o *object) empty() bool { return len(o.list) == 0 && len(o.fields) == 0 }

func (o *object) String() string {
	if o == nil {
		return "none"
	}
	parts := slices.Clone(o.list)
	for _, f := range slices.Sorted(maps.Keys(o.fields)) {
		parts = append(parts, f+"="+o.fields[f])
	}
	return o.kind.String() + " " + strings.Join(parts, ",")
}

// show writes what a transaction sees of a key as object.String does.
func show(tx *Tx, db int, key []byte) string {
	o := &object{kind: tx.Kind(db, key), fields: map[string]string{}}
	switch o.kind {
	case value.None:
		return "none"
	case value.String:
		e, _ := tx.Peek(db, key)
		o.list = []string{string(e.Value)}
	case value.List:
		for _, v := range tx.List(db, key).From(0) {
			o.list = append(o.list, string(v))
		}
	case value.Hash:
		for f, v := range tx.Hash(db, key).All() {
			o.fields[string(f)] = string(v)
		}
	case value.Set:
		for m := range tx.Set(db, key).All() {
			o.fields[string(m)] = ""
		}
	case value.ZSet:
		for m, s := range tx.ZSet(db, key).From(0) {
			o.fields[string(m)] = fmt.Sprint(s)
		}
	}
	return o.String()
}

// world is a key space beside its model.
type world struct {
	*house
	r      *rand.Rand
	model  [2]map[string]*object
	stored [2]map[string]*object // the model as of the last checkpoint
}

var worldKeys = []string{"{a}1", "{a}2", "{a}3", "b", "c", "d"}

func (w *world) key() string { return worldKeys[w.r.IntN(len(worldKeys))] }

func cloneModel(m [2]map[string]*object) (out [2]map[string]*object) {
	for db := range m {
		out[db] = map[string]*object{}
		for k, o := range m[db] {
			out[db][k] = o.clone()
		}
	}
	return out
}

// change makes one change on both sides.
func (w *world) change() {
	r, db := w.r, w.r.IntN(2)
	key := w.key()
	switch op := r.IntN(100); {
	case op < 3:
		w.write(func(tx *Tx) { tx.Delete(db, []byte(key)) })
		delete(w.model[db], key)
	case op < 4:
		w.write(func(tx *Tx) { tx.Put(db, []byte(key), Entry{Kind: value.String, Value: []byte("s")}) })
		w.model[db][key] = &object{kind: value.String, list: []string{"s"}}
	case op < 7:
		w.relocate(db, key, op == 4)
	case op == 7 && r.IntN(20) == 0:
		w.write(func(tx *Tx) { tx.Flush(db) })
		w.model[db] = map[string]*object{}
	case op == 8 && r.IntN(10) == 0:
		w.write(func(tx *Tx) { tx.Swap(0, 1) })
		w.model[0], w.model[1] = w.model[1], w.model[0]
	default:
		w.edit(db, key)
	}
}

func (w *world) relocate(db int, key string, duplicate bool) {
	to, toDB := w.key(), w.r.IntN(2)
	if w.model[db][key] == nil || to == key && toDB == db {
		return
	}
	w.write(func(tx *Tx) {
		if duplicate {
			tx.Copy(db, []byte(key), toDB, []byte(to), 0)
		} else {
			tx.Move(db, []byte(key), toDB, []byte(to))
		}
	})
	w.model[toDB][to] = w.model[db][key].clone()
	if !duplicate {
		delete(w.model[db], key)
	}
}

// edit adds to a collection or takes from it, some elements at a time.
func (w *world) edit(db int, key string) {
	r := w.r
	o := w.model[db][key]
	if o == nil {
		o = &object{kind: []value.Kind{value.List, value.Set, value.Hash, value.ZSet}[r.IntN(4)], fields: map[string]string{}}
		w.model[db][key] = o
	}
	n, grow := 1+r.IntN(150), r.IntN(5) > 0
	w.write(func(tx *Tx) {
		for range n {
			m, v := fmt.Sprint("m", r.IntN(3000)), fmt.Sprint(r.IntN(100))
			switch o.kind {
			case value.List:
				editList(tx, db, key, o, r.IntN(len(o.list)+1), m, grow)
			case value.Set, value.Hash, value.ZSet:
				editMembers(tx, db, key, o, m, v, grow)
			}
		}
	})
	if o.empty() {
		delete(w.model[db], key)
	}
}

func editList(tx *Tx, db int, key string, o *object, at int, v string, grow bool) {
	l := tx.List(db, []byte(key))
	if grow {
		l.Insert(at, []byte(v))
		o.list = slices.Insert(o.list, at, v)
	} else if at < len(o.list) {
		l.RemoveRange(at, at+1)
		o.list = slices.Delete(o.list, at, at+1)
	}
}

func editMembers(tx *Tx, db int, key string, o *object, m, v string, grow bool) {
	k, b := []byte(key), []byte(m)
	switch {
	case o.kind == value.Set && grow:
		tx.Set(db, k).Add(b)
		v = ""
	case o.kind == value.Set:
		tx.Set(db, k).Remove(b)
	case o.kind == value.Hash && grow:
		tx.Hash(db, k).Set(b, []byte(v))
	case o.kind == value.Hash:
		tx.Hash(db, k).Delete(b)
	case grow:
		var score float64
		fmt.Sscan(v, &score)
		tx.ZSet(db, k).Set(b, score)
	default:
		tx.ZSet(db, k).Remove(b)
	}
	if grow {
		o.fields[m] = v
	} else {
		delete(o.fields, m)
	}
}

// compare looks at a key in a way that r picks.
func (w *world) compare(db int, key string) {
	w.t.Helper()
	want := w.model[db][key].String()
	var got string
	var tx Tx
	how := w.r.IntN(3)
	switch how {
	case 0:
		w.RLock()
		tx.Begin(w.Keyspace, Reading, 0, w.now, 1)
		got = show(&tx, db, []byte(key))
		w.RUnlock()
	case 1:
		w.Lock()
		tx.Begin(w.Keyspace, Riding, 0, w.now, 1)
		got = show(&tx, db, []byte(key))
		w.Unlock()
	}
	if how == 2 || tx.Cold() {
		_, err := w.Detach([]Key{{db, []byte(key)}}, false, 0, w.now, 1, func(tx *Tx) { got = show(tx, db, []byte(key)) })
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if tx.Err() != nil {
		w.t.Fatal(tx.Err())
	}
	if got != want {
		w.t.Fatalf("data base %d, key %s, read in way %d: got %.300s\nwant %.300s", db, key, how, got, want)
	}
}

// upkeep is one of the things that go on behind the commands' back.
func (w *world) upkeep() {
	switch w.r.IntN(8) {
	case 0:
		w.checkpoint()
		w.stored = cloneModel(w.model)
	case 1: // changes while a checkpoint is under way
		c, err := w.BeginCheckpoint()
		if err != nil {
			w.t.Fatal(err)
		}
		w.stored = cloneModel(w.model)
		c.Pace = func() { w.change() }
		w.index++
		if err := c.Commit(w.index, 1, nil, 0); err != nil {
			w.t.Fatal(err)
		}
	case 2: // a checkpoint that is given up
		c, err := w.BeginCheckpoint()
		if err != nil {
			w.t.Fatal(err)
		}
		for range 5 {
			w.change()
		}
		c.Cancel()
	case 3: // what no checkpoint has is lost, as if the process had ended
		w.reopen()
		w.model = cloneModel(w.stored)
	case 4:
		w.SetBudget(1 + int64(w.r.IntN(200<<10)))
		for range 20 {
			w.Upkeep()
		}
		w.SetBudget(0)
	default:
		for range w.r.IntN(10) {
			w.Upkeep()
		}
	}
}

func TestCollectionsAreTheirModel(t *testing.T) {
	const steps = 700 / raceFactor
	for seed := range uint64(4) {
		w := &world{house: open(t, vfs.NewMem()), r: rand.New(rand.NewPCG(seed, 77))}
		w.model = cloneModel(w.model)
		w.stored = cloneModel(w.model)
		for range steps {
			w.change()
			if w.r.IntN(4) == 0 {
				w.upkeep()
			}
			w.compare(w.r.IntN(2), w.key())
		}
		for db := range w.model {
			for _, key := range worldKeys {
				w.compare(db, key)
			}
		}
		w.wantNodesFreed()
		w.close()
	}
}

// wantNodesFreed deletes everything and says whether front and store have forgotten every node.
func (w *world) wantNodesFreed() {
	w.t.Helper()
	w.write(func(tx *Tx) {
		for db := range 2 {
			for _, key := range worldKeys {
				tx.Delete(db, []byte(key))
			}
		}
	})
	w.checkpoint()
	for w.Upkeep() {
	}
	w.checkpoint()
	if len(w.mu.dead)+len(w.mu.toDrop)+len(w.mu.toFree) != 0 {
		w.t.Fatalf("%d collections are remembered as gone", len(w.mu.dead))
	}
	for _, sp := range w.front.Spaces() {
		if sp.Len() != 0 {
			w.t.Fatalf("name space %x has %d entries", sp.Number, sp.Len())
		}
		if !sp.OfNodes() {
			continue // a key that was looked for in vain may have a clean tombstone
		}
		for slot := uint16(0); slot < front.Slots; {
			slot = w.front.Range(sp, slot, 0, 1, func(r front.Record) {
				w.t.Fatalf("node %x of slot %d is left in the front", r.Hash, r.Slot)
			}).Slot
		}
		wantNoRecords(w.t, w.store, sp)
	}
}

func wantNoRecords(t testing.TB, s *store.Store, sp *front.Space) {
	t.Helper()
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	it, err := v.Iter(store.InNamespace(sp.Number))
	if err != nil {
		t.Fatal(err)
	}
	for it.Next() {
		t.Fatalf("name space %x still has the record %x", sp.Number, it.Key())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNodesAreSeenAsOfOneMoment: a detached read goes on seeing a collection as it was, whatever becomes of it.
func TestNodesAreSeenAsOfOneMoment(t *testing.T) {
	for _, cold := range []bool{false, true} {
		h := open(t, vfs.NewMem())
		const n = 20000
		add := func(from, to int) {
			h.write(func(tx *Tx) {
				l := tx.List(0, []byte("k"))
				for i := from; i < to; i++ {
					l.Insert(i, fmt.Append(nil, i))
				}
			})
		}
		add(0, n)
		if cold {
			h.checkpoint()
			h.chill()
		}
		_, err := h.Detach([]Key{{0, []byte("k")}}, false, 0, h.now, 1, func(tx *Tx) {
			next := 0
			for i, v := range tx.List(0, []byte("k")).From(0) {
				if i != next || string(v) != fmt.Sprint(i) {
					t.Fatalf("place %d is %q", i, v)
				}
				switch i {
				case 10:
					h.write(func(tx *Tx) { tx.List(0, []byte("k")).RemoveRange(5, n/2) })
				case 20:
					h.del("k")
				case 30:
					h.checkpoint()
				case 40:
					for h.Upkeep() {
					}
					add(0, 100)
				case 50:
					h.write(func(tx *Tx) { tx.Flush(0) })
				}
				next++
			}
			if next != n {
				t.Fatalf("the list ended at %d", next)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		h.close()
	}
}

// TestOneFieldOfManyIsLittleWork: a change of one field of a large hash makes its path dirty and no more.
func TestOneFieldOfManyIsLittleWork(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	h.write(func(tx *Tx) {
		x := tx.Hash(0, []byte("h"))
		for i := range 50000 {
			x.Set(fmt.Append(nil, "field", i), []byte("value"))
		}
	})
	h.checkpoint()
	h.write(func(tx *Tx) { tx.Hash(0, []byte("h")).Set([]byte("field77"), []byte("other")) })
	if s := h.Stats(); s.DirtyKeys != 1 {
		t.Fatalf("a replaced value makes %d entries dirty, want its leaf alone", s.DirtyKeys)
	}
	h.write(func(tx *Tx) { tx.Hash(0, []byte("h")).Set([]byte("new"), []byte("other")) })
	if s := h.Stats(); s.DirtyKeys > 6 {
		t.Fatalf("a new field makes %d entries dirty", s.DirtyKeys)
	}
	h.checkpoint()
	h.chill()
	h.write(func(tx *Tx) { tx.Hash(0, []byte("h")).Set([]byte("field78"), []byte("other")) })
	if s := h.Stats(); s.Entries > SlotFill {
		t.Fatalf("a change of a cold hash loads %d entries", s.Entries)
	}
}

// TestLongReadsLeaveTheLoop: a read that goes through much of a large collection gives up under the shared lock, and is
// answered without it; one of a few elements is answered at once.
func TestLongReadsLeaveTheLoop(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	const n = 500_000
	h.write(func(tx *Tx) {
		l := tx.List(0, []byte("k"))
		for i := range n {
			l.Insert(i, fmt.Append(nil, i))
		}
	})
	count := func(tx *Tx) (read int) {
		for range tx.List(0, []byte("k")).From(0) {
			read++
		}
		return read
	}
	var tx Tx
	h.RLock()
	tx.Begin(h.Keyspace, Reading, 0, h.now, 1)
	read := count(&tx)
	cold := tx.Cold()
	tx.Again(Reading, 0)
	at := string(tx.List(0, []byte("k")).At(n / 2))
	h.RUnlock()
	if !cold || read >= n/2 {
		t.Fatalf("%d elements were read on the loop (given up: %t)", read, cold)
	}
	if tx.Cold() || at != fmt.Sprint(n/2) {
		t.Fatalf("one element: %q (given up: %t)", at, tx.Cold())
	}
	if _, err := h.Detach([]Key{{0, []byte("k")}}, false, 0, h.now, 1, func(tx *Tx) { read = count(tx) }); err != nil || read != n {
		t.Fatalf("%d elements were read on a worker, %v", read, err)
	}
}

// TestWarmForFetchesThePath: what a change of a cold collection reads first is in the front before the lock is taken, and
// the trial has changed nothing.
func TestWarmForFetchesThePath(t *testing.T) {
	h := open(t, vfs.NewMem())
	defer h.close()
	h.write(func(tx *Tx) {
		x := tx.Hash(0, []byte("h"))
		for i := range 200000 {
			x.Set(fmt.Append(nil, "field", i), []byte("value"))
		}
	})
	h.checkpoint()
	h.chill()
	h.want("h", func() string { v, _ := h.get("h"); return v }()) // the root alone
	change := func(tx *Tx) { tx.Hash(0, []byte("h")).Set([]byte("field77"), []byte("other")) }
	var tx Tx
	if err := h.try(&tx, 0, change); err != nil || len(tx.missing) == 0 {
		t.Fatalf("a trial misses %d nodes, %v", len(tx.missing), err)
	}
	if err := h.WarmFor(0, change); err != nil {
		t.Fatal(err)
	}
	if err := h.try(&tx, 0, change); err != nil || len(tx.missing) != 0 {
		t.Fatalf("after WarmFor a trial misses %d nodes, %v", len(tx.missing), err)
	}
	if s := h.Stats(); s.DirtyKeys != 0 {
		t.Fatalf("trials have made %d entries dirty", s.DirtyKeys)
	}
	h.write(func(tx *Tx) {
		if v, _ := tx.Hash(0, []byte("h")).Get([]byte("field77")); string(v) != "value" {
			t.Fatalf("the field is %q", v)
		}
	})
}
