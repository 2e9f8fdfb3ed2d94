package keyspace

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/front"
)

// step does a step in a key space.
func (k *testSpace) step(step SlotStep, id, attempt uint64, ranges ...SlotRange) error {
	k.Lock()
	defer k.Unlock()
	var tx Tx
	tx.Begin(k.Keyspace, Writing, 0, 1, 1)
	return tx.StepSlots(step, id, attempt, ranges)
}

// testSpace is a key space with nothing in it.
type testSpace struct{ *Keyspace }

func newTestSpace(t *testing.T) *testSpace {
	t.Helper()
	h := open(t, vfs.NewMem())
	t.Cleanup(h.close)
	return &testSpace{h.Keyspace}
}

func (k *testSpace) encoded() []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	t := k.turnLocked()
	return t.encode(nil, nil)
}

// decoded is a key space that was read from the state.
func (k *testSpace) decoded(t *testing.T, b []byte) *testSpace {
	t.Helper()
	other := newTestSpace(t)
	other.mu.Lock()
	defer other.mu.Unlock()
	other.front.Clear()
	if err := other.decodeState(b); err != nil {
		t.Fatal(err)
	}
	return other
}

func TestSlotStateSurvivesEncoding(t *testing.T) {
	k := newTestSpace(t)
	plain := k.encoded()
	for _, s := range []struct {
		step        SlotStep
		id, attempt uint64
		r           SlotRange
	}{
		{Freeze, 3, 1, SlotRange{5, 7}}, {Disown, 0, 0, SlotRange{100, 16383}}, {BeginImport, 4, 2, SlotRange{100, 200}},
		{BeginImport, 5, 1, SlotRange{300, 300}}, {Seal, 5, 1, SlotRange{300, 300}},
	} {
		if err := k.step(s.step, s.id, s.attempt, s.r); err != nil {
			t.Fatal(err)
		}
	}
	k.mu.Lock()
	k.mu.migrations[1].spoiled = true
	k.mu.migrations[1].unremoved = []goneCollection{{1, 100, 9}}
	k.mu.forgotten = 2
	k.mu.Unlock()
	other := k.decoded(t, k.encoded())
	if !reflect.DeepEqual(k.Slots(), other.Slots()) || !reflect.DeepEqual(k.mu.migrations, other.mu.migrations) || other.mu.forgotten != 2 {
		t.Errorf("decoded %+v, want %+v", other.mu.migrations, k.mu.migrations)
	}
	old := append([]byte{2}, plain[1:len(plain)-7]...) // one run of all slots takes five bytes; no migration forgotten, none known
	if k.decoded(t, old).Slots() != nil {
		t.Error("a state of version 2 owns some slots only")
	}
}

// Whatever comes late is refused, or changes nothing.
func TestLateSteps(t *testing.T) {
	k := newTestSpace(t)
	all := SlotRange{0, front.Slots - 1}
	check := func(want error, step SlotStep, id, attempt uint64) {
		t.Helper()
		before := k.Slots()
		err := k.step(step, id, attempt, all)
		if !errors.Is(err, want) {
			t.Errorf("step %d of attempt %d of migration %d: %v, want %v", step, attempt, id, err, want)
		}
		if err != nil && k.Slots() != before {
			t.Errorf("step %d was refused and changed something", step)
		}
	}
	check(nil, Freeze, 1, 2)
	check(ErrStale, Thaw, 1, 1)
	check(ErrSlotState, Freeze, 2, 1)
	check(nil, Thaw, 1, 2)
	check(ErrSlotState, Disown, 1, 2)
	check(nil, Freeze, 1, 3)
	check(nil, Disown, 1, 3)
	check(nil, Disown, 1, 3)
	check(ErrSlotState, Thaw, 1, 3)
	check(nil, BeginImport, 2, 1)
	check(ErrSpoiled, Own, 2, 1)
	check(nil, Seal, 2, 1)
	check(nil, BeginImport, 2, 1) // once more: the import goes on
	check(nil, Own, 2, 1)
	check(nil, Own, 2, 1)
	check(ErrSlotState, BeginImport, 2, 1)
	check(ErrSlotState, Disown, 2, 1)
	check(nil, Announce, 2, 9)
	check(ErrStale, Own, 2, 8)
	for id := uint64(10); id < 10+2*RememberedMigrations; id++ {
		check(nil, Announce, id, 1)
	}
	if n := len(k.mu.migrations); n != RememberedMigrations {
		t.Errorf("%d migrations are remembered", n)
	}
	check(ErrStale, Announce, 2, 10)
}

// leavers notes what a watcher is told.
type leavers struct{ keys []string }

func (l *leavers) Touched(int, []byte)       {}
func (l *leavers) Reaped(int, []byte)        {}
func (l *leavers) Swapping(_, _ int, _ Look) {}
func (l *leavers) Flushing(db int, look Look) {
	for _, key := range []string{"{stays}", "{goes}"} {
		if there, _ := look(db, []byte(key)); there && db == 0 {
			l.keys = append(l.keys, key)
		}
	}
}

// Who watches a key whose slot is frozen is told: it may change where nobody here sees it.
func TestLeavingSlotsTouchWatchedKeys(t *testing.T) {
	k := newTestSpace(t)
	var l leavers
	k.Observe(&l)
	goes := Slot([]byte("{goes}"))
	if err := k.step(Freeze, 1, 1, SlotRange{goes, goes}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(l.keys, []string{"{goes}"}) {
		t.Errorf("told of %q", l.keys)
	}
}
