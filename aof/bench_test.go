package aof

import (
	"fmt"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
)

// BenchmarkStoreLogs appends entries of 4 KiB, one per call, from several shards at once, on a real disk.
func BenchmarkStoreLogs(b *testing.B) {
	for _, policy := range []SyncPolicy{Always, EverySec} {
		for _, shards := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/shards=%d", policy, shards), func(b *testing.B) {
				l := mustOpen(b, Options{Dir: b.TempDir(), Policy: policy})
				defer l.Close()
				l.settle()
				data := entry(29, 1).Data[:4000]
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				b.ResetTimer()
				var writers sync.WaitGroup
				for shard := range shards {
					writers.Go(func() { storeMany(b, l.Shard(uint64(shard)), data, (b.N+shard)/shards) })
				}
				writers.Wait()
				st := l.Stats()
				b.ReportMetric(float64(st.Syncs)/float64(b.N), "syncs/op")
			})
		}
	}
}

// storeMany appends n entries, one per call, and cuts now and then.
func storeMany(b *testing.B, s *ShardLog, data []byte, n int) {
	log := &raft.Log{Term: 1, Data: data}
	logs := []*raft.Log{log}
	for range n {
		log.Index++
		if err := s.StoreLogs(logs); err != nil {
			b.Error(err)
			return
		}
		if log.Index%5000 == 0 {
			if err := s.CutBelow(log.Index); err != nil {
				b.Error(err)
			}
		}
	}
}

// BenchmarkOpenNew makes a log in an empty folder.
func BenchmarkOpenNew(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		b.StartTimer()
		l := mustOpen(b, Options{Dir: dir})
		b.StopTimer()
		must(b, l.Close())
		b.StartTimer()
	}
}

// BenchmarkGetLog reads entries of a few hundred bytes.
func BenchmarkGetLog(b *testing.B) {
	l := mustOpen(b, Options{Dir: b.TempDir(), Policy: No})
	defer l.Close()
	s := l.Shard(1)
	must(b, s.StoreLogs(batch(1, 1000, 1)))
	b.ReportAllocs()
	var log raft.Log
	for index := uint64(1); b.Loop(); index = index%1000 + 1 {
		must(b, s.GetLog(index, &log))
	}
}
