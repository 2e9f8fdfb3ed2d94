package command

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/larder-db/larder/engine/value/collection"
)

// TestLongStringsAgainstRedis: strings that grow beyond what one entry holds answer as they do in Redis, warm and cold.
func TestLongStringsAgainstRedis(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(5, 5))
	near := func() int { return collection.LargeString - 3000 + r.IntN(40000) }
	part := func() string { return strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(20000)) }
	keys := []string{"a", "{a}b", "c"}
	for i := range 250 {
		key, other := keys[r.IntN(3)], keys[r.IntN(3)]
		at := strconv.Itoa(near())
		switch r.IntN(19) {
		case 0:
			o.Do("SET", key, strings.Repeat("x", near()))
		case 1, 2, 3:
			o.Do("APPEND", key, part())
		case 4, 5:
			o.Do("SETRANGE", key, at, part())
		case 6:
			o.Do("SETBIT", key, strconv.Itoa(near()*8+r.IntN(8)), "1")
		case 7:
			o.Do("GETBIT", key, strconv.Itoa(near()*8+r.IntN(8)))
		case 8, 9:
			o.Do("GETRANGE", key, at, strconv.Itoa(near()))
		case 10:
			o.Do("BITFIELD", key, "INCRBY", "u13", strconv.Itoa(near()*8+3), "77", "GET", "i64", strconv.Itoa(near()*8), "OVERFLOW", "FAIL", "SET", "u2", "#9", "9")
		case 11:
			o.Do("BITCOUNT", key, "-30000", "-1")
		case 12:
			o.Do("RENAME", key, other)
		case 13:
			o.Do("COPY", key, other, "REPLACE")
		case 14:
			o.Do("STRLEN", key)
			o.Do("OBJECT", "ENCODING", key)
		case 15:
			o.Do("BITOP", "XOR", "c", key, other)
		case 16:
			o.Do("GETSET", key, part())
		case 17:
			if r.IntN(4) == 0 {
				o.Do("DEL", key)
			}
		case 18:
			o.Do("EXPIRE", key, "100000")
		}
		if i%10 == 0 {
			o.space.chill()
		}
		if i%25 == 0 {
			o.Do("GET", key)
			o.Do(append([]string{"MGET"}, keys...)...)
			o.CompareKey(key)
		}
	}
}
