package server

import (
	"fmt"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/resp"
)

// memoryFigures says where memory goes, bytes.
type memoryFigures struct {
	keys    keyspace.Stats
	front   int64 // what the system gave for the front
	cache   int64 // the store's block cache
	heap    int64 // objects on Go's heap
	runtime int64 // what Go's runtime has from the system and not given back
	used    int64 // front, cache and heap
	peak    int64 // the most that used was when somebody looked
	rss     int64 // the whole process
	dataset int64 // keys and values in the front
	data    int64 // the same with what is lost between them, without what the next checkpoint gives back
	total   int64 // live keys
}

// memory takes the figures. It may wait a little for locks.
func (srv *Server) memory() memoryFigures {
	n := srv.node
	m := memoryFigures{}
	n.each(func(sh *shard) {
		keys := sh.engine.Keys()
		m.keys = addStats(m.keys, keys.Stats())
		m.data += keys.Used()
		m.cache = sh.engine.Store().Metrics().CacheBytes // one for all
	})
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(samples)
	m.heap = int64(samples[0].Value.Uint64())
	m.runtime = int64(samples[1].Value.Uint64() - samples[2].Value.Uint64())
	m.front, m.dataset = m.keys.Resident, m.keys.Live
	m.used = m.front + m.cache + m.heap
	for m.peak = srv.memoryPeak.Load(); m.used > m.peak; m.peak = srv.memoryPeak.Load() {
		srv.memoryPeak.CompareAndSwap(m.peak, m.used)
	}
	if m.rss = residentSize(); m.rss == 0 {
		m.rss = m.front + m.cache + m.runtime
	}
	for _, keys := range m.keys.Keys {
		m.total += keys
	}
	return m
}

// residentSize is the memory that the process takes up, 0 where the system does not tell.
func residentSize() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	words := strings.Fields(string(text))
	if len(words) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// human is a size as INFO shows it to people.
func human(n int64) string {
	const unit = 1024
	switch f := float64(n); {
	case n < unit:
		return fmt.Sprintf("%dB", n)
	case n < unit*unit:
		return fmt.Sprintf("%.2fK", f/unit)
	case n < unit*unit*unit:
		return fmt.Sprintf("%.2fM", f/unit/unit)
	case n < unit*unit*unit*unit:
		return fmt.Sprintf("%.2fG", f/unit/unit/unit)
	default:
		return fmt.Sprintf("%.2fT", f/unit/unit/unit/unit)
	}
}

func memoryStats(s *session, args [][]byte, _ *resp.Writer) {
	srv := s.server
	s.slowly(args, func(_ [][]byte, w *resp.Writer) { srv.memory().write(w) })
}

// write answers MEMORY STATS.
func (m memoryFigures) write(w *resp.Writer) {
	overhead := m.used - m.dataset
	whole := []struct {
		name string
		n    int64
	}{
		{"peak.allocated", m.peak}, {"total.allocated", m.used}, {"startup.allocated", 0},
		{"replication.backlog", 0}, {"clients.slaves", 0}, {"clients.normal", 0}, {"cluster.links", 0},
		{"aof.buffer", 0}, {"lua.caches", 0}, {"functions.caches", 0},
		{"overhead.total", overhead}, {"keys.count", m.total}, {"keys.bytes-per-key", int64(ratio(m.dataset, m.total))},
		{"dataset.bytes", m.dataset}, {"allocator.allocated", m.used}, {"allocator.active", m.front + m.cache + m.runtime},
		{"allocator.resident", m.rss}, {"fragmentation.bytes", m.rss - m.used},
		{"larder.front", m.front}, {"larder.front.live", m.keys.Live}, {"larder.front.dirty", m.keys.DirtyBytes},
		{"larder.cache", m.cache}, {"larder.heap", m.heap}, {"larder.runtime", m.runtime},
	}
	parts := []struct {
		name string
		f    float64
	}{
		{"dataset.percentage", 100 * ratio(m.dataset, m.used)}, {"peak.percentage", 100 * ratio(m.used, m.peak)},
		{"fragmentation", ratio(m.rss, m.used)},
	}
	w.Map(len(whole) + len(parts))
	for _, f := range whole {
		w.BulkString(f.name)
		w.Int(f.n)
	}
	for _, f := range parts {
		w.BulkString(f.name)
		w.Double(f.f)
	}
}

// wastefulFront is from what share of its live bytes on the front's resident size is worth a word.
const wastefulFront = 1.5

func memoryDoctor(s *session, args [][]byte, _ *resp.Writer) {
	srv := s.server
	s.slowly(args, func(_ [][]byte, w *resp.Writer) {
		m, limit := srv.memory(), srv.config.Load().MaxMemory.Bytes
		var found []string
		if limit > 0 && m.rss > limit+limit/4+100<<20 {
			found = append(found, fmt.Sprintf("* The process takes up %s, maxmemory is %s: see INFO memory for where it goes.", human(m.rss), human(limit)))
		}
		if m.front > 64<<20 && ratio(m.front, m.keys.Live) > wastefulFront {
			found = append(found, fmt.Sprintf("* The front holds %s for %s of live data: it is being compacted.", human(m.front), human(m.keys.Live)))
		}
		if m.keys.Budget > 0 && m.keys.DirtyBytes > m.keys.Budget/2 {
			found = append(found, "* Most of the front is dirty and cannot be dropped: writes come faster than checkpoints, or these fail. See INFO persistence and the server's log.")
		}
		if len(found) == 0 {
			found = []string{"Nothing is unusual about memory."}
		}
		w.Verbatim("txt", strings.Join(found, "\n")+"\n")
	})
}

func memoryMallocStats(s *session, args [][]byte, _ *resp.Writer) {
	srv := s.server
	s.slowly(args, func(_ [][]byte, w *resp.Writer) {
		m := srv.memory()
		w.Verbatim("txt", fmt.Sprintf("front: resident %d, live %d, dirty %d, segments %d, entries %d\nblock cache: %d\nGo: heap objects %d, from the system %d\n",
			m.front, m.keys.Live, m.keys.DirtyBytes, m.keys.Segments, m.keys.Entries, m.cache, m.heap, m.runtime))
	})
}

func memoryPurge(s *session, args [][]byte, _ *resp.Writer) {
	s.slowly(args, func(_ [][]byte, w *resp.Writer) {
		debug.FreeOSMemory()
		w.Simple(reply.OK)
	})
}

func memoryHelp(_ *session, _ [][]byte, w *resp.Writer) {
	help(w, "MEMORY",
		"DOCTOR",
		"    Says what is unusual about memory.",
		"MALLOC-STATS",
		"    Returns the allocators' figures.",
		"PURGE",
		"    Gives unused memory back to the system.",
		"STATS",
		"    Returns figures about memory.",
		"USAGE <key> [SAMPLES <count>]",
		"    Returns the bytes that a key and its value take up.")
}
