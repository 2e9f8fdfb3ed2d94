package front

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/larder-db/larder/engine/value"
)

func newFront(t testing.TB, hash func([]byte) uint64, slot func([]byte) uint16) *Front {
	t.Helper()
	f, err := New(Options{Reserve: 16 << 30, Hash: hash, Slot: slot})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func oneSlot([]byte) uint16 { return 77 }

func locate(f *Front, sp *Space, key []byte) Loc {
	return f.Find(sp, f.slotOf(sp, key), f.hash(sp, key), key)
}

func put(t testing.TB, f *Front, sp *Space, key, val []byte) {
	t.Helper()
	l := locate(f, sp, key)
	if err := f.Put(&l, Item{Kind: value.String, Value: val}, 0); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, f *Front, sp *Space, key []byte) {
	t.Helper()
	l := locate(f, sp, key)
	if err := f.Remove(&l, 0); err != nil {
		t.Fatal(err)
	}
}

func number(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }

func TestOneSlotWithManyKeys(t *testing.T) {
	const n = 200_000 / raceFactor
	f := newFront(t, strongHash, oneSlot)
	sp := f.AddSpace(0, nil, 0)
	for i := range n {
		put(t, f, sp, number(i), number(i))
	}
	checkAccounts(t, f)
	for i := range n {
		if l := locate(f, sp, number(i)); !l.Known() || !bytes.Equal(f.Item(&l).Value, number(i)) {
			t.Fatalf("key %d is lost", i)
		}
	}
	met := make([]bool, n)
	last, steps := Position{}, 0
	w := f.BeginView([]*Space{sp})
	for more := true; more; steps++ {
		count := 0
		_, _, more = w.Step(100, func(r Record) {
			i := binary.BigEndian.Uint32(r.Key)
			if met[i] || r.compare(last) < 0 {
				t.Fatalf("key %d again, or out of order", i)
			}
			met[i], last = true, r.Position
			count++
		})
		if count > 100+maxHomes {
			t.Fatalf("a step of %d records", count)
		}
	}
	w.End()
	for i := range n {
		if !met[i] {
			t.Fatalf("the walk missed key %d", i)
		}
		remove(t, f, sp, number(i))
	}
	checkAccounts(t, f)
	if s := f.Stats(); s.Entries != 0 || s.Live != 0 || s.DirtyKeys != 0 || sp.Len() != 0 {
		t.Fatalf("left: %+v", s)
	}
}

// Hashes that all but coincide: what cannot be stored is an error, and what was stored stays.
func TestEqualHashesLoseNoKey(t *testing.T) {
	f := newFront(t, func(key []byte) uint64 { return uint64(key[3]) % 4 << 46 }, oneSlot)
	sp := f.AddSpace(0, nil, 0)
	stored, refused := map[int]bool{}, 0
	for i := range 4000 {
		l := locate(f, sp, number(i))
		switch err := f.Put(&l, Item{Kind: value.String, Value: number(i)}, 0); {
		case err == nil:
			stored[i] = true
		case errors.Is(err, errFull):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if refused == 0 || len(stored) < 4*400 {
		t.Fatalf("%d stored, %d refused", len(stored), refused)
	}
	for i := range stored {
		if l := locate(f, sp, number(i)); !l.Known() || !bytes.Equal(f.Item(&l).Value, number(i)) {
			t.Fatalf("key %d is lost", i)
		}
	}
}

// A slab that is being emptied may be given up by others, and its addresses become something else.
func TestCompactionOutlivesItsSlab(t *testing.T) {
	f := newFront(t, strongHash, modelSlot)
	sp := f.AddSpace(0, nil, 0)
	const n = 6000
	for i := range n {
		put(t, f, sp, number(i), make([]byte, 100))
	}
	for i := range n {
		if i%4 != 0 {
			remove(t, f, sp, number(i))
		}
	}
	for f.emptying < 0 {
		if !f.Compact(1) {
			t.Fatal("nothing to compact")
		}
	}
	for i := 0; i < n; i += 4 {
		remove(t, f, sp, number(i))
	}
	for i := range 50 {
		put(t, f, sp, number(i), make([]byte, 40_000))
	}
	for range 100 {
		f.Compact(1000)
	}
	checkAccounts(t, f)
	for i := range 50 {
		if l := locate(f, sp, number(i)); !l.Known() || len(f.Item(&l).Value) != 40_000 {
			t.Fatalf("key %d is lost", i)
		}
	}
}

// A step of a walk copies a bounded number of bytes under the lock, however large values are.
func TestStepIsBoundedInBytes(t *testing.T) {
	f := newFront(t, strongHash, oneSlot)
	sp := f.AddSpace(0, nil, 0)
	const n, size = 100, 300 << 10
	for i := range n {
		put(t, f, sp, number(i), make([]byte, size))
	}
	w := f.BeginCheckpoint()
	total := 0
	for more := true; more; {
		bytes := 0
		_, _, more = w.Step(1000, func(r Record) { bytes += len(r.Value); total++ })
		if bytes > stepBytes+size {
			t.Fatalf("a step of %d bytes", bytes)
		}
		put(t, f, sp, number(total%n), make([]byte, 10)) // some before the cursor, some behind
	}
	if total != n {
		t.Fatalf("%d records, want %d", total, n)
	}
	w.End()
}

// A range may begin anywhere: segments are split elsewhere when a cursor comes back.
func TestRangeBeginsAmidASegment(t *testing.T) {
	f := newFront(t, strongHash, oneSlot)
	sp := f.AddSpace(0, nil, 0)
	const n = 200
	var hashes []uint64
	for i := range n {
		put(t, f, sp, number(i), nil)
		hashes = append(hashes, strongHash(number(i)))
	}
	slices.Sort(hashes)
	for i, from := range hashes {
		var got []uint64
		for to := (Position{Slot: oneSlot(nil), Hash: from}); to.Slot == oneSlot(nil); {
			to = f.Range(sp, to.Slot, to.Hash, 1, func(r Record) { got = append(got, r.Hash) })
		}
		if !slices.Equal(got, hashes[i:]) {
			t.Fatalf("from the %d-th hash on: %d keys, want %d", i, len(got), n-i)
		}
	}
}

// Clear while a view is read: the view still sees what it began with, and nothing is left afterwards.
func TestClearLeavesViewsTheirEntries(t *testing.T) {
	f := newFront(t, strongHash, modelSlot)
	sp := f.AddSpace(0, nil, 0)
	const n = 2000
	for i := range n {
		put(t, f, sp, number(i), number(i))
	}
	w := f.BeginView([]*Space{sp})
	count := 0
	emit := func(r Record) {
		if !bytes.Equal(r.Value, r.Key) {
			t.Fatalf("%x holds %x", r.Key, r.Value)
		}
		count++
	}
	w.Step(10, emit)
	f.Clear()
	sp = f.AddSpace(0, nil, 0)
	for i := range n {
		put(t, f, sp, number(i), []byte("new"))
	}
	for more := true; more; {
		f.Free(100)
		_, _, more = w.Step(10, emit)
	}
	if count != n {
		t.Fatalf("the view has %d keys, want %d", count, n)
	}
	w.End()
	f.Clear()
	for f.Free(100) {
	}
	if s := f.Stats(); s.Entries != 0 || s.Live != 0 || s.DirtyBytes != 0 || s.Doomed != 0 {
		t.Fatalf("left: %+v", s)
	}
}

// Sizes drift at random; compaction keeps what the system has given within 1.15 of what is in use.
func TestResidentStaysNearLive(t *testing.T) {
	f := newFront(t, strongHash, func(key []byte) uint16 { return uint16(strongHash(key)) % 128 })
	sp := f.AddSpace(0, nil, 0)
	r := rand.New(rand.NewPCG(1, 2))
	const n = 100_000 / raceFactor
	// Each phase has a scale of its own, so that every size class fills and empties in turn.
	for phase, scale := range []int{600, 100, 1500, 40, 3000, 250} {
		for range n * 2 {
			key := number(r.IntN(n))
			if l := locate(f, sp, key); r.IntN(4) == 0 {
				if l.Known() {
					remove(t, f, sp, key)
				}
			} else {
				put(t, f, sp, key, make([]byte, r.IntN(scale)))
			}
			if f.Wasteful() && r.IntN(20) == 0 {
				f.Compact(256)
			}
		}
		steps := settle(t, f)
		s := f.Stats()
		ratio := float64(s.Resident) / float64(s.Live)
		t.Logf("phase %d: live %d MB, resident %d MB, %.3f, %d more steps", phase, s.Live>>20, s.Resident>>20, ratio, steps)
		if s.Resident > s.Live+s.Live/10+3<<20 { // a slab of each class is never full
			t.Errorf("phase %d: resident is %.3f of live", phase, ratio)
		}
	}
	checkAccounts(t, f)
}

// settle compacts until nothing is found to do, in several goes since each looks at a sample of the slabs.
func settle(t *testing.T, f *Front) (steps int) {
	for idle := 0; f.Wasteful() && idle < 200; steps++ {
		if !f.Compact(256) {
			idle++
		}
		if steps > 100_000 {
			t.Fatal("compaction goes on for ever")
		}
	}
	return steps
}

// Compaction while a walk holds old versions ends by itself.
func TestCompactionEndsBesideAWalk(t *testing.T) {
	f := newFront(t, strongHash, modelSlot)
	sp := f.AddSpace(0, nil, 0)
	const n = 20_000
	for i := range n {
		put(t, f, sp, number(i), make([]byte, 100))
	}
	w := f.BeginView([]*Space{sp})
	for i := range n {
		put(t, f, sp, number(i), make([]byte, 300))
	}
	for i := range n {
		if i%10 != 0 {
			remove(t, f, sp, number(i))
		}
	}
	for i := 0; f.Wasteful() && f.Compact(100); i++ {
		if i > 10_000 {
			t.Fatal("compaction goes on for ever")
		}
	}
	w.End()
	settle(t, f)
	if s := f.Stats(); s.Resident-s.Live > s.Live/12+2<<20 {
		t.Fatalf("resident %d, live %d", s.Resident, s.Live)
	}
}

// Blocks of all sizes never overlap and keep their bytes while they are taken, resized and given back.
func TestArenaBlocksKeepTheirBytes(t *testing.T) {
	a, err := newArena(4 << 30)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	type block struct {
		r    Ref
		n    int
		fill byte
	}
	var blocks []block
	r := rand.New(rand.NewPCG(3, 4))
	check := func(b block) {
		p := a.bytes(b.r, b.n)
		if want := bytes.Repeat([]byte{b.fill}, b.n); !bytes.Equal(p, want) {
			t.Fatalf("a block of %d bytes changed", b.n)
		}
	}
	for i := range 30_000 {
		switch k := r.IntN(10); {
		case k < 5 || len(blocks) == 0:
			n := 12 + r.IntN(1<<r.IntN(18))
			ref, err := a.alloc(n)
			if err != nil {
				t.Fatal(err)
			}
			b := block{ref, n, byte(i) | 1}
			copy(a.bytes(b.r, b.n), bytes.Repeat([]byte{b.fill}, n))
			blocks = append(blocks, b)
		case k < 7:
			b := &blocks[r.IntN(len(blocks))]
			check(*b)
			if n := b.n/2 + r.IntN(b.n); a.resizeLarge(b.r, n) {
				for j := b.n; j < n; j++ {
					a.bytes(b.r, n)[j] = b.fill
				}
				b.n = n
			}
			check(*b)
		default:
			j := r.IntN(len(blocks))
			check(blocks[j])
			a.release(blocks[j].r)
			blocks[j] = blocks[len(blocks)-1]
			blocks = blocks[:len(blocks)-1]
		}
	}
	for _, b := range blocks {
		check(b)
		a.release(b.r)
	}
	if a.live != 0 {
		t.Fatalf("live %d after all was given back", a.live)
	}
}

func TestSlotAtCountsKeys(t *testing.T) {
	f := newFront(t, strongHash, modelSlot)
	sp := f.AddSpace(0, nil, 0)
	for i := range 100 {
		put(t, f, sp, number(i), nil)
	}
	slots := map[uint16]map[int64]bool{}
	for i := range int64(100) {
		slot, at := sp.SlotAt(i)
		if slots[slot] == nil {
			slots[slot] = map[int64]bool{}
		}
		slots[slot][at] = true
	}
	for slot, at := range slots {
		if uint32(len(at)) != sp.SlotLen(slot) {
			t.Errorf("slot %d: %d places for %d keys", slot, len(at), sp.SlotLen(slot))
		}
	}
}

func BenchmarkPutNew(b *testing.B) {
	f := newFront(b, strongHash, func(key []byte) uint16 { return uint16(strongHash(key) % Slots) })
	sp := f.AddSpace(0, nil, 0)
	val := make([]byte, 64)
	for i := 0; b.Loop(); i++ {
		put(b, f, sp, fmt.Appendf(nil, "%011d", i), val)
	}
	s := f.Stats()
	b.ReportMetric(float64(s.Live)/float64(s.Entries), "bytes/key")
}
