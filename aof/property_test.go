package aof

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// machine runs random operations on a log and compares its shards with their states.
type machine struct {
	mem    *vfs.MemFS
	log    *Log
	opts   Options
	states [3]state
}

func newMachine(t *rapid.T) *machine {
	m := &machine{mem: vfs.NewCrashableMem()}
	m.opts, _ = testOptions(m.mem)
	m.open(t)
	return m
}

func (m *machine) open(t *rapid.T) {
	m.opts.FS = m.mem
	var err error
	if m.log, err = Open(m.opts); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) pick(t *rapid.T) (*ShardLog, *state) {
	shard := rapid.IntRange(0, len(m.states)-1).Draw(t, "shard")
	return m.log.Shard(uint64(shard)), &m.states[shard]
}

func ok(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machine) store(t *rapid.T) {
	s, st := m.pick(t)
	first := st.last + 1
	if st.last == 0 {
		first = rapid.Uint64Range(1, 100).Draw(t, "first")
	}
	last := first + rapid.Uint64Range(0, 12).Draw(t, "more")
	term := rapid.Uint64Range(1, 9).Draw(t, "term")
	ok(t, s.StoreLogs(batch(first, last, term)))
	*st = st.stored(first, last, term)
}

func (m *machine) truncate(t *rapid.T) {
	s, st := m.pick(t)
	if st.last == 0 {
		t.Skip("empty")
	}
	from := rapid.Uint64Range(st.first, st.last).Draw(t, "from")
	ok(t, s.DeleteRange(from, st.last))
	*st = st.truncated(from)
}

func (m *machine) cut(t *rapid.T) {
	s, st := m.pick(t)
	if st.last == 0 {
		t.Skip("empty")
	}
	below := rapid.Uint64Range(st.first, st.last).Draw(t, "below")
	if rapid.Bool().Draw(t, "most") {
		below = st.last
	}
	ok(t, s.CutBelow(below))
	*st = st.cut(below)
}

func (m *machine) reset(t *rapid.T) {
	s, st := m.pick(t)
	index := rapid.Uint64Range(1, 200).Draw(t, "index")
	ok(t, s.Reset(index, 5))
	*st = st.standIn(index, 5)
}

func (m *machine) tick(*rapid.T) {
	m.log.onTick()
	m.log.settle()
}

func (m *machine) reopen(t *rapid.T) {
	ok(t, m.log.Close())
	m.open(t)
}

// crash loses what was not synced. Cuts may be lost, so older entries may be there again.
func (m *machine) crash(t *rapid.T) {
	crashed := m.mem.CrashClone(vfs.CrashCloneCfg{})
	ok(t, m.log.Close())
	m.mem = crashed
	m.open(t)
	for shard := range m.states {
		st := &m.states[shard]
		if first, _ := m.log.Shard(uint64(shard)).FirstIndex(); st.last > 0 {
			st.first = min(st.first, first)
		}
	}
}

func (m *machine) check(t *rapid.T) {
	for shard, st := range m.states {
		s := m.log.Shard(uint64(shard))
		ok(t, st.matches(s))
		ok(t, s.matchesBytes())
		if first, _ := s.FirstIndex(); first != st.first {
			t.Fatalf("shard %d begins at %d, want %v", shard, first, st)
		}
	}
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		defer func() { ok(t, m.log.Close()) }()
		t.Repeat(map[string]func(*rapid.T){
			"store":    m.store,
			"store2":   m.store,
			"store3":   m.store,
			"truncate": m.truncate,
			"cut":      m.cut,
			"reset":    m.reset,
			"tick":     m.tick,
			"reopen":   m.reopen,
			"crash":    m.crash,
			"":         m.check,
		})
	})
}
