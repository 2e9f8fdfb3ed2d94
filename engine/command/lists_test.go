package command

import (
	"math"
	"strconv"
	"testing"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// TestElementRange compares with a walk over all places.
func TestElementRange(t *testing.T) {
	const n = 4
	ends := []int64{math.MinInt64, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, math.MaxInt64}
	for _, first := range ends {
		for _, last := range ends {
			var want []int
			for i := range n {
				after := first <= int64(i) && first >= 0 || first < 0 && first <= int64(i-n)
				before := last >= int64(i) && last >= 0 || last < 0 && last >= int64(i-n)
				if after && before {
					want = append(want, i)
				}
			}
			from, to := elementRange(first, last, n)
			if to-from != len(want) || len(want) > 0 && from != want[0] {
				t.Errorf("%d to %d is %d to %d, not %v", first, last, from, to, want)
			}
		}
	}
	if from, to := elementRange(0, -1, 0); from != to {
		t.Errorf("an empty list has places %d to %d", from, to)
	}
}

func TestPushAndPopDoNotAllocate(t *testing.T) {
	s := newSpace(t)
	push := [][]byte{[]byte("LPUSH"), []byte("k"), []byte("element")}
	pop := [][]byte{[]byte("RPOP"), []byte("k")}
	for range 10_000 { // long enough to be a large list
		s.write(1, 0, func(tx *keyspace.Tx) { lPush(tx, push, reply.Discard) })
	}
	s.tx.Begin(s.keys, keyspace.Writing, 0, 1, 1)
	if n := testing.AllocsPerRun(1000, func() {
		s.tx.Again(keyspace.Writing, 0)
		lPush(&s.tx, push, reply.Discard)
		rPop(&s.tx, pop, reply.Discard)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// benchmarkList runs a command on a list of n elements.
func benchmarkList(b *testing.B, n int, do Handler, line ...string) {
	s := newSpace(b)
	push := [][]byte{[]byte("RPUSH"), []byte("k"), nil}
	for i := range n {
		push[2] = []byte("element:" + strconv.Itoa(i))
		s.write(1, 0, func(tx *keyspace.Tx) { rPush(tx, push, reply.Discard) })
	}
	var args [][]byte
	for _, word := range line {
		args = append(args, []byte(word))
	}
	s.tx.Begin(s.keys, keyspace.Writing, 0, 1, 1)
	b.ReportAllocs()
	for b.Loop() {
		s.tx.Again(keyspace.Writing, 0)
		do(&s.tx, args, reply.Discard)
	}
	if err := s.tx.Err(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkLists(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		size := strconv.Itoa(n)
		b.Run("LMOVE/"+size, func(b *testing.B) { benchmarkList(b, n, lMove, "LMOVE", "k", "k", "RIGHT", "LEFT") })
		b.Run("LINDEX/"+size, func(b *testing.B) { benchmarkList(b, n, lIndex, "LINDEX", "k", strconv.Itoa(n/2)) })
		b.Run("LRANGE/"+size, func(b *testing.B) {
			benchmarkList(b, n, lRange, "LRANGE", "k", strconv.Itoa(n/2), strconv.Itoa(n/2+99))
		})
		b.Run("LPOS/"+size, func(b *testing.B) { benchmarkList(b, n, lPos, "LPOS", "k", "nothing") })
		b.Run("SORT/"+size, func(b *testing.B) { benchmarkList(b, n, sortAny, "SORT", "k", "ALPHA", "DESC") })
		b.Run("LPUSH/"+size, func(b *testing.B) { benchmarkList(b, n, lPush, "LPUSH", "k", "element") })
	}
}
