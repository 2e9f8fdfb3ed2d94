package front

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/larder-db/larder/engine/value"
)

// content is what the model knows of one key.
type content struct {
	value  string
	expire int64
	gone   bool
}

func contentOf(it Item) content {
	if it.Tombstone {
		return content{gone: true}
	}
	return content{value: string(it.Value), expire: it.Expire}
}

// seen is one record that a walk met or has to meet.
type seen struct {
	pos Position
	key string
	content
}

func compareSeen(a, b seen) int {
	if c := a.pos.compare(b.pos); c != 0 {
		return c
	}
	return bytes.Compare([]byte(a.key), []byte(b.key))
}

type modelSpace struct {
	sp     *Space
	truth  map[string]content // live keys
	stored map[string]content // what the store has of it
}

type modelWalk struct {
	w    *Walk
	want []seen
	got  []seen
	more bool
}

// model drives a front beside plain maps that play its owner: the store, and the truth.
type model struct {
	t      testing.TB
	f      *Front
	pick   func(n int) int // the source of chance: below n
	keys   []string
	spaces []*modelSpace
	next   uint32
	clock  uint32
	views  []*modelWalk

	checkpoint *modelWalk
	covered    []*modelSpace // by the checkpoint
	settling   bool
	durable    bool

	commits, evictions int
}

func strongHash(key []byte) uint64 {
	h := fnv.New64a()
	h.Write(key)
	return h.Sum64() >> 16
}

// weakHash has few values, so that keys collide and segments split down to single hashes.
func weakHash(key []byte) uint64 { return strongHash(key) % 5 << 45 }

func modelSlot(key []byte) uint16 { return [...]uint16{0, 1, 700, Slots - 1}[strongHash(key)&3] }

func newModel(t testing.TB, pick func(int) int, keys int, hash func([]byte) uint64) *model {
	f, err := New(Options{Reserve: 4 << 30, Hash: hash, Slot: modelSlot})
	if err != nil {
		t.Fatal(err)
	}
	m := &model{t: t, f: f, pick: pick}
	for i := range keys {
		m.keys = append(m.keys, fmt.Sprintf("key%0*d", 1+i%7*5, i))
	}
	for range 3 {
		m.spaces = append(m.spaces, m.newSpace())
	}
	return m
}

