package engine

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/reply"
)

// benchMembers is how many members the collections of the benchmarks have.
const benchMembers = 1 << 17

// spread writes the i-th of a spread sequence of members, 16 bytes long.
func spread(b []byte, i uint64) {
	i = i * 0x9e3779b97f4a7c15 >> 44
	copy(b, "member:000000000")
	for j := len(b) - 1; j >= 7; j-- {
		b[j] = byte('0' + i%10)
		i /= 10
	}
}

// collectionBench is a command, and which of its arguments are members or numbers below benchMembers.
type collectionBench struct {
	args    []string
	members []int
	numbers []int
	of      int // of a read: which of benchWrites fills what it reads
}

var (
	benchWrites = []collectionBench{
		{args: []string{"HSET", "h", "", ""}, members: []int{2, 3}},
		{args: []string{"SADD", "s", ""}, members: []int{2}},
		{args: []string{"ZADD", "z", "", ""}, members: []int{3}, numbers: []int{2}},
		{args: []string{"RPUSH", "l", ""}, members: []int{2}},
		{args: []string{"LPUSH", "l", ""}, members: []int{2}},
	}
	benchReads = []collectionBench{
		{args: []string{"HGET", "h", ""}, members: []int{2}},
		{args: []string{"SISMEMBER", "s", ""}, members: []int{2}, of: 1},
		{args: []string{"ZSCORE", "z", ""}, members: []int{2}, of: 2},
		{args: []string{"ZRANGE", "z", "77777", "77786"}, of: 2},
		{args: []string{"LINDEX", "l", ""}, numbers: []int{2}, of: 3},
	}
)

func (c *collectionBench) prepare() [][]byte {
	args := byteArgs(c.args...)
	for _, i := range c.members {
		args[i] = make([]byte, 16)
	}
	return args
}

func (c *collectionBench) fill(args [][]byte, i uint64) {
	for _, at := range c.members {
		spread(args[at], i)
	}
	for _, at := range c.numbers {
		args[at] = fmt.Append(args[at][:0], i*0x9e3779b97f4a7c15>>44)
	}
}

// writeBench applies n commands in batches.
func (e *testEngine) writeBench(b *testing.B, c *collectionBench, n int) {
	row, args := lookup(c.args[0]), c.prepare()
	batch := Batch{Replies: silent{}}
	for i := range n {
		c.fill(args, uint64(i))
		batch.AddWrite(row, 0, args)
		if batch.Writes() == benchBatch || i == n-1 {
			e.index++
			if err := e.Apply(e.index, 1, batch.Seal(Header{Clock: 1}), &batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset(1 << 20)
		}
	}
}

// BenchmarkCollectionWrite changes collections of a million members.
func BenchmarkCollectionWrite(b *testing.B) {
	for _, c := range benchWrites {
		b.Run(c.args[0], func(b *testing.B) {
			e := openTest(b, vfs.NewMem())
			defer e.close()
			e.writeBench(b, &c, benchMembers)
			b.ReportAllocs()
			b.ResetTimer()
			e.writeBench(b, &c, b.N)
		})
	}
}

// BenchmarkCollectionRead reads from collections of a million members.
func BenchmarkCollectionRead(b *testing.B) {
	for _, c := range benchReads {
		b.Run(c.args[0], func(b *testing.B) {
			e := openTest(b, vfs.NewMem())
			defer e.close()
			e.writeBench(b, &benchWrites[c.of], benchMembers)
			row, args := lookup(c.args[0]), c.prepare()
			r := e.NewReader()
			r.Begin(1, 1)
			defer r.End()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				c.fill(args, uint64(i))
				if outcome, err := r.Do(row, 0, args, reply.Discard); outcome != Answered || err != nil {
					b.Fatal(outcome, err)
				}
			}
		})
	}
}

// BenchmarkCollectionMemory reports the growth of resident size per member of 16 bytes.
func BenchmarkCollectionMemory(b *testing.B) {
	for _, c := range benchWrites {
		b.Run(c.args[0], func(b *testing.B) {
			for b.Loop() {
				e := openTest(b, vfs.NewMem())
				runtime.GC()
				before := residentSize(b)
				e.writeBench(b, &c, benchMembers)
				runtime.GC()
				b.ReportMetric(float64(e.Keys().Stats().Resident)/benchMembers, "arena/member")
				b.ReportMetric(float64(residentSize(b)-before)/benchMembers, "resident/member")
				e.close()
			}
		})
	}
}
