package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/larder-db/larder/engine"
)

// pair is the same conversation with redis-server and with Larder, over several connections.
type pair struct {
	t            *testing.T
	name         string
	theirs, ours []*testClient
}

// newPair connects n clients to each server and empties it.
func newPair(t *testing.T, theirs *redis, ours *testServer, proto string, n int) *pair {
	p := &pair{t: t}
	for range n {
		p.theirs, p.ours = append(p.theirs, theirs.dial()), append(p.ours, ours.dial())
	}
	for i := range n {
		p.theirs[i].do("HELLO", proto)
		p.ours[i].do("HELLO", proto)
	}
	p.do(0, "FLUSHALL")
	return p
}

// do sends a line over the i-th connections and compares the replies.
func (p *pair) do(i int, l string) string {
	p.t.Helper()
	want, got := p.theirs[i].do(strings.Fields(l)...), p.ours[i].do(strings.Fields(l)...)
	if got != want {
		p.t.Errorf("%.300s … %s: %.100s:\n ours   %.600q\n theirs %.600q", p.name, p.name[max(0, len(p.name)-60):], l, got, want)
	}
	return got
}

// run runs a script: lines that begin with a number and a colon go over that connection, others over the first.
func (p *pair) run(script string) {
	p.t.Helper()
	for l := range strings.SplitSeq(script, ";") {
		l = strings.TrimSpace(l)
		i := 0
		if len(l) > 1 && l[1] == ':' {
			i, l = int(l[0]-'0'), strings.TrimSpace(l[2:])
		}
		p.do(i, l)
	}
}