func (m *model) close() {
	if err := m.f.Close(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) newSpace() *modelSpace {
	m.next++
	return &modelSpace{sp: m.f.AddSpace(m.next-1, nil, 0), truth: map[string]content{}, stored: map[string]content{}}
}

func (m *model) must(err error) {
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) find(s *modelSpace, key string) Loc {
	k := []byte(key)
	return m.f.Find(s.sp, modelSlot(k), m.f.hash(s.sp, k), k)
}

// warm is find after a fill where only the store may have the key.
func (m *model) warm(s *modelSpace, key string) Loc {
	l := m.find(s, key)
	if l.Known() || l.Final() {
		return l
	}
	it := Item{Tombstone: true}
	if c, ok := s.stored[key]; ok {
		it = Item{Kind: value.String, Value: []byte(c.value), Expire: c.expire}
	}
	m.must(m.f.Fill(&l, it, m.clock))
	return m.find(s, key)
}

func (m *model) value() []byte {
	n := m.pick(40)
	switch m.pick(40) {
	case 0:
		n = 900 + m.pick(300)
	case 1:
		n = 30000 + m.pick(10000)
	case 2:
		n = 100000
	}
	return bytes.Repeat([]byte{byte(m.pick(256))}, n)
}

func (m *model) step() {
	s := m.spaces[m.pick(len(m.spaces))]
	key := m.keys[m.pick(len(m.keys))]
	m.clock++
	switch op := m.pick(100); {
	case op < 30:
		l := m.warm(s, key)
		it := Item{Kind: value.String, Value: m.value(), Expire: int64(m.pick(2) * m.pick(1000))}
		m.must(m.f.Put(&l, it, m.clock))
		s.truth[key] = contentOf(it)
	case op < 45:
		if l := m.warm(s, key); l.Known() && !m.f.Item(&l).Tombstone {
			m.must(m.f.Remove(&l, m.clock))
			delete(s.truth, key)
		}
	case op < 55:
		m.grow(s, key)
	case op < 62:
		m.warm(s, key)
	case op < 65:
		if m.f.Evict(int64(m.pick(20000)), 1+m.pick(4), m.rank()) > 0 {
			m.evictions++
		}
	case op < 72:
		m.stepCheckpoint()
	case op < 74:
		if len(m.views) < 3 {
			m.begin(&m.views)
		}
	case op < 80:
		if len(m.views) > 0 {
			m.stepView(m.pick(len(m.views)))
		}
	case op < 88:
		m.f.Compact(1 + m.pick(50))
	case op == 88 && m.pick(20) == 0:
		i := slices.Index(m.spaces, s)
		m.f.DropSpace(s.sp)
		m.spaces[i] = m.newSpace()
	case op < 95:
		m.f.Free(1 + m.pick(30))
	default:
		m.checkKey(s, key)
	}
}

// rank is by age, or nil, by which tombstones alone are dropped.
func (m *model) rank() func(use uint32) uint32 {
	if m.pick(4) == 0 {
		return nil
	}
	return func(use uint32) uint32 { return m.clock - use }
}

func (m *model) grow(s *modelSpace, key string) {
	l := m.warm(s, key)
	if !l.Known() || m.f.Item(&l).Tombstone {
		return
	}
	c := s.truth[key]
	n := len(c.value) + m.pick(50) - 10
	if m.pick(10) == 0 {
		n += m.pick(100000)
	}
	n = max(n, 0)
	b, err := m.f.Grow(&l, n, value.Natural, m.clock)
	m.must(err)
	want := make([]byte, n)
	copy(want, c.value)
	if !bytes.Equal(b, want) {
		m.t.Fatalf("Grow of %q to %d: kept bytes changed, or new ones are not zero", key, n)
	}
	if n > 0 {
		at := m.pick(n)
		b[at], want[at] = 'x', 'x'
	}
	c.value = string(want)
	s.truth[key] = c
}

// entries lists what the front has, with dirty alone if asked, as walks must meet it.
func (m *model) entries(spaces []*modelSpace, dirty bool) (list []seen) {
	for _, s := range spaces {
		for _, key := range m.keys {
			if l := m.find(s, key); l.Known() && (!dirty || m.f.Dirty(&l)) {
				list = append(list, seen{Position{s.sp.Number, l.Slot, l.Hash}, key, contentOf(m.f.Item(&l))})
			}
		}
	}
	slices.SortFunc(list, compareSeen)
	return list
}

func (m *model) begin(views *[]*modelWalk) {
	spaces := slices.Clone(m.spaces[:1+m.pick(len(m.spaces))])
	slices.SortFunc(spaces, func(a, b *modelSpace) int { return int(a.sp.Number) - int(b.sp.Number) })
	w := &modelWalk{want: m.entries(spaces, false), more: true}
	var list []*Space
	for _, s := range spaces {
		list = append(list, s.sp)
	}
	w.w = m.f.BeginView(list)
	*views = append(*views, w)
}

func (m *model) advance(w *modelWalk) {
	_, _, w.more = w.w.Step(1+m.pick(20), func(r Record) {
		w.got = append(w.got, seen{r.Position, string(r.Key), contentOf(r.Item)})
	})
	m.must(w.w.Err())
	if w.more {
		return
	}
	if !slices.Equal(w.got, w.want) {
		m.t.Fatalf("a walk met %d records, want %d: %v", len(w.got), len(w.want), difference(w.got, w.want))
	}
}

func difference(got, want []seen) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("from %d on: got %.200v, want %.200v", i, got[min(i, len(got)):min(i+2, len(got))], want[min(i, len(want)):min(i+2, len(want))])
		}
	}
	return "none"
}

