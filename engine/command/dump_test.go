package command

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
)

var collectionKinds = []string{"list", "set", "hash", "zset"}

// forms is how many forms elements have.
const forms = 5

// Fill has redis-server make key a collection of n elements, and restores it on our side. form varies the elements.
func (o *oracle) Fill(key, kind string, n, form int) {
	o.t.Helper()
	o.FillTheirs(key, kind, n, form)
	if got := o.Ours("RESTORE", key, "0", o.dumped(key), "REPLACE"); got != "+OK\r\n" {
		o.t.Fatalf("%s of %d, form %d: RESTORE says %s", kind, n, form, shorten(got))
	}
}

// FillTheirs is Fill for redis-server alone.
func (o *oracle) FillTheirs(key, kind string, n, form int) {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(form)))
	element := func(i int) string {
		switch form % forms {
		case 0:
			return strconv.Itoa(i - n/2)
		case 1:
			return "element:" + strconv.Itoa(i)
		case 2:
			return strconv.Itoa(i) + strings.Repeat("x", rng.IntN(64))
		case 3:
			return strconv.FormatInt(int64(rng.Uint64()), 10)
		}
		return strconv.Itoa(i) + strings.Repeat("larder ", rng.IntN(20000)/n)
	}
	o.Theirs("DEL", key)
	verb := map[string]string{"list": "RPUSH", "set": "SADD", "hash": "HSET", "zset": "ZADD"}[kind]
	for from := 0; from < n; from += 500 {
		args := []string{verb, key}
		for i := from; i < min(n, from+500); i++ {
			switch kind {
			case "hash":
				args = append(args, element(i), element(i+n))
			case "zset":
				score := []float64{float64(i), -1.5 * float64(i), rng.NormFloat64(), 1e300 * rng.NormFloat64()}[i%4]
				args = append(args, strconv.FormatFloat(score, 'g', -1, 64), element(i))
			default:
				args = append(args, element(i))
			}
		}
		if got := o.Theirs(args...); got[0] != ':' {
			o.t.Fatalf("%s: %s", verb, got)
		}
	}
}

// dumped is what DUMP of redis-server gives.
func (o *oracle) dumped(key string) string { return o.bulk(o.Theirs("DUMP", key)) }

// bulk is the bytes of a bulk string reply.
func (o *oracle) bulk(reply string) string {
	o.t.Helper()
	at := strings.Index(reply, "\r\n")
	n, err := strconv.Atoi(reply[1:at])
	if reply[0] != '$' || err != nil || n < 0 {
		o.t.Fatalf("no bulk string: %s", shorten(reply))
	}
	return reply[at+2 : at+2+n]
}

// TestDumpsCrossOver takes collections of all kinds and sizes from redis-server to our side and back.
func TestDumpsCrossOver(t *testing.T) {
	o := newOracle(t)
	for _, kind := range collectionKinds {
		for _, n := range []int{1, 2, 127, 128, 129, 512, 513, 4000} {
			for form := range forms {
				name := fmt.Sprintf("%s:%d:%d", kind, n, form)
				o.Fill(name, kind, n, form)
				o.CompareKey(name)
				o.Do("OBJECT", "ENCODING", name)
				if got := o.Theirs("RESTORE", "back", "0", o.bulk(o.Ours("DUMP", name)), "REPLACE"); got != "+OK\r\n" {
					t.Fatalf("%s: redis-server's RESTORE says %s", name, shorten(got))
				}
				was, is := o.Theirs("DEBUG", "DIGEST-VALUE", name), o.Theirs("DEBUG", "DIGEST-VALUE", "back")
				if was != is {
					t.Errorf("%s: comes back as something else", name)
				}
				if was, is := o.Theirs("OBJECT", "ENCODING", name), o.Theirs("OBJECT", "ENCODING", "back"); was != is {
					t.Errorf("%s: comes back as %q, was %q", name, is, was)
				}
			}
		}
	}
}