// transactions are conversations that have to go as with redis-server, byte by byte. Each starts without keys.
var transactions = strings.Split(strings.TrimSpace(`
EXEC; EXEC a; DISCARD; DISCARD a; MULTI a; UNWATCH a; UNWATCH; WATCH
MULTI; EXEC
MULTI; DISCARD; EXEC; DISCARD
MULTI; MULTI; WATCH a; EXEC; EXEC
MULTI; SET a 1; INCR a; GET a; EXEC; GET a
MULTI; SET a x; INCR a; LCS a a b; SETBIT a x 1; GET a; STRLEN a; EXEC
MULTI; SET a 1; NOSUCH; SET b 1; EXEC; EXISTS a b
MULTI; SET a 1; GET; EXEC; EXISTS a
MULTI; SAVE; EXEC; MULTI; SHUTDOWN a b; EXEC
MULTI; EXEC a; EXEC
MULTI; DISCARD a; EXEC
MULTI; WATCH; EXEC
MULTI; CLIENT NOSUCH; EXEC; MULTI; OBJECT NOSUCH a; EXEC
MULTI; OBJECT ENCODING a; SET a 1; OBJECT ENCODING a; EXEC
MULTI; MEMORY USAGE a; EXEC
MULTI; PING; ECHO a; PING a b; EXEC
MULTI; PING; SET a 1; ECHO a; GET a; UNWATCH; EXEC
MULTI; SELECT 3; SET a 3; SELECT 99; SET b 3; SELECT x; SELECT 4; SET a 4; EXEC; GET a; SELECT 3; MGET a b; SELECT 0; GET a
MULTI; SELECT 3; SET a 3; NOSUCH; EXEC; SET a 0; GET a; SELECT 3; GET a; SELECT 0
MULTI; CLIENT SETNAME bob; SET a 1; CLIENT GETNAME; CLIENT SETNAME x; EXEC; CLIENT GETNAME; RESET
MULTI; SET a 1; RESET; EXEC; GET a
MULTI; CONFIG SET timeout 77; CONFIG GET timeout; CONFIG SET timeout 0; SET a 1; CONFIG GET timeout; EXEC
MULTI; CONFIG GET timeout; EXEC; MULTI; DEBUG SLEEP 0; EXEC
MULTI; COMMAND COUNT x; COMMAND INFO get; CLIENT LIST ID 0; EXEC
MULTI; AUTH x; HELLO 9; HELLO 2 x; EXEC
MULTI; SET a 1 PX 100000; PERSIST a; TTL a; DBSIZE; EXEC
MULTI; KEYS *; SET a 1; KEYS *; RANDOMKEY; SCAN 0; FLUSHDB; DBSIZE; RANDOMKEY; EXEC
MULTI; GET a; MGET a b; EXISTS a; TYPE a; TTL a; EXEC
MULTI; SET a 1; SWAPDB 0 5; GET a; SELECT 5; GET a; EXEC; SELECT 0; SWAPDB 0 5; GET a
COMMAND GETKEYS watch a b; COMMAND GETKEYSANDFLAGS watch a b; COMMAND GETKEYS multi; COMMAND INFO multi exec discard watch unwatch
WATCH a; MULTI; PING; EXEC
WATCH a; MULTI; SET a 1; EXEC; GET a
WATCH a; SET a 1; MULTI; SET a 2; EXEC; GET a; MULTI; SET a 2; EXEC; GET a
WATCH a; SET a 1; MULTI; EXEC; WATCH a; SET a 1; MULTI; PING; EXEC; WATCH a; SET a 1; MULTI; GET a; EXEC
WATCH a; 1: SET a 1; MULTI; SET a 2; EXEC; GET a; MULTI; GET a; EXEC
WATCH b; 1: SET a 1; MULTI; SET b 2; EXEC; GET b
WATCH a; MULTI; 1: SET a 1; SET a 2; EXEC; GET a
WATCH a; MULTI; NOSUCH; 1: SET a 1; EXEC; MULTI; PING; EXEC
WATCH a; 1: SET a 1; UNWATCH; MULTI; SET a 2; EXEC; GET a
WATCH a; 1: SET a 1; MULTI; DISCARD; MULTI; SET a 2; EXEC; GET a
WATCH a; 1: SET a 1; MULTI; RESET; MULTI; SET a 2; EXEC; GET a
WATCH a; MULTI; UNWATCH; SET b 1; 1: SET a 1; EXEC; GET b
WATCH a; 1: SET a 1; WATCH b; MULTI; PING; EXEC
WATCH a b c; 1: SET c 1; MULTI; PING; EXEC
WATCH a a; 1: SET a 1; MULTI; PING; EXEC; WATCH a; MULTI; PING; EXEC
WATCH a; SELECT 1; 1: SET a 1; MULTI; PING; EXEC; SELECT 0
WATCH a; 1: SELECT 1; 1: SET a 1; MULTI; PING; EXEC; 1: SELECT 0
SELECT 1; WATCH a; SELECT 0; SET a 1; MULTI; PING; EXEC; SELECT 1; SET a 1; MULTI; PING; EXEC; SELECT 0
SET a 1; WATCH a; 1: DEL a; 1: SET a 1; MULTI; PING; EXEC
SET a 1; WATCH a; 1: SET a 1; MULTI; PING; EXEC
SET a 1; WATCH a; 1: GET a; 1: TOUCH a; 1: OBJECT ENCODING a; MULTI; SET a 2; EXEC
SET a 1; WATCH a; 1: MULTI; 1: SET a 2; 1: DISCARD; MULTI; SET a 3; EXEC; GET a
SET a 1; WATCH a; 1: MULTI; 1: SET a 2; 1: EXEC; MULTI; SET a 3; EXEC; GET a
SET a 1; WATCH a; 1: WATCH a; 1: MULTI; 1: INCR a; MULTI; INCR a; EXEC; 1: EXEC; GET a
WATCH a; 1: FLUSHALL; MULTI; PING; EXEC; WATCH a; 1: FLUSHDB; MULTI; PING; EXEC
SET a 1; WATCH a; 1: FLUSHALL; MULTI; PING; EXEC
SET a 1; WATCH a; 1: FLUSHDB; MULTI; PING; EXEC
SET a 1; WATCH b; 1: FLUSHDB; MULTI; PING; EXEC
SET a 1; WATCH a; 1: SELECT 1; 1: FLUSHDB; 1: SET b 1; 1: FLUSHDB; 1: SELECT 0; MULTI; PING; EXEC
WATCH a; 1: SWAPDB 0 1; MULTI; PING; EXEC; SWAPDB 0 1
SET a 1; WATCH a; 1: SWAPDB 0 1; MULTI; PING; EXEC; SWAPDB 0 1
SET a 1; SELECT 1; WATCH a; SELECT 0; 1: SWAPDB 1 0; MULTI; PING; EXEC; SWAPDB 0 1
SET a 1; WATCH a; 1: SWAPDB 2 1; 1: SWAPDB 0 0; MULTI; PING; EXEC
SET a 1; WATCH a; 1: RENAME a b; MULTI; PING; EXEC; WATCH a; 1: RENAME b a; MULTI; PING; EXEC
SET a 1; WATCH a b; 1: COPY a b; MULTI; PING; EXEC; WATCH a; 1: COPY b a; MULTI; PING; EXEC; WATCH a; 1: COPY a c; MULTI; PING; EXEC
SET a 1; WATCH a; 1: MOVE a 1; MULTI; PING; EXEC
SET a 1; SELECT 1; WATCH a; SELECT 0; 1: MOVE a 1; MULTI; PING; EXEC
SET a 1; WATCH a; 1: PEXPIRE a 100000; MULTI; PING; EXEC; WATCH a; 1: PEXPIRE a -1; MULTI; PING; EXEC
SET a 1 EX 1000; WATCH a; 1: PERSIST a; MULTI; PING; EXEC; WATCH a; 1: PERSIST a; MULTI; PING; EXEC
SET a 1 EX 1000; WATCH a; 1: SET a 1 PXAT 1; MULTI; PING; EXEC
SET a 1; WATCH a; 1: SET a 2 NX; MULTI; PING; EXEC; WATCH a b; 1: SET b 1 XX; MULTI; PING; EXEC
SET a 1; WATCH a; 1: APPEND b x; MULTI; PING; EXEC; WATCH a; 1: APPEND a x; MULTI; PING; EXEC
SET a 1; WATCH a; 1: SETRANGE a 1 x; MULTI; PING; EXEC
SET a x; WATCH a; 1: INCR a; MULTI; PING; EXEC
SET a 1; WATCH a; 1: GETEX a; MULTI; PING; EXEC; WATCH a; 1: GETEX a EX 100; MULTI; PING; EXEC
SET a 1; WATCH a; 1: GETDEL a; MULTI; PING; EXEC; WATCH a; 1: GETDEL a; MULTI; PING; EXEC
SET a 1; WATCH a; 1: GETSET a 1; MULTI; PING; EXEC; WATCH a; 1: MSETNX b 1 a 1; MULTI; PING; EXEC
SET a 1; WATCH a; 1: SETBIT a 0 1; MULTI; PING; EXEC; WATCH a; 1: SETBIT a 100 0; MULTI; PING; EXEC
SET a 1; WATCH a; 1: BITOP AND a b c; MULTI; PING; EXEC; WATCH a; 1: BITOP AND a b c; MULTI; PING; EXEC
WATCH a; 1: BITFIELD a GET u8 0; MULTI; PING; EXEC
SET a 1; WATCH a; 1: BITFIELD a SET u8 0 1; MULTI; PING; EXEC; WATCH a; 1: SETRANGE a 0 1; MULTI; PING; EXEC
SET a 1; WATCH a; 1: UNLINK a; MULTI; PING; EXEC; WATCH a; 1: DEL a; MULTI; PING; EXEC
WATCH a; 1: HSET a f 1; MULTI; PING; EXEC; WATCH a; 1: HSET a f 1; MULTI; PING; EXEC; WATCH a; 1: HSETNX a f 2; MULTI; PING; EXEC; WATCH a; 1: HDEL a x; MULTI; PING; EXEC; WATCH a; 1: HINCRBY a f 0; MULTI; PING; EXEC; WATCH a; 1: HDEL a f; MULTI; PING; EXEC
WATCH a; 1: RPUSH a 1 2 1; MULTI; PING; EXEC; WATCH a; 1: LPUSHX b 1; MULTI; PING; EXEC; WATCH a; 1: LREM a 0 7; MULTI; PING; EXEC
RPUSH a 1 2 1; WATCH a; 1: LSET a 0 1; MULTI; PING; EXEC
RPUSH a 1 2 1; WATCH a; 1: LTRIM a 0 -1; MULTI; PING; EXEC; WATCH b; 1: LTRIM b 0 -1; MULTI; PING; EXEC
RPUSH a 1 2 1; WATCH a; 1: LRANGE a 0 -1; 1: LINDEX a 1; MULTI; PING; EXEC
RPUSH a 1 2 3; WATCH a; 1: LMOVE a a LEFT RIGHT; MULTI; PING; EXEC; WATCH a b; 1: RPOPLPUSH a b; MULTI; PING; EXEC; WATCH a; 1: LINSERT a BEFORE 9 9; MULTI; PING; EXEC; WATCH b; 1: LPOP b 0; MULTI; PING; EXEC; WATCH b; 1: LPOP b; MULTI; PING; EXEC; WATCH c; 1: SORT a STORE c; MULTI; PING; EXEC; WATCH a; 1: SORT a STORE c; MULTI; PING; EXEC
WATCH a; 1: SADD a x y; MULTI; PING; EXEC
SADD a x y; WATCH a; 1: SREM a z; MULTI; PING; EXEC
SADD a x y; WATCH a; 1: SADD a x; MULTI; PING; EXEC
SADD a 1 2; WATCH a; 1: SADD a 1; MULTI; PING; EXEC
SADD a x y; WATCH a; 1: SMOVE a b z; MULTI; PING; EXEC; WATCH a b; 1: SMOVE a b x; MULTI; PING; EXEC
SADD a x y; WATCH b; 1: SMOVE a b x; MULTI; PING; EXEC
SADD a x y; WATCH a; 1: SINTERSTORE a b c; MULTI; PING; EXEC
WATCH a; 1: SINTERSTORE a b c; MULTI; PING; EXEC
SADD a x; WATCH a; 1: SPOP a; MULTI; PING; EXEC; WATCH b; 1: SPOP b; MULTI; PING; EXEC
WATCH a; 1: ZADD a 1 x 2 y; MULTI; PING; EXEC; WATCH a; 1: ZADD a 1 x; MULTI; PING; EXEC; WATCH a; 1: ZADD a XX 3 z; MULTI; PING; EXEC; WATCH a; 1: ZINCRBY a 0 x; MULTI; PING; EXEC; WATCH a; 1: ZREM a z; MULTI; PING; EXEC; WATCH a; 1: ZREMRANGEBYRANK a 5 9; MULTI; PING; EXEC; WATCH b; 1: ZRANGESTORE b a 0 -1; MULTI; PING; EXEC; WATCH b; 1: ZUNIONSTORE b 1 a; MULTI; PING; EXEC; WATCH a; 1: ZPOPMIN a; MULTI; PING; EXEC
MULTI; HSET h f 1; RPUSH l 1 2; SADD s x; ZADD z 1.5 x; HGETALL h; LRANGE l 0 -1; SMEMBERS s; ZRANGE z 0 -1 WITHSCORES; HGETALL l; EXEC
SET a 1; WATCH a; DEBUG RELOAD; MULTI; PING; EXEC
`), "\n")

