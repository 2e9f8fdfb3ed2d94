package command

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

func TestHashesTable(t *testing.T) { newOracle(t).Table("hashes.txt") }

// doPairs is Do for HGETALL and its kin, where Redis leaves the order of pairs open.
func (o *oracle) doPairs(args ...string) {
	o.t.Helper()
	ours, theirs := o.Ours(args...), o.Theirs(args...)
	if ours[:strings.IndexByte(ours, '\n')] != theirs[:strings.IndexByte(theirs, '\n')] ||
		!slices.Equal(sortedPairs(o.leaves(ours)), sortedPairs(o.leaves(theirs))) {
		o.t.Errorf("RESP%d %s (pairs in any order)\n ours   %s\n theirs %s",
			o.proto, quoteArgs(args), shorten(ours), shorten(theirs))
	}
}

func sortedPairs(leaves []string) (pairs []string) {
	for i := 0; i+1 < len(leaves); i += 2 {
		pairs = append(pairs, fmt.Sprintf("%q %q", leaves[i], leaves[i+1]))
	}
	slices.Sort(pairs)
	return pairs
}

// leaves is the strings in a reply of either protocol, one after the other, however they are nested.
func (o *oracle) leaves(reply string) (leaves []string) {
	for len(reply) > 0 {
		line, rest, _ := strings.Cut(reply, "\r\n")
		reply = rest
		if line[0] != '$' {
			continue
		}
		n, err := strconv.Atoi(line[1:])
		if err != nil {
			o.t.Fatalf("bad length %q", line)
		}
		if n >= 0 {
			leaves, reply = append(leaves, rest[:n]), rest[n+2:]
		}
	}
	return leaves
}

// encoding compares what OBJECT ENCODING says where the thresholds are those that we store by, and returns it.
func (o *oracle) encoding(key string) (name string) {
	o.t.Helper()
	o.space.write(time.Now().UnixMilli(), o.db, func(tx *keyspace.Tx) {
		if e, ok := tx.Peek(o.db, []byte(key)); ok {
			name = encodingName(tx, o.db, []byte(key), e, storedThresholds)
		}
	})
	if theirs := strings.Join(o.leaves(o.Theirs("OBJECT", "ENCODING", key)), ""); theirs != name {
		o.t.Errorf("%s is %s, theirs %s", key, name, theirs)
	}
	return name
}

// compareHash compares a hash: its layout, and its contents, which have an order only while they are few.
func (o *oracle) compareHash(key string) {
	o.t.Helper()
	o.Do("TYPE", key)
	o.Do("HLEN", key)
	o.CompareKey(key)
	if o.encoding(key) != "hashtable" {
		o.Do("HGETALL", key)
		o.Do("HKEYS", key)
		o.Do("HVALS", key)
		return
	}
	o.doPairs("HGETALL", key)
	o.DoSet("HKEYS", key)
	o.DoSet("HVALS", key)
}

// Both sides of every bound between Redis's layouts, and back: a hash that has grown stays what it has become.
func TestHashBounds(t *testing.T) {
	o := newOracle(t)
	long := strings.Repeat("x", 64)
	for _, n := range []int{511, 512, 513, 900} {
		o.Do("DEL", "h")
		for i := range n {
			o.Do("HSET", "h", "f"+strconv.Itoa(i), strconv.Itoa(i))
		}
		o.compareHash("h")
		for i := 1; i < n; i++ {
			o.Do("HDEL", "h", "f"+strconv.Itoa(i))
		}
		o.compareHash("h")
	}
	for _, line := range []string{
		"HSET h " + long + " v", "HSET h f " + long, "HSET h " + long + "x v", "HSET h f " + long + "x",
		"HMSET h a 1 f " + long + "x b 2", "HSETNX h f " + long, "HSETNX h f " + long + "x", "HSETNX h " + long + "x f",
		"HSETNX h g " + long + "x", "HINCRBY h " + long + "x 1", "HINCRBYFLOAT h " + long + "x 1.5", "HINCRBYFLOAT h f 1e70",
	} {
		o.Lines("DEL h\nHSET h f 1\n" + line)
		o.compareHash("h")
		if t.Failed() {
			t.Fatal(line)
		}
		o.Lines("HSET h f 1\nHDEL h g")
		o.compareHash("h")
	}
}

// A long random stream over a few hashes of all sizes, which are cold now and then.
func TestHashesRandom(t *testing.T) {
	o := newOracle(t)
	r := rand.New(rand.NewPCG(7, 8))
	for i := range 6_000 {
		if i%50 == 0 {
			o.RESP(2 + r.IntN(2))
		}
		if i%400 == 0 {
			o.space.chill()
		}
		key := r.IntN(6)
		randomHashStep(o, r, fmt.Sprintf("k%d", key), []int{5, 40, 140, 140, 600, 4000}[key])
		if t.Failed() {
			t.Fatalf("step %d", i)
		}
	}
	for i := range 6 {
		o.compareHash(fmt.Sprintf("k%d", i))
	}
}