// TestRestoreOptionsOnCollections: options, and payloads that are refused and change nothing.
func TestRestoreOptionsOnCollections(t *testing.T) {
	o := newOracle(t)
	for _, kind := range collectionKinds {
		o.FillTheirs("source", kind, 300, 1)
		payload := o.dumped("source")
		o.Do("RESTORE", "k", "0", payload)
		o.CompareKey("k")
		o.Do("RESTORE", "k", "0", payload)
		o.Do("RESTORE", "k", "100000", payload, "REPLACE")
		o.CompareKey("k")
		o.Do("RESTORE", "k", "1", payload, "REPLACE", "ABSTTL")
		o.Do("EXISTS", "k")
		o.Do("RESTORE", "k", "99999999999999", payload, "ABSTTL", "IDLETIME", "1000")
		o.CompareKey("k")
		o.DoNear(2, "OBJECT", "IDLETIME", "k")
		o.Do("RESTORE", "k", "0", payload, "REPLACE", "FREQ", "10")
		o.CompareKey("k")
		o.Do("SET", "k", "x")
		o.Do("RESTORE", "k", "0", payload, "REPLACE")
		o.CompareKey("k")
		broken := []byte(payload)
		broken[len(broken)/2] ^= 1
		o.Do("RESTORE", "k", "0", string(broken), "REPLACE")
		o.CompareKey("k")
		o.Do("RESTORE", "k", "0", payload[:len(payload)-1], "REPLACE")
		o.Do("DEL", "k")
	}
}

// TestKeyCommandsOnCollections renames, moves and copies collections, small and large.
func TestKeyCommandsOnCollections(t *testing.T) {
	o := newOracle(t)
	both := func(keys ...string) {
		t.Helper()
		for _, db := range []int{1, 0} {
			o.Select(db)
			for _, key := range keys {
				o.CompareKey(key)
			}
		}
	}
	for _, kind := range collectionKinds {
		for i, n := range []int{3, 1000} {
			o.Flush()
			o.Fill("a", kind, n, i)
			o.Fill("{a}taken", kind, 2*n, i)
			o.Lines(`TYPE a
				EXPIRE a 1000
				RENAME a {a}b
				RENAMENX {a}b {a}taken
				RENAMENX {a}b {a}c
				RENAME {a}c elsewhere
				COPY elsewhere {a}taken
				COPY elsewhere {a}taken REPLACE
				COPY elsewhere there DB 1
				COPY elsewhere there DB 1
				COPY elsewhere gone
				SET string x
				RENAME gone string
				MOVE string 1
				MOVE string 1
				COPY {a}taken a
				RENAME a {a}taken
				COPY {a}taken copy
				DEL {a}taken
				RENAME copy {a}taken`)
			both("a", "{a}b", "{a}c", "{a}taken", "elsewhere", "there", "string", "gone", "copy")
			if got := o.Ours("MEMORY", "USAGE", "elsewhere"); !strings.HasPrefix(got, ":") || got == ":0\r\n" {
				t.Errorf("MEMORY USAGE of a %s: %q", kind, got)
			}
		}
	}
}

// TestEncodingsByThreshold compares what is said under other thresholds than the stored ones with what redis-server says
// of content that came under them.
func TestEncodingsByThreshold(t *testing.T) {
	o := newOracle(t)
	for _, most := range []int64{0, 1, 5, 200, 600} {
		set := func(name string, n int64) { o.Theirs("CONFIG", "SET", name, strconv.FormatInt(n, 10)) }
		thresholds := Thresholds{HashEntries: most, HashValue: 10, ZSetEntries: most, ZSetValue: 10, SetIntegers: most}
		set("hash-max-listpack-entries", most)
		set("zset-max-listpack-entries", most)
		set("set-max-intset-entries", most)
		set("hash-max-listpack-value", 10)
		set("zset-max-listpack-value", 10)
		for _, kind := range collectionKinds {
			for _, n := range []int{1, 2, 5, 6, 150, 300, 700, 1100} {
				for form := range 4 {
					o.Fill("k", kind, n, form)
					w := &respWriter{proto: 2}
					o.space.read(time.Now().UnixMilli(), 0, func(tx *keyspace.Tx) {
						w.out = w.out[:0]
						ObjectEncoding(func() Thresholds { return thresholds })(tx, [][]byte{nil, nil, []byte("k")}, w)
					})
					if theirs := o.Theirs("OBJECT", "ENCODING", "k"); string(w.out) != theirs {
						t.Errorf("%s of %d, form %d, at most %d: ours %q, theirs %q", kind, n, form, most, w.out, theirs)
					}
				}
			}
		}
	}
}
