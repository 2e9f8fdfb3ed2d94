package store

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/zeebo/xxh3"
)

// benchKey is the i-th of n keys in position order: hashes are spread evenly, and keys have 11 bytes.
func benchKey(i, n int, key []byte) (Position, []byte) {
	slot := uint64(i) * 16384 / uint64(n)
	spread := xxh3.Hash(binary.LittleEndian.AppendUint64(nil, uint64(i))) & 0xffff
	p := Position{Slot: uint16(slot), Hash: (uint64(i)<<16 | spread) & maxHash}
	return p, fmt.Appendf(key[:0], "key:%07d", i)
}

// fill makes one checkpoint of n keys with values of size bytes, half of which can be compressed away.
func fill(tb testing.TB, s *Store, n, size int, index uint64) {
	tb.Helper()
	c, err := s.NewCheckpoint()
	if err != nil {
		tb.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, index))
	value := make([]byte, size)
	var key []byte
	for i := range n {
		var p Position
		p, key = benchKey(i, n, key)
		for j := 0; j+8 <= size/2; j += 8 {
			binary.LittleEndian.PutUint64(value[j:], r.Uint64())
		}
		if err := c.Set(p, key, value, 0); err != nil {
			tb.Fatal(err)
		}
	}
	if err := c.Commit(Meta{Index: index, Term: 1}); err != nil {
		tb.Fatal(err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func openBench(b *testing.B, cache int64) *Store {
	b.Helper()
	c := NewCache(cache)
	s, err := Open(Options{Dir: b.TempDir(), Cache: c, Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
		c.Close()
	})
	return s
}

// BenchmarkBuild builds and commits a checkpoint of a million keys of 11 + 64 bytes.
func BenchmarkBuild(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := openBench(b, 8<<20)
		b.StartTimer()
		fill(b, s, 1_000_000, 64, 1)
		b.ReportMetric(float64(s.DiskUsage())/1e6, "bytes/key")
	}
}

// BenchmarkGet looks keys up at random among three million in the last level, and as many that are not there.
func BenchmarkGet(b *testing.B) {
	const n = 3_000_000
	for _, cache := range []int64{8 << 20, 512 << 20} {
		s := openBench(b, cache)
		fill(b, s, n, 64, 1)
		for _, miss := range []bool{false, true} {
			b.Run(fmt.Sprintf("cache=%dMiB/miss=%t", cache>>20, miss), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				var key, buf []byte
				for b.Loop() {
					p, k := benchKey(r.IntN(n), n, key)
					if key = k; miss {
						p.Hash ^= 1
					}
					v, found, err := s.Get(p, k, buf[:0])
					if err != nil || found == miss {
						b.Fatal(found, err)
					}
					buf = v
				}
			})
		}
		runtime.GC()
		m := s.Metrics()
		b.Logf("%+v", m)
	}
}
