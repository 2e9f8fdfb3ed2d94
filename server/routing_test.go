package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/larder-db/larder/engine/keyspace"
)

// startClusterRedis starts a redis-server that owns all slots.
func startClusterRedis(t *testing.T) *redis {
	t.Helper()
	r := startRedis(t, "--port", strconv.Itoa(tcpPort(t)), "--cluster-port", strconv.Itoa(tcpPort(t)), "--cluster-enabled", "yes", "--enable-debug-command", "yes")
	c := r.dial()
	c.must("CLUSTER ADDSLOTSRANGE 0 16383", "+OK\r\n")
	eventually(t, "the cluster is up", func() bool { return !strings.HasPrefix(c.do("GET", "a"), "-") })
	return r
}

// startSplit starts a server whose slots three shards share, in stripes.
func startSplit(t *testing.T, directives ...string) *testServer {
	t.Helper()
	ts := start(t, append([]string{"cluster-enabled yes", "enable-debug-command yes"}, directives...)...)
	ts.split(ts.node.sole(), ts.openAnother(2), ts.openAnother(3))
	return ts
}

// stripe is how many slots in a row are of one shard.
const stripe = 500

// split has shards share the slots in stripes.
func (ts *testServer) split(list ...*shard) {
	r := &routing{owners: make([]owner, 1), self: reach{plain: "here:1"}, view: ts.node.member.view(), list: ts.node.shards.Load()}
	for _, sh := range list {
		r.owners = append(r.owners, owner{shard: sh.id, local: sh})
	}
	for slot := range r.slots {
		r.slots[slot] = uint16(1 + slot/stripe%len(list))
	}
	ts.node.setRouting(r)
}

// lend gives a shard's slots to another node.
func (ts *testServer) lend(sh *shard, to string) {
	ts.node.setRouting(ts.node.routing.Load().lent(sh, to))
}

// lent is the routing with a shard's slots at another node.
func (r *routing) lent(sh *shard, to string) *routing {
	r = r.without(sh)
	for i := range r.owners {
		if r.owners[i].shard == sh.id {
			r.owners[i].leader = reach{plain: to}
		}
	}
	return r
}

const clusterLines = `
	SET a 1
	GET a
	MSET a 1 b 2
	MGET a b
	MSET {x}a 1 {x}b 2
	MGET {x}a {x}b {x}c
	DEL a b
	ZUNIONSTORE a 2 b c
	ZUNIONSTORE {x}z 2 {x}y {x}w
	ZUNIONSTORE {x}z x {x}y
	SELECT 1
	SELECT 0
	SELECT x
	SELECT 16
	MOVE a 1
	SWAPDB 0 1
	COPY a b DB 1
	COPY {x}a {x}b DB 1
	COPY {x}a {x}d DB 0
	RPUSH l 3 1 2
	SORT l
	SORT l BY w_*
	SORT l BY nosort
	SORT l GET #
	SORT_RO l GET foo
	SORT l LIMIT 0 1 DESC
	READONLY
	READWRITE
	ASKING
	MULTI
	SET a 1
	SET b 1
	EXEC
	MULTI
	SET a 1
	MSET a 1 b 2
	SET a 3
	EXEC
	MULTI
	SET {x}1 1
	PING
	GET {x}1
	EXEC
	WATCH a b
	WATCH {x}1 {x}2
	MULTI
	SET {x}2 1
	EXEC
	OBJECT ENCODING l
	OBJECT HELP x
	DBSIZE
	FLUSHALL x
	FLUSHDB SYNC
	DBSIZE
	RANDOMKEY
	KEYS *
	SCAN 0
	SCAN x
	SCAN 0 COUNT x
	SCAN 0 NOSUCH
	GET
	DEBUG DIGEST
`

// TestClusterRepliesAreRedis asks a node of one shard, and one of three.
func TestClusterRepliesAreRedis(t *testing.T) {
	t.Parallel()
	compare(t, startClusterRedis(t), start(t, "cluster-enabled yes", "enable-debug-command yes"), clusterLines)
	compare(t, startClusterRedis(t), startSplit(t), clusterLines)
	compare(t, startRedis(t), start(t), "READONLY\nREADWRITE\nASKING\nASKING x\n")
}

// TestPipelineOverShards sends long pipelines over keys of three shards: replies keep their order.
func TestPipelineOverShards(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"always", "everysec"} {
		ts := startSplit(t, "appendfsync "+policy)
		c := ts.dial()
		random := rand.New(rand.NewPCG(3, 4))
		counts := map[string]int{}
		for range 20 {
			var text strings.Builder
			var want []string
			for range 500 {
				key := fmt.Sprintf("k%d", random.IntN(40))
				switch random.IntN(4) {
				case 0:
					counts[key]++
					text.WriteString(line("INCR " + key))
					want = append(want, fmt.Sprintf(":%d\r\n", counts[key]))
				case 1:
					text.WriteString(line("PING"))
					want = append(want, "+PONG\r\n")
				default:
					text.WriteString(line("GET " + key))
					if counts[key] == 0 {
						want = append(want, "$-1\r\n")
					} else {
						want = append(want, bulk(strconv.Itoa(counts[key])))
					}
				}
			}
			go c.send(text.String())
			for i, w := range want {
				if got := c.reply(); got != w {
					t.Fatalf("reply %d: got %q, want %q", i, got, w)
				}
			}
		}
	}
}

// elements are the bulk strings of a flat array's reply.
func elements(reply string) (list []string) {
	fields := strings.Split(reply, "\r\n")
	for i := 1; i+1 < len(fields); i++ {
		if strings.HasPrefix(fields[i], "$") {
			list = append(list, fields[i+1])
			i++
		}
	}
	return list
}