// TestRenamedCommandsAreLoggedByTheirNames: the log can be read whatever the configuration says.
func TestRenamedCommandsAreLoggedByTheirNames(t *testing.T) {
	t.Parallel()
	ts := start(t, "rename-command SET foo", "enable-debug-command yes")
	c := ts.dial()
	c.must("foo a 1", "+OK\r\n")
	c.must("MULTI", "+OK\r\n")
	c.must("foo b 2", "+QUEUED\r\n")
	c.must("EXEC", "*1\r\n+OK\r\n")
	c.must("DEBUG LOADAOF", "+OK\r\n")
	c.must("MGET a b", "*2\r\n"+bulk("1")+bulk("2"))
}

// TestMoreArgumentsThanTheLogHolds: nothing that a client sends makes an entry that cannot be read.
func TestMoreArgumentsThanTheLogHolds(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.send(fmt.Sprintf("*%d\r\n", engine.MaxArgs+1))
	c.want("-ERR Protocol error: invalid multibulk length\r\n")
	c.wantEnd()
	ts.dial().must("PING", "+PONG\r\n")
}

// largeTransactions change large values in place, which is the shortest way through the key space.
func largeTransactions() []string {
	var h, l, z, s strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&h, " f%d v%d", i, i)
		fmt.Fprintf(&l, " e%d", i)
		fmt.Fprintf(&z, " %d m%d", i, i)
		fmt.Fprintf(&s, " m%d", i)
	}
	text := strings.Repeat("text", 100_000)
	var scripts []string
	for _, c := range [][2]string{
		{"HSET k" + h.String(), "HSET k f1500 w1500"},
		{"HSET k" + h.String(), "HDEL k f1500"},
		{"HSET k" + h.String(), "HINCRBY k new 1"},
		{"HSET k" + h.String(), "HGET k f1500"},
		{"RPUSH k" + l.String(), "LSET k 1500 w1500"},
		{"RPUSH k" + l.String(), "RPUSH k x"},
		{"RPUSH k" + l.String(), "LPOP k"},
		{"RPUSH k" + l.String(), "LINDEX k 1500"},
		{"ZADD k" + z.String(), "ZADD k 1500.5 m1500"},
		{"ZADD k" + z.String(), "ZADD k 1500 m1500"},
		{"ZADD k" + z.String(), "ZREM k m1500"},
		{"SADD k" + s.String(), "SADD k new"},
		{"SADD k" + s.String(), "SREM k m1500"},
		{"SADD k" + s.String(), "SISMEMBER k m1500"},
		{"SET k " + text, "SETRANGE k 200000 x"},
		{"SET k " + text, "APPEND k x"},
		{"SET k " + text, "SETBIT k 1000000 1"},
		{"SET k " + text, "GETRANGE k 0 9"},
	} {
		scripts = append(scripts, c[0]+"; WATCH k; 1: "+c[1]+"; MULTI; PING; EXEC")
	}
	return scripts
}

func TestTransactionsAreRedis(t *testing.T) {
	t.Parallel()
	theirs, ours := startRedis(t, "--enable-debug-command", "yes"), start(t, "enable-debug-command yes")
	for _, proto := range []string{"2", "3"} {
		p := newPair(t, theirs, ours, proto, 2)
		for _, script := range append(slices.Clone(transactions), largeTransactions()...) {
			p.name = "RESP" + proto + ", " + script
			p.do(0, "FLUSHALL")
			p.run(script)
			for i := range p.ours { // a script may have changed it
				p.theirs[i].do("HELLO", proto)
				p.ours[i].do("HELLO", proto)
			}
		}
	}
}
