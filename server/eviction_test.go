package server

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

const oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n"

// small is as little memory as a server can have for data: about 8 MB.
var small = []string{"overflow no", "maxmemory 8mb", "appendfsync everysec"}

// info is one figure of INFO.
func (c *testClient) info(name string) int64 {
	c.t.Helper()
	n, err := strconv.ParseInt(infoFields(c.do("INFO", "everything"))[name], 10, 64)
	if err != nil {
		c.t.Fatalf("INFO's %s: %v", name, err)
	}
	return n
}

const fillValue = 1000

// fill sets keys prefix:from to prefix:to-1, with options, in pipelines. All must be accepted.
func (c *testClient) fill(prefix string, from, to int, options ...string) {
	c.t.Helper()
	value := strings.Repeat("v", fillValue)
	for at := from; at < to; {
		next := min(to, at+64)
		var b strings.Builder
		for i := at; i < next; i++ {
			b.WriteString(encode(append([]string{"SET", fmt.Sprintf("%s:%d", prefix, i), value}, options...)...))
		}
		c.send(b.String())
		for ; at < next; at++ {
			c.want("+OK\r\n")
		}
	}
}

// present counts which of the keys prefix:from to prefix:to-1 are there.
func (c *testClient) present(prefix string, from, to int) (n int) {
	c.t.Helper()
	for at := from; at < to; {
		next := min(to, at+256)
		var b strings.Builder
		for i := at; i < next; i++ {
			b.WriteString(encode("EXISTS", fmt.Sprintf("%s:%d", prefix, i)))
		}
		c.send(b.String())
		for ; at < next; at++ {
			if c.reply() == ":1\r\n" {
				n++
			}
		}
	}
	return n
}

// atRest has keys counted while nothing is evicted or loaded, again if something was.
func (ts *testServer) atRest(c *testClient, count func()) {
	ts.t.Helper()
	sh := ts.node.sole()
	rests := func() bool {
		return !sh.beyondLow() && !sh.runs(jobEvict) && !sh.runs(jobLoad) && sh.engine.Keys().AllWarm()
	}
	eventually(ts.t, "evictions rest", func() bool {
		if !rests() {
			return false
		}
		before := c.info("evicted_keys")
		count()
		return rests() && c.info("evicted_keys") == before
	})
}

// age moves the clock of uses on, which never goes back.
func (ts *testServer) age(rounds uint32) {
	ts.node.sole().engine.Keys().SetRecencyClock(1<<31 + 20*rounds)
}

func policy(name string, more ...string) []string {
	return append(append([]string{"maxmemory-policy " + name}, small...), more...)
}

func TestNoEviction(t *testing.T) {
	t.Parallel()
	ts := start(t, policy("noeviction")...)
	c := ts.dial()
	value := strings.Repeat("v", fillValue)
	n := 0
	for ; ; n++ {
		reply := c.do("SET", fmt.Sprintf("k:%d", n), value)
		if reply == oom {
			break
		}
		if reply != "+OK\r\n" || n > 20_000 {
			t.Fatalf("SET %d: %q", n, reply)
		}
	}
	if n < 6000 || n > 8200 {
		t.Errorf("%d keys of 1 KB fit into 8 MB", n)
	}
	for _, l := range []string{"SET k:0 x", "APPEND k:0 x", "INCR n", "SETRANGE k:0 0 a", "MSET a b"} {
		if got := c.do(strings.Fields(l)...); got != oom {
			t.Errorf("%s: %q", l, got)
		}
	}
	if got := c.present("k", 0, n); got != n {
		t.Errorf("%d of %d keys are there", got, n)
	}
	c.must("EXPIRE k:1 1000", ":1\r\n")
	if c.info("current_eviction_exceeded_time") < 0 || c.info("evicted_keys") != 0 {
		t.Error("INFO tells of evictions")
	}
	for i := range n / 4 { // DEL needs no room, and makes some
		c.must(fmt.Sprintf("DEL k:%d", i), ":1\r\n")
	}
	eventually(t, "there is room again", func() bool { return c.do("SET", "a", "b") == "+OK\r\n" })
	c.fill("m", 0, n/8)
	c.must("FLUSHALL", "+OK\r\n")
	c.fill("f", 0, n-n/10) // what was flushed takes no room, or is waited for
	c.must("CONFIG SET maxmemory 0", "+OK\r\n")
	c.fill("g", 0, n)
	if c.present("f", 0, n-n/10) != n-n/10 || c.present("g", 0, n) != n {
		t.Error("keys are missing")
	}
}

