package command

import (
	"fmt"
	"strings"
	"testing"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// call runs one command on the space and drops its reply.
func (s *space) call(args [][]byte) {
	row, mode := Lookup(args[0]), keyspace.Reading
	if row.Flags&Write != 0 {
		mode = keyspace.Writing
	}
	s.run(mode, 1_700_000_000_000, 0, func(tx *keyspace.Tx) { row.Do(tx, args, reply.Discard) })
}

func arguments(line string) (args [][]byte) {
	for _, word := range strings.Fields(line) {
		args = append(args, []byte(word))
	}
	return args
}

// fillZSet makes key a sorted set of n members whose scores are not in the order of their names.
func (s *space) fillZSet(key string, from, n int) {
	for i := from; i < from+n; i++ {
		s.call(arguments(fmt.Sprintf("ZADD %s %d member:%d", key, i*7919%100_003, i)))
	}
}

func TestSingleMembersDoNotAllocate(t *testing.T) {
	s := newSpace(t)
	s.fillZSet("small", 0, 100)
	s.fillZSet("large", 0, 1000)
	for _, key := range []string{"small", "large"} {
		for _, line := range []string{"ZADD %s 17 member:50", "ZSCORE %s member:50", "ZRANK %s member:50", "ZCOUNT %s 10 (5000"} {
			args := arguments(fmt.Sprintf(line, key))
			if n := testing.AllocsPerRun(100, func() { s.call(args) }); n != 0 {
				t.Errorf(line+": %v allocations", key, n)
			}
		}
	}
}

func BenchmarkZSets(b *testing.B) {
	for _, size := range []int{100, 100_000} {
		s := newSpace(b)
		s.fillZSet("z", 0, size)
		for _, line := range []string{
			"ZSCORE z member:50", "ZRANK z member:50", "ZADD z 17 member:50", "ZINCRBY z 1 member:50", "ZCOUNT z 10 5000", "ZRANGE z 40 49",
			"ZREVRANGE z 40 49 WITHSCORES", "ZRANGEBYSCORE z 40 +inf LIMIT 0 10",
		} {
			args := arguments(line)
			b.Run(fmt.Sprintf("%d/%s", size, strings.Fields(line)[0]), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.call(args)
				}
			})
		}
	}
}

func BenchmarkZStore(b *testing.B) {
	s := newSpace(b)
	s.fillZSet("a", 0, 100_000)
	s.fillZSet("b", 50_000, 100_000)
	for _, line := range []string{"ZUNIONSTORE d 2 a b", "ZINTERSTORE d 2 a b", "ZDIFFSTORE d 2 a b", "ZRANGESTORE d a 0 -1", "ZINTERCARD 2 a b", "ZUNION 2 a b", "ZINTER 2 a b"} {
		args := arguments(line)
		b.Run(strings.Fields(line)[0], func(b *testing.B) {
			for b.Loop() {
				s.call(args)
			}
		})
	}
}
