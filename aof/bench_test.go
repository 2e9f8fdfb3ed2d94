package aof

import (
	"fmt"
	"sync/atomic"
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
				var ids atomic.Uint64
				data := entry(29, 1).Data[:4000]
				b.SetBytes(int64(len(data)))
				b.SetParallelism(max(1, shards/2))
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					id := ids.Add(1)
					s := l.Shard(id)
					log := &raft.Log{Term: 1, Data: data}
					logs := []*raft.Log{log}
					for pb.Next() {
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
				})
				st := l.Stats()
				b.ReportMetric(float64(st.Syncs)/float64(b.N), "syncs/op")
			})
		}
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