// TestAllKeysPolicies: what is used stays, everything is accepted, memory stays within its bound, and the data is the same
// after a restart, since evictions are in the log.
func TestAllKeysPolicies(t *testing.T) {
	for _, name := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ts := start(t, policy(name, "enable-debug-command yes", "lfu-log-factor 0")...) // 0: every use counts
			c := ts.dial()
			ts.age(0)
			const hot, rounds, each = 1000, 8, 4000
			c.fill("hot", 0, hot)
			for range 5 {
				c.present("hot", 0, hot)
				c.touch("hot", 0, hot)
			}
			for r := range rounds {
				ts.age(uint32(r + 1))
				c.touch("hot", 0, hot)
				c.fill("cold", r*each, (r+1)*each)
			}
			kept, total := 0, 0
			ts.atRest(c, func() {
				kept = c.present("hot", 0, hot)
				total = kept + c.present("cold", 0, rounds*each)
			})
			if name == "allkeys-random" && kept > hot/2 || name != "allkeys-random" && kept < hot*95/100 {
				t.Errorf("%d of %d keys in use are left", kept, hot)
			}
			if total < 5000 || total > 8200 {
				t.Errorf("%d keys are left", total)
			}
			eventually(t, "the data is within its bound", func() bool { return c.info("current_eviction_exceeded_time") == 0 })
			if got := c.info("evicted_keys"); got != int64(hot+rounds*each-total) {
				t.Errorf("evicted_keys is %d, but %d are gone", got, hot+rounds*each-total)
			}
			if got := c.do("DBSIZE"); got != fmt.Sprintf(":%d\r\n", total) {
				t.Errorf("DBSIZE %q of %d keys", got, total)
			}
			digest := c.do("DEBUG", "DIGEST")
			c.must("DEBUG RELOAD", "+OK\r\n")
			if got := c.do("DEBUG", "DIGEST"); got != digest {
				t.Errorf("the digest was %q and is %q after a reload", digest, got)
			}
			eventually(t, "all is loaded again", func() bool { return ts.node.sole().engine.Keys().AllWarm() })
			c.must("CONFIG RESETSTAT", "+OK\r\n")
			if got := c.info("evicted_keys"); got != 0 {
				t.Errorf("evicted_keys is %d after a reset", got)
			}
		})
	}
}

// touch reads keys.
func (c *testClient) touch(prefix string, from, to int) {
	c.t.Helper()
	for at := from; at < to; {
		next := min(to, at+256)
		var b strings.Builder
		for i := at; i < next; i++ {
			b.WriteString(encode("GET", fmt.Sprintf("%s:%d", prefix, i)))
		}
		c.send(b.String())
		for ; at < next; at++ {
			c.reply()
		}
	}
}

