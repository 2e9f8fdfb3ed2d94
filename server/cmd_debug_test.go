package server

import (
	"strings"
	"testing"
)

// digestSteps changes strings, times to live and data bases in every way that a reload could get wrong. Each step's
// digest must be redis-server's, and stay what it is through RELOAD and LOADAOF.
var digestSteps = []string{
	"SET a 1\nSET b hello\nSET empty ",
	"SELECT 3\nSET c 70000\nSELECT 15\nSET d x\nPEXPIREAT d 99999999999999",
	"SELECT 0\nDEL a\nAPPEND b more\nSETBIT bits 100 1",
	"PEXPIREAT b 99999999999999\nSET e 1 PXAT 99999999999999\nPERSIST e",
	"SWAPDB 0 3\nSET f 1\nSELECT 15\nDEL d",
	"SELECT 3\nFLUSHDB\nSET a again",
	"SELECT 0\nRENAME c g\nMOVE g 7\nCOPY f h",
	"FLUSHALL",
	"SET last 1\nSELECT 9\nSET last 2",
}

func TestDigestIsRedisAndOutlivesReload(t *testing.T) {
	t.Parallel()
	theirs := startRedis(t, "--enable-debug-command", "yes").dial()
	ours := start(t, "enable-debug-command yes").dial()
	for i, step := range digestSteps {
		for l := range strings.Lines(step) {
			words := strings.Split(strings.TrimSuffix(l, "\n"), " ")
			if want, got := theirs.do(words...), ours.do(words...); want != got {
				t.Fatalf("%q: ours %q, theirs %q", words, got, want)
			}
		}
		want := theirs.do("DEBUG", "DIGEST")
		for _, after := range []string{"PING", "DEBUG LOADAOF", "DEBUG RELOAD", "DEBUG RELOAD NOSAVE", "DEBUG LOADAOF"} {
			if i%2 == 1 && after == "DEBUG RELOAD" {
				continue // so that the next step's LOADAOF replays more than one step
			}
			ours.do(strings.Fields(after)...)
			if got := ours.do("DEBUG", "DIGEST"); got != want {
				t.Fatalf("step %d, after %s: ours %q, theirs %q", i, after, got, want)
			}
		}
		values := []string{"DEBUG", "DIGEST-VALUE", "a", "b", "last", "none"}
		if want, got := theirs.do(values...), ours.do(values...); want != got {
			t.Fatalf("step %d: values: ours %q, theirs %q", i, got, want)
		}
	}
}

func TestShardDigests(t *testing.T) {
	t.Parallel()
	c := start(t, "enable-debug-command yes").dial()
	c.do("SET", "a", "1")
	digest := c.do("DEBUG", "DIGEST")
	if got, want := c.do("DEBUG", "LARDER-DIGESTS"), "*2\r\n:1\r\n"+digest; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestPopulateIsRedis compares what is made, in one piece and in several, over what is there.
func TestPopulateIsRedis(t *testing.T) {
	t.Parallel()
	theirs := startRedis(t, "--enable-debug-command", "yes").dial()
	ours := start(t, "enable-debug-command yes").dial()
	for _, l := range []string{
		"DEBUG POPULATE 0", "SET key:7 mine", "DEBUG POPULATE 10", "DEBUG POPULATE 2500", "SELECT 2",
		"DEBUG POPULATE 1001 p 3", "DEBUG POPULATE 30 big 100000", "DEBUG POPULATE 5 q 0",
	} {
		words := strings.Fields(l)
		if want, got := theirs.do(words...), ours.do(words...); want != got {
			t.Fatalf("%s: ours %q, theirs %q", l, got, want)
		}
		if want, got := theirs.do("DEBUG", "DIGEST"), ours.do("DEBUG", "DIGEST"); want != got {
			t.Fatalf("%s: digest ours %q, theirs %q", l, got, want)
		}
	}
	if got := ours.do("DEBUG", "POPULATE", "3", "huge", "600000000"); !strings.HasPrefix(got, "-ERR string exceeds") {
		t.Errorf("values that are too long: %.100q", got)
	}
}

// TestSleepHoldsUpOneConnection has one connection wait until it is closed, while others go on.
func TestSleepHoldsUpOneConnection(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes", "io-threads 1")
	sleeper, other := ts.dial(), ts.dial()
	sleeper.send(line("DEBUG SLEEP 1000000"))
	for range 100 {
		other.must("SET a 1", "+OK\r\n")
	}
	ts.end(false) // and does not wait for it
	sleeper.wantEnd()
}

// TestReloadUnderLoad reloads while other connections write: nobody's write may be lost.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes")
	const writers, writes = 4, 300
	done := make(chan bool, writers)
	for range writers {
		c := ts.dial()
		go func() {
			for range writes {
				if _, err := c.Write([]byte(line("INCR n"))); err != nil {
					break
				}
				if head, err := c.in.ReadString('\n'); err != nil || head[0] != ':' {
					t.Errorf("INCR: %q, %v", head, err)
					break
				}
			}
			done <- true
		}()
	}
	c := ts.dial()
	for left, i := writers, 0; left > 0; i++ {
		select {
		case <-done:
			left--
		default:
			c.must([]string{"DEBUG RELOAD", "DEBUG LOADAOF"}[i%2], "+OK\r\n")
		}
	}
	c.must("GET n", bulk("1200"))
}

// TestThresholdsSteerEncodings: CONFIG SET changes what is said of keys that are there already.
func TestThresholdsSteerEncodings(t *testing.T) {
	t.Parallel()
	c := start(t, "enable-debug-command yes", "hash-max-ziplist-entries 1").dial()
	c.do("HSET", "h", "a", "1", "b", "2")
	c.do("SADD", "s", "1", "2")
	c.do("ZADD", "z", "1", "a", "2", "b")
	says := func(key, want string) {
		t.Helper()
		if got := c.do("OBJECT", "ENCODING", key); !strings.Contains(got, want) {
			t.Errorf("%s is %q, want %s", key, got, want)
		}
		if got := c.do("DEBUG", "OBJECT", key); !strings.Contains(got, "encoding:"+want+" ") {
			t.Errorf("%s: %q, want %s", key, got, want)
		}
	}
	says("h", "hashtable")
	says("s", "intset")
	says("z", "listpack")
	c.do("CONFIG", "SET", "hash-max-listpack-entries", "2", "set-max-intset-entries", "1", "zset-max-listpack-value", "0")
	says("h", "listpack")
	says("s", "hashtable")
	says("z", "skiplist")
}

// TestPopulateLeavesOut has a shard go elsewhere in the middle: keys that are not served here are left out.
func TestPopulateLeavesOut(t *testing.T) {
	t.Parallel()
	ts := startSplit(t)
	gone := ts.node.routing.Load().owners[2].local
	c := ts.dial()
	c.send(line("DEBUG POPULATE 100000"))
	eventually(t, "it is under way", func() bool { return gone.engine.AppliedIndex() > 4 })
	ts.lend(gone, "there:2")
	ts.closeAgain(gone)
	c.want("+OK\r\n")
}