func TestWhatNamesNoKeyIsAboutAllShards(t *testing.T) {
	t.Parallel()
	ts := startSplit(t)
	c := ts.dial()
	var all []string
	for i := range 2000 {
		key := fmt.Sprintf("key:%d", i)
		all = append(all, key)
		c.must("SET "+key+" 1", "+OK\r\n")
	}
	slices.Sort(all)
	c.must("DBSIZE", ":2000\r\n")
	got := elements(c.do("KEYS", "*"))
	slices.Sort(got)
	if !slices.Equal(got, all) {
		t.Errorf("KEYS has %d keys", len(got))
	}
	var found []string
	for cursor := "0"; ; {
		list := elements(c.do("SCAN", cursor, "COUNT", "7"))
		found = append(found, list[1:]...)
		if cursor = list[0]; cursor == "0" {
			break
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, all) {
		t.Errorf("SCAN found %d keys", len(found))
	}
	seen := map[*shard]bool{}
	for range 200 {
		raw := strings.Split(c.do("RANDOMKEY"), "\r\n")[1]
		seen[ts.node.routing.Load().owners[ts.node.routing.Load().slots[keyspace.Slot([]byte(raw))]].local] = true
	}
	if len(seen) != 3 {
		t.Errorf("RANDOMKEY chooses from %d shards", len(seen))
	}
	c.must("FLUSHALL", "+OK\r\n")
	c.must("DBSIZE", ":0\r\n")
	c.must("DEBUG POPULATE 300", "+OK\r\n")
	c.must("DBSIZE", ":300\r\n")
	c.must("GET key:7", bulk("value:7"))
}

func TestTransactionsAreOfOneShard(t *testing.T) {
	t.Parallel()
	ts := startSplit(t)
	c, other := ts.dial(), ts.dial()
	c.must("WATCH a", "+OK\r\n")
	c.must("WATCH c", "-"+crossSlot+"\r\n") // another shard's
	other.must("SET a 1", "+OK\r\n")
	c.must("MULTI", "+OK\r\n")
	c.must("SET a 2", "+QUEUED\r\n")
	c.must("EXEC", "*-1\r\n")
	c.must("WATCH a", "+OK\r\n")
	c.must("MULTI", "+OK\r\n")
	c.must("SET a 2", "+QUEUED\r\n")
	c.must("DBSIZE", "-"+notInMulti+"\r\n")
	c.must("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n")
	c.must("WATCH a", "+OK\r\n")
	c.must("MULTI", "+OK\r\n")
	c.must("INCR a", "+QUEUED\r\n")
	c.must("EXEC", "*1\r\n:2\r\n")
}

func TestOtherNodesSlotsAreRedirected(t *testing.T) {
	t.Parallel()
	ts := startSplit(t)
	c := ts.dial()
	r := ts.node.routing.Load()
	slot := keyspace.Slot([]byte("a"))
	sh := r.owners[r.slots[slot]].local
	c.must("SET a 1", "+OK\r\n")
	c.must("WATCH a", "+OK\r\n")
	c.must("MULTI", "+OK\r\n")
	c.must("SET a 2", "+QUEUED\r\n")
	ts.lend(sh, "there:2")
	moved := fmt.Sprintf("-MOVED %d there:2\r\n", slot)
	c.must("EXEC", moved)
	c.must("EXEC", "-ERR EXEC without MULTI\r\n")
	c.must("GET a", moved)
	c.must("SET a 2", moved)
	c.must("MULTI", "+OK\r\n")
	c.must("GET a", moved)
	c.must("EXEC", "-EXECABORT Transaction discarded because of previous errors.\r\n")
	ts.lend(sh, "")
	c.must("GET a", "-"+noLeader+"\r\n")
	none := *ts.node.routing.Load()
	clear(none.slots[:])
	ts.node.setRouting(&none)
	c.must("GET a", "-"+notServed+"\r\n")
	c.must("MGET a b", "-"+notServed+"\r\n")
}

// TestShardsCloseUnderLoad closes a shard while clients write to it: each command is answered, done or not.
func TestShardsCloseUnderLoad(t *testing.T) {
	t.Parallel()
	ts := startSplit(t)
	r := ts.node.routing.Load()
	gone := r.owners[2].local
	const clients, each = 8, 8000
	ended := make(chan error, clients)
	for i := range clients {
		c := ts.dial()
		go func() {
			var text strings.Builder
			for j := range each {
				text.WriteString(line(fmt.Sprintf("SET k%d:%d v", i, j)))
				text.WriteString(line(fmt.Sprintf("GET k%d:%d", i, j)))
			}
			go c.send(text.String())
			for range each {
				set, get := c.reply(), c.reply()
				switch {
				case set == "+OK\r\n" && (get == "$1\r\nv\r\n" || strings.HasPrefix(get, "-")):
				case strings.HasPrefix(set, "-MOVED"), strings.HasPrefix(set, "-INDETERMINATE"), strings.HasPrefix(set, "-CLUSTERDOWN"), strings.HasPrefix(set, "-ERR the server"):
				default:
					ended <- fmt.Errorf("SET %q, GET %q", set, get)
					return
				}
			}
			ended <- nil
		}()
	}
	eventually(t, "the load is on", func() bool { return gone.engine.AppliedIndex() > 4 })
	ts.lend(gone, "there:2")
	ts.closeAgain(gone)
	for range clients {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	ts.dial().must("PING", "+PONG\r\n")
}