// TestVolatilePolicies: keys without a time to live are never touched; when only such are left, writes are refused.
func TestVolatilePolicies(t *testing.T) {
	for _, name := range []string{"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ts := start(t, policy(name, "enable-debug-command yes")...)
			c := ts.dial()
			ts.age(0)
			const plain, hot, each, rounds = 3000, 500, 2000, 8
			c.fill("plain", 0, plain)
			c.fill("hot", 0, hot, "EX", "100000") // ends last
			for r := range rounds {
				ts.age(uint32(r + 1))
				c.touch("hot", 0, hot)
				c.fill("cold", r*each, (r+1)*each, "EX", strconv.Itoa(1000*(r+1)))
			}
			if got := c.present("plain", 0, plain); got != plain {
				t.Errorf("%d of %d keys without a time to live are left", got, plain)
			}
			kept := c.present("hot", 0, hot)
			if name != "volatile-random" && kept < hot*95/100 {
				t.Errorf("%d of %d keys that others go before are left", kept, hot)
			}
			if name == "volatile-ttl" {
				if first, last := c.present("cold", 0, each), c.present("cold", (rounds-1)*each, rounds*each); first > each/20 || last < each/2 {
					t.Errorf("of those that end first %d are left, of those that end last %d", first, last)
				}
			}
			value := strings.Repeat("v", fillValue)
			n := 0
			for ; n < 20_000; n++ {
				if reply := c.do("SET", fmt.Sprintf("more:%d", n), value); reply == oom {
					break
				} else if reply != "+OK\r\n" {
					t.Fatalf("%q", reply)
				}
			}
			if left := c.present("cold", 0, rounds*each) + c.present("hot", 0, hot); n == 20_000 || left != 0 {
				t.Errorf("%d keys without a time to live were taken, %d with one are left", n, left)
			}
			if got := c.present("plain", 0, plain) + c.present("more", 0, n); got != plain+n {
				t.Errorf("%d of %d keys without a time to live are left", got, plain+n)
			}
			c.must("EXPIRE plain:0 1000", ":1\r\n")
			for i := 1; i < 400; i++ {
				c.must(fmt.Sprintf("EXPIRE plain:%d 1000", i), ":1\r\n")
			}
			eventually(t, "there is something to evict again", func() bool { return c.do("SET", "a", value) == "+OK\r\n" })
		})
	}
}

// TestEvictionIsChosenAtRunTime switches a full server from one policy to another, and back to data on disk.
func TestEvictionIsChosenAtRunTime(t *testing.T) {
	t.Parallel()
	ts := start(t, "maxmemory 8mb", "appendfsync everysec")
	c := ts.dial()
	c.fill("k", 0, 12_000)
	if got := c.present("k", 0, 12_000); got != 12_000 {
		t.Fatalf("with overflow yes %d keys are there", got)
	}
	c.must("CONFIG SET overflow no", "+OK\r\n")
	eventually(t, "with more data than memory writes are refused", func() bool { return c.do("SETRANGE", "k:0", "0", "v") == oom })
	c.must("GET k:0", bulk(strings.Repeat("v", fillValue)))
	c.must("CONFIG SET maxmemory-policy allkeys-lru", "+OK\r\n")
	eventually(t, "all that is left is in memory", func() bool {
		return ts.node.sole().engine.Keys().AllWarm() && c.info("current_eviction_exceeded_time") == 0
	})
	left := 0
	ts.atRest(c, func() { left = c.present("k", 0, 12_000) })
	if gone := c.info("evicted_keys"); left+int(gone) != 12_000 || left < 5000 || left > 8200 {
		t.Errorf("%d keys are left, %d were evicted", left, gone)
	}
	c.must("SET a b", "+OK\r\n")
	c.must("CONFIG SET maxmemory 20mb maxmemory-policy volatile-lru", "+OK\r\n")
	before := c.info("evicted_keys")
	c.fill("m", 0, 4000)
	c.must("CONFIG SET overflow yes", "+OK\r\n")
	c.fill("n", 0, 12_000)
	if c.info("evicted_keys") != before || c.present("m", 0, 4000)+c.present("n", 0, 12_000) != 16_000 {
		t.Error("keys were evicted that the policy does not let go")
	}
}