// randomHashStep does something with the hash k, whose fields are among so many.
func randomHashStep(o *oracle, r *rand.Rand, k string, fields int) {
	field := func() string { return randomHashField(r, fields) }
	several := func(args ...string) []string {
		for range 1 + r.IntN(5) {
			args = append(args, field())
		}
		return args
	}
	switch r.IntN(26) {
	case 0, 1, 2, 3:
		n := 1 + r.IntN(4)
		if r.IntN(4) == 0 {
			n = 1 + r.IntN(fields/3+1)
		}
		args := []string{[]string{"HSET", "HMSET"}[r.IntN(2)], k}
		for range n {
			args = append(args, field(), randomFieldValue(r))
		}
		o.Do(args...)
	case 4:
		o.Do("HSETNX", k, field(), randomFieldValue(r))
	case 5:
		o.Do("HGET", k, field())
	case 6:
		o.Do(several("HMGET", k)...)
	case 7:
		o.Do("HEXISTS", k, field())
	case 8:
		o.Do("HSTRLEN", k, field())
	case 9, 10, 11:
		o.Do(several("HDEL", k)...)
	case 12:
		n := r.IntN(fields)
		args := []string{"HDEL", k, field()}
		for i := range n {
			args = append(args, "f"+strconv.Itoa(i))
		}
		o.Do(args...)
	case 13, 14:
		o.Do("HINCRBY", k, field(), []string{"1", "-7", "9223372036854775807", "x"}[r.IntN(4)])
	case 15, 16:
		o.Do("HINCRBYFLOAT", k, field(), randomFloat(r))
	case 17, 18:
		o.drawFields(k, r.IntN(2*fields)-fields, r.IntN(2) == 0)
	case 19:
		o.scanAll(r, "HSCAN", k)
	case 20, 21:
		o.compareHash(k)
	case 22:
		o.Do("EXPIRE", k, "100000")
	case 23:
		if r.IntN(5) == 0 {
			o.Do("DEL", k)
		}
	default:
		o.encoding(k)
	}
}

func randomHashField(r *rand.Rand, n int) string {
	if r.IntN(2000) == 0 {
		return strings.Repeat("F", 63+r.IntN(3))
	}
	return "f" + strconv.Itoa(r.IntN(n))
}

func randomFieldValue(r *rand.Rand) string {
	if r.IntN(400) == 0 {
		return randomOf(r, "ab\x00\xff", 60+r.IntN(10))
	}
	switch r.IntN(12) {
	case 0:
		return randomOf(r, "ab\x00\xff", r.IntN(64))
	case 1:
		return strconv.FormatFloat(r.NormFloat64()*100, 'f', r.IntN(6), 64)
	case 2:
		return ""
	default:
		return strconv.FormatInt(int64(r.Uint64())>>r.IntN(64), 10)
	}
}

// drawFields checks that HRANDFIELD draws as many as Redis does, fields with their values, and none twice unless that is
// asked for.
func (o *oracle) drawFields(k string, count int, withValues bool) {
	o.t.Helper()
	args := []string{"HRANDFIELD", k, strconv.Itoa(count)}
	each := 1
	if withValues {
		args, each = append(args, "WITHVALUES"), 2
	}
	ours, theirs := o.Ours(args...), o.Theirs(args...)
	if frame(ours) != frame(theirs) {
		o.t.Errorf("RESP%d %s\n ours   %s\n theirs %s", o.proto, quoteArgs(args), shorten(ours), shorten(theirs))
		return
	}
	all := o.leaves(o.Theirs("HGETALL", k))
	held := map[string]string{}
	for i := 0; i < len(all); i += 2 {
		held[all[i]] = all[i+1]
	}
	drawn := map[string]bool{}
	leaves := o.leaves(ours)
	for i := 0; i < len(leaves); i += each {
		field := leaves[i]
		val, ok := held[field]
		if !ok || withValues && val != leaves[i+1] || count > 0 && drawn[field] {
			o.t.Errorf("%s: %q is drawn wrongly: %s", quoteArgs(args), field, shorten(ours))
		}
		drawn[field] = true
	}
}

// frame is the beginning of a reply up to its first string.
func frame(reply string) string {
	if strings.HasPrefix(reply, "$-1") {
		return reply
	}
	before, _, _ := strings.Cut(reply, "$")
	return before
}

// scanAll walks a collection from end to end: what is there throughout comes exactly once, whatever else is added
// meanwhile.
func (o *oracle) scanAll(r *rand.Rand, command, k string) {
	o.t.Helper()
	whole, each := []string{"SMEMBERS", k}, 1
	if command == "HSCAN" {
		whole, each = []string{"HGETALL", k}, 2
	}
	all := o.leaves(o.Theirs(whole...))
	left := map[string]string{}
	for i := 0; i < len(all); i += each {
		left[all[i]] = all[i+each-1]
	}
	count := strconv.Itoa(1 + r.IntN(50))
	for cursor := "0"; ; {
		leaves := o.leaves(o.Ours(command, k, cursor, "COUNT", count))
		cursor = leaves[0]
		for i := 1; i < len(leaves); i += each {
			val, ok := left[leaves[i]]
			added := strings.HasPrefix(leaves[i], "added:")
			if !added && (!ok || val != leaves[i+each-1]) {
				o.t.Errorf("%s %s COUNT %s: %q came twice or is wrong", command, k, count, leaves[i])
			}
			delete(left, leaves[i])
		}
		if cursor == "0" {
			break
		}
		if name := "added:" + strconv.Itoa(r.IntN(100)); command == "HSCAN" {
			o.Do("HSET", k, name, "1")
		} else {
			o.Do("SADD", k, name)
		}
	}
	for name := range left {
		if !strings.HasPrefix(name, "added:") {
			o.t.Errorf("%s %s COUNT %s: %q did not come", command, k, count, name)
		}
	}
}

