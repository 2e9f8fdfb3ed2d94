package engine

import (
	"encoding/binary"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/reply"
)

// silent takes replies and drops them.
type silent struct{}

func (silent) Begin(int) reply.Writer { return reply.Discard }
func (silent) End(int)                {}

const benchBatch = 100

// keyOf writes the i-th of a spread sequence of keys, 11 bytes long.
func keyOf(key []byte, i uint64) {
	i = i * 0x9e3779b97f4a7c15 >> 44 // below 1 << 20
	for j := len(key) - 1; j >= 3; j-- {
		key[j] = byte('0' + i%10)
		i /= 10
	}
}

func fillBench(b *testing.B, e *testEngine, n int) {
	args := byteArgs("SET", "key00000000", strings.Repeat("v", 64))
	row := lookup("SET")
	batch := Batch{Replies: silent{}}
	for i := 0; i < n; {
		for range benchBatch {
			copy(args[1][3:], "00000000")
			s := strconv.AppendInt(nil, int64(i), 10)
			copy(args[1][11-len(s):], s)
			batch.AddWrite(row, 0, args)
			i++
		}
		e.index++
		if err := e.Apply(e.index, 1, batch.Seal(Header{Clock: 1}), &batch); err != nil {
			b.Fatal(err)
		}
		batch.Reset(1 << 20)
	}
}

func BenchmarkApplySet(b *testing.B) {
	e := openTest(b, vfs.NewMem())
	defer e.close()
	fillBench(b, e, 1<<20)
	row := lookup("SET")
	args := byteArgs("SET", "key00000000", strings.Repeat("w", 64))
	batch := Batch{Replies: silent{}}
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		keyOf(args[1], i)
		i++
		batch.AddWrite(row, 0, args)
		if batch.Writes() == benchBatch {
			e.index++
			if err := e.Apply(e.index, 1, batch.Seal(Header{Clock: 1}), &batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset(1 << 20)
		}
	}
}

func BenchmarkReadGet(b *testing.B) {
	e := openTest(b, vfs.NewMem())
	defer e.close()
	fillBench(b, e, 1<<20)
	row := lookup("GET")
	args := byteArgs("GET", "key00000000")
	r := e.NewReader()
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		if i%benchBatch == 0 {
			r.Begin(1, i)
		}
		keyOf(args[1], i)
		if outcome, err := r.Do(row, 0, args, reply.Discard); outcome != Answered || err != nil {
			b.Fatal(outcome, err)
		}
		if i++; i%benchBatch == 0 {
			r.End()
		}
	}
	if i%benchBatch != 0 {
		r.End()
	}
}

// BenchmarkMemory reports the growth of resident size per key of 11 bytes with 64 bytes of value, beyond these.
func BenchmarkMemory(b *testing.B) {
	const n = 3_000_000
	for b.Loop() {
		e := openTest(b, vfs.NewMem())
		runtime.GC()
		before := residentSize(b)
		var heap runtime.MemStats
		runtime.ReadMemStats(&heap)
		heapBefore := heap.HeapAlloc
		fillBench(b, e, n)
		runtime.GC()
		runtime.ReadMemStats(&heap)
		s := e.Keys().Stats()
		b.ReportMetric(float64(s.Resident)/n-75, "arena-overhead/key")
		b.ReportMetric(float64(heap.HeapAlloc-heapBefore)/n, "heap/key")
		b.ReportMetric(float64(residentSize(b)-before)/n-75, "resident-overhead/key")
		e.close()
	}
}

// residentSize is the process's, bytes; 0 where the system does not tell.
func residentSize(b *testing.B) int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// Commands must not allocate: what they do each second would be garbage.
func TestCommandsDoNotAllocate(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	defer e.close()
	set, get := lookup("SET"), lookup("GET")
	setArgs, getArgs := byteArgs("SET", "key", strings.Repeat("v", 64)), byteArgs("GET", "key")
	batch := Batch{Replies: silent{}}
	r := e.NewReader()
	apply := func() {
		for i := range benchBatch {
			binary.LittleEndian.PutUint32(setArgs[2], uint32(i))
			batch.AddWrite(set, 0, setArgs)
			batch.AddRead(get, 0, getArgs)
		}
		e.index++
		if err := e.Apply(e.index, 1, batch.Seal(Header{Clock: 1}), &batch); err != nil {
			t.Fatal(err)
		}
		batch.Reset(1 << 20)
		r.Begin(1, 1)
		for range benchBatch {
			if _, err := r.Do(get, 0, getArgs, reply.Discard); err != nil {
				t.Fatal(err)
			}
		}
		r.End()
	}
	for range 10 {
		apply()
	}
	if n := testing.AllocsPerRun(20, apply); n > 2 {
		t.Errorf("%.1f allocations for %d commands", n, 3*benchBatch)
	}
}