// TestFrequencyIsRedis: with a log factor of 0 each use counts, so that both servers must show the same counters.
func TestFrequencyIsRedis(t *testing.T) {
	t.Parallel()
	theirs := startRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0", "--lfu-decay-time", "0").dial()
	ours := start(t, "maxmemory 100mb", "maxmemory-policy allkeys-lfu", "lfu-log-factor 0", "lfu-decay-time 0").dial()
	dump, before := "", ""
	for l := range strings.Lines(`
SET a 1
OBJECT FREQ a
OBJECT IDLETIME a
GET a
GET a
OBJECT FREQ a
STRLEN a
TTL a
TYPE a
EXISTS a
OBJECT FREQ a
TOUCH a
OBJECT FREQ a
SET a 2
OBJECT FREQ a
APPEND a xyz
OBJECT FREQ a
INCR n
INCR n
OBJECT FREQ n
EXPIRE a 1000
OBJECT FREQ a
PERSIST a
OBJECT FREQ a
SETRANGE a 1 q
OBJECT FREQ a
DEL a
SET a 3
OBJECT FREQ a
MGET a n
OBJECT FREQ a
COPY a c
OBJECT FREQ c
RENAME c b
OBJECT FREQ b
RPUSH l a b
RPUSH l c
OBJECT FREQ l
LRANGE l 0 -1
LLEN l
OBJECT FREQ l
HSET h a 1
HGET h a
OBJECT FREQ h
OBJECT FREQ a
DUMP a
RESTORE r 0 payload FREQ 77
OBJECT FREQ r
GET r
OBJECT FREQ r
RESTORE r 0 payload REPLACE FREQ 255
GET r
OBJECT FREQ r
RESTORE r 0 payload REPLACE FREQ 0
OBJECT FREQ r
RESTORE r 0 payload REPLACE IDLETIME 100
OBJECT FREQ r
RESTORE r 0 payload REPLACE
OBJECT FREQ r
CONFIG SET maxmemory-policy volatile-lfu
OBJECT FREQ r
CONFIG SET maxmemory-policy allkeys-lru
OBJECT FREQ r
SET i 1
OBJECT IDLETIME i
RESTORE i 0 payload REPLACE IDLETIME 1000
OBJECT IDLETIME i
RESTORE i 0 payload REPLACE FREQ 10
OBJECT IDLETIME i
RESTORE i 0 payload REPLACE IDLETIME 100000000
OBJECT IDLETIME i
GET i
OBJECT IDLETIME i
`) {
		words := strings.Fields(l)
		if len(words) == 0 {
			continue
		}
		for i := range words {
			if words[i] == "payload" {
				words[i] = dump
			}
		}
		want, got := theirs.do(words...), ours.do(words...)
		if words[0] == "DUMP" {
			dump = strings.SplitN(strings.TrimSuffix(want, "\r\n"), "\r\n", 2)[1]
		}
		if want != got && !nearly(words, want, got) {
			t.Errorf("%s behind %s: ours %q, theirs %q", strings.TrimSpace(l), before, got, want)
		}
		before = strings.TrimSpace(l)
	}
}

// nearly allows for a second that ended between both.
func nearly(words []string, want, got string) bool {
	return words[0] == "OBJECT" && words[1] == "IDLETIME" && integerReply([]byte(got))-integerReply([]byte(want)) <= 1 && integerReply([]byte(want))-integerReply([]byte(got)) <= 1
}

// TestOOMIsRedis asks a full redis-server.
func TestOOMIsRedis(t *testing.T) {
	t.Parallel()
	c := startRedis(t, "--maxmemory", "1", "--maxmemory-policy", "volatile-ttl").dial()
	c.must("SET a 1", oom)
	c.must("CONFIG SET maxmemory-policy noeviction", "+OK\r\n")
	c.must("SET a 1", oom)
}

// TestDiskBound: with data on disk, a policy keeps the whole of it below maxdisk, and noeviction refuses.
func TestDiskBound(t *testing.T) {
	t.Parallel()
	ts := start(t, "maxmemory 32mb", "maxdisk 64mb", "maxmemory-policy allkeys-lru", "appendfsync everysec", "save \"\"", "log-segment-size 1mb")
	c := ts.dial()
	random := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 4000)
	set := func(i int) string {
		for j := range value {
			value[j] = byte(random.Uint32())
		}
		return c.do("SET", fmt.Sprintf("k:%d", i), string(value))
	}
	n := 0
	eventually(t, "keys are evicted", func() bool {
		for range 200 {
			if reply := set(n); reply == "+OK\r\n" {
				n++
			} else if reply != oom {
				t.Fatalf("%q", reply)
			}
		}
		return c.info("evicted_keys") > 0
	})
	eventually(t, "the disk is within its bound", func() bool { return !ts.node.diskFull.Load() && set(n) == "+OK\r\n" })
	c.must("CONFIG SET maxmemory-policy noeviction", "+OK\r\n")
	gone := c.info("evicted_keys")
	for i := n + 1; ; i++ {
		if reply := set(i); reply == oom {
			break
		} else if reply != "+OK\r\n" || i > 40_000 {
			t.Fatalf("SET %d: %q", i, reply)
		}
	}
	if got := c.info("evicted_keys"); got > gone+evictMost { // an entry was under way
		t.Errorf("noeviction: %d keys were evicted", got-gone)
	}
}