func (m *model) stepView(i int) {
	v := m.views[i]
	if m.pick(40) != 0 { // now and then one is given up early
		if m.advance(v); v.more {
			return
		}
	}
	v.w.End()
	m.views = slices.Delete(m.views, i, i+1)
}

// stepCheckpoint begins a checkpoint, goes on with it, or ends it one way or the other.
func (m *model) stepCheckpoint() {
	c := m.checkpoint
	switch {
	case c == nil:
		c = &modelWalk{want: m.entries(m.spaces, true), more: true}
		c.w = m.f.BeginCheckpoint()
		m.checkpoint, m.settling = c, false
		m.covered = slices.Clone(m.spaces)
	case m.settling:
		if !c.w.Settle(m.durable, 1+m.pick(20000)) {
			m.checkpoint = nil
		}
	case c.more && m.pick(60) != 0:
		for range 1 + m.pick(20) { // most steps lead over empty slots
			if m.advance(c); !c.more {
				break
			}
		}
	default:
		m.settling, m.durable = true, !c.more
		if m.durable {
			m.commit(c.got)
			m.commits++
		}
	}
}

func (m *model) commit(records []seen) {
	for _, r := range records {
		i := slices.IndexFunc(m.covered, func(s *modelSpace) bool { return s.sp.Number == r.pos.Space })
		if r.gone {
			delete(m.covered[i].stored, r.key)
		} else {
			m.covered[i].stored[r.key] = r.content
		}
	}
}

func (m *model) checkKey(s *modelSpace, key string) {
	truth, live := s.truth[key]
	stored, have := s.stored[key]
	l := m.find(s, key)
	switch {
	case l.Known():
		got := contentOf(m.f.Item(&l))
		if got.gone == live || live && got != truth {
			m.t.Fatalf("E1: %q is %.60v in the front, the truth is %.60v (%t)", key, got, truth, live)
		}
		if !m.f.Dirty(&l) && (got.gone == have || have && got != stored) {
			m.t.Fatalf("E2: %q is clean and %.60v, the store has %.60v (%t)", key, got, stored, have)
		}
	case l.Final():
		if live || have {
			m.t.Fatalf("%q is in the store (%t) or live (%t), and a miss is final", key, have, live)
		}
	case live != have || truth != stored:
		m.t.Fatalf("E3: %q is not in the front, the truth is %.60v (%t), the store has %.60v (%t)", key, truth, live, stored, have)
	}
}

func (m *model) checkAll() {
	var complete = true
	for _, s := range m.spaces {
		var timed int64
		slots := map[uint16]uint32{}
		for _, key := range m.keys {
			m.checkKey(s, key)
			if c, ok := s.truth[key]; ok {
				slots[modelSlot([]byte(key))]++
				if c.expire != 0 {
					timed++
				}
			}
		}
		if s.sp.Len() != int64(len(s.truth)) || s.sp.Timed() != timed {
			m.t.Fatalf("Len %d, want %d; Timed %d, want %d", s.sp.Len(), len(s.truth), s.sp.Timed(), timed)
		}
		for n := range uint16(Slots) {
			if s.sp.SlotLen(n) != slots[n] {
				m.t.Fatalf("slot %d: %d keys, want %d", n, s.sp.SlotLen(n), slots[n])
			}
			complete = complete && s.sp.Complete(n)
		}
	}
	if m.f.AllComplete() != complete {
		m.t.Fatalf("AllComplete is %t, want %t", !complete, complete)
	}
	checkAccounts(m.t, m.f)
}