// TestDrawsAreEven draws many times from a small and from a large collection and looks at how often each came: the
// chance that a fair draw strays so far is below one in a million, and the seeds are fixed.
func TestDrawsAreEven(t *testing.T) {
	o := newOracle(t)
	for _, n := range []int{10, 300} {
		for i := range n {
			o.Ours("HSET", "h", strconv.Itoa(i), "v")
			o.Ours("SADD", "s", "m"+strconv.Itoa(i))
		}
		for _, c := range []struct {
			args   []string
			rounds int
			drawn  int
		}{
			{[]string{"HRANDFIELD", "h"}, 200 * n, 1},
			{[]string{"HRANDFIELD", "h", "-7"}, 30 * n, 7},
			{[]string{"HRANDFIELD", "h", strconv.Itoa(n / 5)}, 1000, n / 5},
			{[]string{"HRANDFIELD", "h", strconv.Itoa(n / 2)}, 400, n / 2},
			{[]string{"SRANDMEMBER", "s"}, 200 * n, 1},
			{[]string{"SRANDMEMBER", "s", "-7"}, 30 * n, 7},
			{[]string{"SRANDMEMBER", "s", strconv.Itoa(n / 5)}, 1000, n / 5},
			{[]string{"SRANDMEMBER", "s", strconv.Itoa(n / 2)}, 400, n / 2},
		} {
			times := map[string]int{}
			for range c.rounds {
				for _, name := range o.leaves(o.Ours(c.args...)) {
					times[name]++
				}
			}
			expected := c.rounds * c.drawn / n
			for name, came := range times {
				if came < expected/2 || came > expected*3/2 {
					t.Errorf("%d: %s drew %q %d times, expected about %d", n, quoteArgs(c.args), name, came, expected)
				}
			}
			if len(times) != n {
				t.Errorf("%s drew %d of %d", quoteArgs(c.args), len(times), n)
			}
		}
	}
}

// TestRepeatsAreBounded: what may repeat is bounded by nothing but this.
func TestRepeatsAreBounded(t *testing.T) {
	o := newOracle(t)
	o.Lines("HSET h f v\nSADD s m")
	for _, args := range [][]string{{"HRANDFIELD", "h"}, {"SRANDMEMBER", "s"}} {
		for _, count := range []string{strconv.Itoa(-mostRepeats - 1), "-9223372036854775807"} {
			if got := o.Ours(append(args, count)...); got != "-ERR value is out of range\r\n" {
				t.Errorf("%s %s: %s", args, count, shorten(got))
			}
		}
		if got := o.Ours(append(args, strconv.Itoa(-mostRepeats))...); !strings.HasPrefix(got, "*"+strconv.Itoa(mostRepeats)+"\r\n") {
			t.Errorf("%s: %s", args, shorten(got))
		}
	}
}

// The hot commands on small collections, and the reading ones on large collections, must not allocate.
func TestHotCollectionsDoNotAllocate(t *testing.T) {
	s := newSpace(t)
	s.write(1, 0, func(tx *keyspace.Tx) {
		for i := range 1000 {
			hSet(tx, splitBytes(fmt.Sprintf("HSET big f%d v", i)), reply.Discard)
			sAdd(tx, splitBytes(fmt.Sprintf("SADD bigset m%d", i)), reply.Discard)
			tx.Again(keyspace.Writing, 0)
		}
		hSet(tx, splitBytes("HSET small a 1 b 2 c 3"), reply.Discard)
		sAdd(tx, splitBytes("SADD set a b c"), reply.Discard)
		sAdd(tx, splitBytes("SADD ints 1 2 3"), reply.Discard)
	})
	for _, line := range []string{
		"HSET small b 5", "HGET small b", "HMGET small a c", "HINCRBY small a 1", "HGETALL small", "HLEN small", "HRANDFIELD small",
		"HSET big f7 w", "HGET big f7", "HINCRBY big count 1", "SADD set b", "SISMEMBER set c", "SISMEMBER ints 2", "SADD ints 3",
		"SADD bigset m7", "SISMEMBER bigset m7", "SRANDMEMBER bigset", "SCARD set",
	} {
		args := splitBytes(line)
		row := Lookup(args[0])
		s.write(1, 0, func(tx *keyspace.Tx) {
			n := testing.AllocsPerRun(100, func() {
				tx.Again(keyspace.Writing, 0)
				row.Do(tx, args, reply.Discard)
			})
			if n > 0 {
				t.Errorf("%s allocates %v times", line, n)
			}
		})
	}
}