// checkAccounts recounts what Stats reports.
func checkAccounts(t testing.TB, f *Front) {
	t.Helper()
	var entries, live, keys, dirty, tombstones int64
	for i := range f.segments {
		s := &f.segments[i]
		if s.table == 0 {
			continue
		}
		live += int64(blockSize(tableHeader + cellsOf(s.homes)*8))
		n := uint16(0)
		last := cell(0)
		for _, c := range f.cells(s) {
			if c == 0 {
				continue
			}
			n++
			if cellFP(c) < cellFP(last) {
				t.Fatalf("segment %d: cells out of order", i)
			}
			last = c
			r := cellRef(c)
			m := f.arena.meta(r)
			entries++
			size := int64(blockSize(f.arena.blockLen(r)))
			live += size
			if whatOf(m) == whatTombstone {
				tombstones += size
			}
			if tagOf(m) != Clean {
				keys++
				dirty += size
				if s.dirty&(1<<(tagOf(m)-1)) == 0 {
					t.Fatalf("segment %d holds an entry of dirty tag %d and does not say so", i, tagOf(m))
				}
			}
		}
		if n != s.n {
			t.Fatalf("segment %d says %d cells, has %d", i, s.n, n)
		}
	}
	for _, w := range f.walks {
		live += w.held
	}
	got := f.Stats()
	if got.Entries != entries || got.DirtyKeys != keys || got.DirtyBytes != dirty || got.Live != live || got.Tombstones != tombstones {
		t.Fatalf("Stats %+v, counted entries %d, dirty keys %d, dirty bytes %d, live %d", got, entries, keys, dirty, live)
	}
	if got.Resident < got.Live {
		t.Fatalf("resident %d below live %d", got.Resident, got.Live)
	}
}

// finish lets everything under way end, deletes all, and looks at what is left.
func (m *model) finish() {
	m.checkAll()
	for len(m.views) > 0 {
		m.stepView(0)
	}
	for m.checkpoint != nil {
		m.stepCheckpoint()
	}
	for _, s := range m.spaces {
		for key := range maps.Clone(s.truth) {
			l := m.warm(s, key)
			m.must(m.f.Remove(&l, m.clock))
			delete(s.truth, key)
		}
	}
	m.checkAll()
	for i := 0; i == 0 || m.f.DirtyBytes() > 0; i++ { // a checkpoint may be given up
		if i > 100 {
			m.t.Fatal("entries stay dirty")
		}
		m.stepCheckpoint()
		for m.checkpoint != nil {
			m.stepCheckpoint()
		}
		for m.f.Free(1000) {
		}
	}
	for m.f.Stats().Entries > 0 { // clean tombstones of fills
		if m.f.Evict(1<<40, 1000, m.rank()) == 0 {
			m.t.Fatalf("%d entries stay", m.f.Stats().Entries)
		}
	}
	m.checkAll()
	if s := m.f.Stats(); s.Live != 0 || s.DirtyKeys != 0 || s.Doomed != 0 || s.Tombstones != 0 {
		m.t.Fatalf("all is deleted, and %+v is left", s)
	}
}

// E1, E2, E3 at the front: random work beside a model, short runs that shrink.
func TestFrontIsItsModel(t *testing.T) {
	for name, hash := range map[string]func([]byte) uint64{"strong": strongHash, "weak": weakHash} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "") }
				m := newModel(t, pick, 30, hash)
				defer m.close()
				m.t = fatal{t, rt}
				for range rapid.IntRange(1, 300).Draw(rt, "steps") {
					m.step()
				}
				m.checkAll()
			})
		})
	}
}

// fatal hands failures to rapid, which shrinks them.
type fatal struct {
	testing.TB
	rt *rapid.T
}

func (f fatal) Helper()                      {}
func (f fatal) Fatal(args ...any)            { f.rt.Fatal(args...) }
func (f fatal) Fatalf(form string, a ...any) { f.rt.Fatalf(form, a...) }

// The same, in long runs with enough keys for splits.
func TestFrontIsItsModelForLong(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := newModel(t, r.IntN, []int{20, 400, 3000, 6000}[seed], []func([]byte) uint64{strongHash, weakHash, strongHash, strongHash}[seed])
		for i := range 40000 / raceFactor {
			m.step()
			if i%4000 == 0 {
				m.checkAll()
			}
		}
		if m.commits < 10/raceFactor || m.evictions < 50/raceFactor {
			t.Fatalf("only %d checkpoints and %d evictions", m.commits, m.evictions)
		}
		m.finish()
		m.close()
	}
}
