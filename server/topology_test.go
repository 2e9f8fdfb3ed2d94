package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/keyspace"
)

// fakeTopology is a cluster that a test makes up.
type fakeTopology struct {
	mu struct {
		sync.Mutex
		m         *clusterMap
		progress  map[uint32]shardProgress
		transfers []string
		refuse    error
	}
}

func (f *fakeTopology) Map() *clusterMap {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.m
}

func (f *fakeTopology) Progress(shard uint32) shardProgress {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.progress[shard]
}

func (f *fakeTopology) Transfer(_ context.Context, shard uint32, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.transfers = append(f.mu.transfers, fmt.Sprint(shard, " ", to))
	return f.mu.refuse
}

// change changes the map.
func (f *fakeTopology) change(change func(m *clusterMap)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := *f.mu.m
	next.Nodes = append([]clusterNode(nil), next.Nodes...)
	next.Shards = append([]clusterShard(nil), next.Shards...)
	change(&next)
	f.mu.m = &next
}

func (f *fakeTopology) setProgress(shard uint32, p shardProgress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.progress[shard] = p
}

func fakeID(n int) string { return strings.Repeat(strconv.Itoa(n), 40) }

// newFakeTopology has three nodes, of which self is the test's server, and shards that all of them hold and that node
// leads turns to lead.
func newFakeTopology(self, shards int) *fakeTopology {
	m := &clusterMap{ID: strings.Repeat("c", 40), Epoch: 7, Self: fakeID(self)}
	var ids []string
	for n := 1; n <= 3; n++ {
		m.Nodes = append(m.Nodes, clusterNode{ID: fakeID(n), Host: fmt.Sprint("10.0.0.", n), Port: 7000 + n, PeerPort: 17000 + n})
		ids = append(ids, fakeID(n))
	}
	f := &fakeTopology{}
	f.mu.progress = map[uint32]shardProgress{}
	for i := range shards {
		from, to := i*front.Slots/shards, (i+1)*front.Slots/shards-1
		m.Shards = append(m.Shards, clusterShard{ID: uint32(i + 1), Slots: []slotRange{{uint16(from), uint16(to)}},
			Leader: fakeID(i%3 + 1), Led: true, Term: 5, Replicas: ids, Voters: 3})
		p := shardProgress{Applied: 100}
		for n := 1; n <= 3; n++ {
			if n != self {
				p.Replicas = append(p.Replicas, replicaProgress{Node: fakeID(n), Held: uint64(90 + n), Synced: 90, Online: true})
			}
		}
		f.mu.progress[uint32(i+1)] = p
	}
	f.mu.m = m
	return f
}

// startFake starts a server that believes to be a node of f.
func startFake(t testing.TB, f *fakeTopology, directives ...string) *testServer {
	t.Helper()
	ts := start(t, append([]string{"io-threads 1"}, directives...)...)
	ts.onLoop(func() { ts.topology = f })
	return ts
}

// onLoop runs fn on the only loop and waits for it.
func (ts *testServer) onLoop(fn func()) {
	done := make(chan struct{})
	ts.loops[0].loop.Post(func() {
		fn()
		close(done)
	})
	<-done
}

// goRedis is go-redis's client of the server.
func (ts *testServer) goRedis() *goredis.Client {
	c := goredis.NewClient(&goredis.Options{Network: "unix", Addr: ts.path})
	ts.t.Cleanup(func() { _ = c.Close() }) // it was only to ask
	return c
}

func TestClusterMapAsClientsReadIt(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(1, 3)
	ts := startFake(t, f, "cluster-enabled yes")
	c, ctx := ts.goRedis(), context.Background()
	//lint:ignore SA1019 most clients ask for slots
	slots, err := c.ClusterSlots(ctx).Result()
	if err != nil || len(slots) != 3 {
		t.Fatal(slots, err)
	}
	for i, s := range slots {
		if s.Start != i*front.Slots/3 || s.End != (i+1)*front.Slots/3-1 || len(s.Nodes) != 3 || s.Nodes[0].ID != fakeID(i+1) || s.Nodes[0].Addr != fmt.Sprintf("10.0.0.%d:700%d", i+1, i+1) {
			t.Errorf("slots %d: %+v", i, s)
		}
	}
	shards, err := c.ClusterShards(ctx).Result()
	if err != nil || len(shards) != 3 {
		t.Fatal(shards, err)
	}
	n := shards[1].Nodes[0]
	if len(shards[1].Slots) != 1 || n.ID != fakeID(2) || n.Role != "master" || n.Port != 7002 || n.Health != "online" || shards[1].Nodes[1].Role != "replica" {
		t.Errorf("%+v", shards[1])
	}
	nodes, err := c.ClusterNodes(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s 10.0.0.1:7001@17001 myself,master - 0 0 7 connected 0-5460\n%s 10.0.0.2:7002@17002 master - 0 0 7 connected 5461-10921\n%s 10.0.0.3:7003@17003 master - 0 0 7 connected 10922-16383\n", fakeID(1), fakeID(2), fakeID(3))
	if nodes != want {
		t.Errorf("nodes:\n%s", nodes)
	}
	links, err := c.ClusterLinks(ctx).Result()
	if err != nil || len(links) != 4 {
		t.Error(links, err)
	}
	if id, err := c.ClusterMyID(ctx).Result(); id != fakeID(1) || err != nil {
		t.Error(id, err)
	}
	if id, err := c.ClusterMyShardID(ctx).Result(); len(id) != 40 || err != nil {
		t.Error(id, err)
	}
	if err := c.ReadOnly(ctx).Err(); err != nil {
		t.Error(err)
	}
	raw := ts.dial()
	if info := raw.do("CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:ok\r\n") || !strings.Contains(info, "cluster_size:3\r\n") || !strings.Contains(info, "cluster_slots_ok:16384\r\n") {
		t.Error(info)
	}
	f.change(func(m *clusterMap) { m.Shards[1].Led, m.Nodes[1].Down = false, true })
	if info := raw.do("CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:fail\r\n") {
		t.Error(info)
	}
	//lint:ignore SA1019 most clients ask for slots
	slots, err = c.ClusterSlots(ctx).Result()
	if err != nil || len(slots[0].Nodes) != 2 || slots[0].Nodes[1].ID != fakeID(3) || len(slots[1].Nodes) != 3 {
		t.Errorf("slots with a node that does not answer: %+v %v", slots, err)
	}
	raw.must("CLUSTER COUNT-FAILURE-REPORTS "+fakeID(2), ":1\r\n")
	raw.must("SELECT 1", "-ERR SELECT is not allowed in cluster mode\r\n")
	raw.must("SELECT 0", "+OK\r\n")
	if h := raw.do("HELLO"); !strings.Contains(h, "cluster") || !strings.Contains(h, "master") {
		t.Error(h)
	}
}

func TestClusterFollower(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(3, 1)
	ts := startFake(t, f, "cluster-enabled yes")
	c := ts.dial()
	line := c.do("CLUSTER", "REPLICAS", fakeID(1))
	if !strings.Contains(line, fakeID(3)+" 10.0.0.3:7003@17003 myself,slave "+fakeID(1)+" 0 0 7 connected\r\n") || !strings.HasPrefix(line, "*2\r\n") {
		t.Error(line)
	}
	c.must("CLUSTER SLAVES "+fakeID(3), "-ERR The specified node is not a master\r\n")
	c.must("CLUSTER FAILOVER", "+OK\r\n")
	c.must("CLUSTER FAILOVER TAKEOVER", "+OK\r\n")
	f.mu.Lock()
	if got := strings.Join(f.mu.transfers, ";"); got != "1 "+fakeID(3)+";1 "+fakeID(3) {
		t.Error(got)
	}
	f.mu.refuse = errors.New("it is behind")
	f.mu.Unlock()
	c.must("CLUSTER FAILOVER FORCE", "-ERR the leadership could not be transferred: it is behind\r\n")
	f.change(func(m *clusterMap) { m.Shards[0].Leader = fakeID(3) })
	c.must("CLUSTER FAILOVER", "-ERR You should send CLUSTER FAILOVER to a replica\r\n")
	for _, l := range []string{"MEET 1.2.3.4 5", "FORGET x", "ADDSLOTS 1", "DELSLOTS 1", "SETSLOT 1 STABLE", "RESET", "REPLICATE x", "ADDSLOTSRANGE 1 2", "BUMPEPOCH", "FLUSHSLOTS"} {
		if got := c.do(strings.Fields("CLUSTER " + l)...); !strings.HasPrefix(got, "-ERR CLUSTER "+strings.Fields(l)[0]+" ") || !strings.Contains(got, "larder cluster ") {
			t.Errorf("%s: %s", l, got)
		}
	}
}

// TestLeaderWithoutMajority: a node that led and has lost the others says so in every way that it is asked: it leads no more,
// and knows of nobody who does.
func TestLeaderWithoutMajority(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(1, 1)
	f.change(func(m *clusterMap) { m.Shards[0].Led = false })
	c := startFake(t, f, "cluster-enabled yes").dial()
	c.must("ROLE", "*5\r\n$5\r\nslave\r\n$1\r\n?\r\n:0\r\n$7\r\nconnect\r\n:100\r\n")
	if info := c.do("INFO", "replication"); !strings.Contains(info, "role:slave\r\nmaster_host:?\r\nmaster_port:0\r\nmaster_link_status:down\r\n") {
		t.Error(info)
	}
	nodes := c.do("CLUSTER", "NODES")
	for n, flags := range []string{"myself,slave", "slave", "slave"} {
		if line := fmt.Sprintf("%s 10.0.0.%d:700%d@1700%d %s - 0 0 7 connected\n", fakeID(n+1), n+1, n+1, n+1, flags); !strings.Contains(nodes, line) {
			t.Errorf("%s is not in\n%s", line, nodes)
		}
	}
	if shards := c.do("CLUSTER", "SHARDS"); strings.Contains(shards, "master") || !strings.Contains(shards, "replica") {
		t.Error(shards)
	}
	if hello := c.do("HELLO"); !strings.Contains(hello, "replica") {
		t.Error(hello)
	}
	c.must("CLUSTER FAILOVER", "-ERR Master is down or failed: the shard's replicas are electing another by themselves\r\n")
}

func TestKeysInSlot(t *testing.T) {
	t.Parallel()
	ts := start(t, "cluster-enabled yes")
	c := ts.dial()
	for i := range 1500 {
		c.send(encode("SET", fmt.Sprintf("{a}%d", i), "v") + encode("SET", fmt.Sprint(i), "v"))
	}
	for range 3000 {
		c.want("+OK\r\n")
	}
	c.must("CLUSTER COUNTKEYSINSLOT 15495", ":1500\r\n")
	if got := parse(t, c.do("CLUSTER", "GETKEYSINSLOT", "15495", "10000")).([]any); len(got) != 1500 {
		t.Error(len(got))
	}
	got := parse(t, c.do("CLUSTER", "GETKEYSINSLOT", "15495", "7")).([]any)
	for _, key := range got {
		if !strings.HasPrefix(key.(string), "{a}") {
			t.Error(key)
		}
	}
	if len(got) != 7 {
		t.Error(got)
	}
	c.must("CLUSTER GETKEYSINSLOT 15495 0", "*0\r\n")
}

func TestReplicationAsItIs(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(1, 1)
	ts := startFake(t, f)
	c := ts.dial()
	c.must("ROLE", "*3\r\n$6\r\nmaster\r\n:100\r\n*2\r\n*3\r\n$8\r\n10.0.0.2\r\n$4\r\n7002\r\n$2\r\n92\r\n*3\r\n$8\r\n10.0.0.3\r\n$4\r\n7003\r\n$2\r\n93\r\n")
	info := c.do("INFO", "replication")
	for _, want := range []string{"role:master\r\n", "connected_slaves:2\r\n", "slave0:ip=10.0.0.2,port=7002,state=online,offset=92,lag=0\r\n", "master_repl_offset:100\r\n"} {
		if !strings.Contains(info, want) {
			t.Errorf("no %q in %s", want, info)
		}
	}
	c.must("REPLICAOF NO ONE", "+OK\r\n")
	c.must("FAILOVER TO 10.0.0.9 7002", "-ERR FAILOVER target HOST and PORT is not a replica.\r\n")
	c.must("FAILOVER TO 10.0.0.2 7002 TIMEOUT 500", "+OK\r\n")
	eventually(t, "the leadership is handed over", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.mu.transfers) == 1 && f.mu.transfers[0] == "1 "+fakeID(2)
	})
	f.change(func(m *clusterMap) { m.Shards[0].Leader = fakeID(2) })
	c.must("ROLE", "*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.2\r\n:7002\r\n$9\r\nconnected\r\n:100\r\n")
	info = c.do("INFO", "replication")
	for _, want := range []string{"role:slave\r\n", "master_host:10.0.0.2\r\n", "master_port:7002\r\n", "master_link_status:up\r\n", "slave_repl_offset:100\r\n", "connected_slaves:0\r\n"} {
		if !strings.Contains(info, want) {
			t.Errorf("no %q in %s", want, info)
		}
	}
	if h := c.do("HELLO"); !strings.Contains(h, "$7\r\nreplica\r\n") || !strings.Contains(h, "standalone") {
		t.Error(h)
	}
	eventually(t, "the failover is over", func() bool { return !ts.failover.running.Load() })
	c.must("FAILOVER", "-ERR FAILOVER is not valid when server is a replica.\r\n")
	if got := c.do("REPLICAOF", "NO", "ONE"); !strings.HasPrefix(got, "-ERR ") {
		t.Error(got)
	}
}

// keyOf is a key of a shard of split's.
func (ts *testServer) keyOf(shard uint32) string {
	r := ts.node.routing.Load()
	for i := 0; ; i++ {
		key := fmt.Sprint("key:", i)
		if r.owners[r.slots[keyspace.Slot([]byte(key))]].shard == shard {
			return key
		}
	}
}

// TestWaitIsAboutTheShardsWrittenTo: a node leads two shards, and who has written to the second wants to hear of its followers.
func TestWaitIsAboutTheShardsWrittenTo(t *testing.T) {
	t.Parallel()
	ts := startSplit(t, "io-threads 1")
	f := newFakeTopology(1, 3)
	ts.onLoop(func() { ts.topology = f })
	leads := func(shard int, node int) { f.change(func(m *clusterMap) { m.Shards[shard-1].Leader = fakeID(node) }) }
	has := func(shard uint32, held ...uint64) {
		p := shardProgress{Applied: 1 << 40}
		for i, h := range held {
			p.Replicas = append(p.Replicas, replicaProgress{Node: fakeID(i + 2), Held: h, Synced: h, Online: true})
		}
		f.setProgress(shard, p)
	}
	leads(2, 1)
	has(1, 1<<40, 1<<40)
	has(2, 1<<40, 0)
	c := ts.dial()
	c.must("WAIT 0 0", ":1\r\n") // it has written nothing: the least of all
	c.must("SET "+ts.keyOf(1)+" v", "+OK\r\n")
	c.must("WAIT 0 0", ":2\r\n")
	c.must("SET "+ts.keyOf(2)+" v", "+OK\r\n")
	c.must("WAIT 0 0", ":1\r\n")
	c.must("WAITAOF 0 0 0", "*2\r\n:1\r\n:1\r\n")
	c.must("SET "+ts.keyOf(1)+" v", "+OK\r\n")
	c.must("WAIT 0 0", ":1\r\n") // the earlier write counts on
	c.must("MULTI", "+OK\r\n")
	c.must("SET "+ts.keyOf(1)+" v", "+QUEUED\r\n")
	c.must("WAIT 0 0", "+QUEUED\r\n")
	c.must("EXEC", "*2\r\n+OK\r\n:1\r\n")

	waits := func() bool {
		n := 0
		ts.onLoop(func() { n = len(ts.loops[0].awaiting) })
		return n == 1
	}
	c.send(line("WAIT 2 0"))
	eventually(t, "it waits", waits)
	has(2, 1<<40, ts.node.shard(2).engine.AppliedIndex())
	c.want(":2\r\n")

	has(2, 0, 0)
	c.send(line("WAIT 1 0"))
	eventually(t, "it waits", waits)
	leads(2, 2)
	c.want("-" + unblocked + "\r\n")
	c.must("WAIT 0 0", "-"+waitAtReplica+"\r\n")
	c.must("WAIT 0 0", ":2\r\n") // it was told, and goes on with what is led here

	flusher := ts.dial()
	leads(2, 1)
	leads(3, 1)
	has(3, 0, 0)
	flusher.must("SET "+ts.keyOf(1)+" v", "+OK\r\n")
	flusher.must("WAIT 0 0", ":2\r\n")
	flusher.must("FLUSHALL", "+OK\r\n")
	flusher.must("WAIT 0 0", ":0\r\n")
}

func TestWritingsKeepTheLastOfEachShard(t *testing.T) {
	t.Parallel()
	var x writings
	if x.all() != nil {
		t.Error("of nothing:", x.all())
	}
	want := map[uint32]uint64{}
	random := rand.New(rand.NewPCG(1, 2))
	for i := uint64(1); i < 1000; i++ {
		at := position{uint32(1 + random.IntN(5)), i}
		x.note(at)
		want[at.shard] = i
		got := map[uint32]uint64{}
		for _, p := range x.all() {
			got[p.shard] = p.index
		}
		if !maps.Equal(got, want) || len(x.all()) != len(want) {
			t.Fatalf("got %v, want %v", x.all(), want)
		}
	}
}

// TestWaitAOFUnderWrites: the log is synced now and then, and at no moment all of it is, since others go on writing.
func TestWaitAOFUnderWrites(t *testing.T) {
	t.Parallel()
	ts := start(t, "appendfsync no", "io-threads 1")
	c := ts.dial()
	c.must("SET a 1", "+OK\r\n")
	var x *waiting
	c.send(line("WAITAOF 1 0 0"))
	eventually(t, "it waits", func() bool {
		ts.onLoop(func() {
			if l := ts.loops[0]; len(l.awaiting) == 1 {
				x = l.awaiting[0]
			}
		})
		return x != nil
	})
	ts.onLoop(func() {
		for _, at := range []struct{ synced, want int64 }{{x.logged - 1, 0}, {x.logged, 1}} {
			a := ts.newAcks()
			a.logged, a.synced = x.logged+100, at.synced
			if local, _, enough := a.count(x); local != at.want || enough != (at.want == 1) {
				t.Errorf("written up to %d, synced up to %d: %d, %t", a.logged, a.synced, local, enough)
			}
		}
	})
	if err := ts.node.aof.Sync(); err != nil {
		t.Fatal(err)
	}
	c.want("*2\r\n:1\r\n:0\r\n")
}

func TestWaitCountsFollowers(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(1, 1)
	at := func(applied, a, b, synced uint64) {
		f.setProgress(1, shardProgress{Applied: applied, Replicas: []replicaProgress{
			{Node: fakeID(2), Held: a, Synced: synced, Online: true}, {Node: fakeID(3), Held: b, Synced: synced, Online: true}}})
	}
	ts := startFake(t, f)
	c := ts.dial()
	at(10, 10, 9, 9)
	c.must("WAIT 0 0", ":1\r\n")
	c.must("WAIT 1 0", ":1\r\n")
	c.must("WAIT 2 20", ":1\r\n")
	c.must("WAITAOF 1 0 0", "*2\r\n:1\r\n:0\r\n")
	c.must("WAITAOF 1 1 20", "*2\r\n:1\r\n:0\r\n")
	c.must("WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1\r\n")
	c.must("WAITAOF 0 -1 0", "-ERR value is out of range, must be positive\r\n")
	c.must("WAITAOF x 0 0", "-ERR value is not an integer or out of range\r\n")

	waits := func() bool {
		n := 0
		ts.onLoop(func() { n = len(ts.loops[0].awaiting) })
		return n == 1
	}
	c.send(line("WAIT 2 0") + line("PING"))
	eventually(t, "it waits", waits)
	at(12, 10, 10, 10)
	c.want(":2\r\n")
	c.want("+PONG\r\n")

	at(12, 10, 12, 10)
	c.send(line("WAIT 2 0") + line("PING"))
	eventually(t, "it waits", waits)
	f.change(func(m *clusterMap) { m.Shards[0].Leader = fakeID(2) })
	c.want("-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n")
	c.want("+PONG\r\n")
	if got := c.do("MULTI"); got != "+OK\r\n" {
		t.Error(got)
	}
}

func TestSentinelClientFollows(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(1, 1)
	ports := []int{tcpPort(t)}
	ts := startFake(t, f, fmt.Sprint("port ", ports[0]), "bind 127.0.0.1")
	f.change(func(m *clusterMap) {
		m.Nodes[0].Host, m.Nodes[0].Port = "127.0.0.1", ports[0]
		m.Nodes[1].Host, m.Nodes[1].Port = "127.0.0.1", ports[0]
	})
	ctx := context.Background()
	s := goredis.NewSentinelClient(&goredis.Options{Addr: fmt.Sprint("127.0.0.1:", ports[0])})
	defer s.Close()
	addr, err := s.GetMasterAddrByName(ctx, "mymaster").Result()
	if err != nil || addr[0] != "127.0.0.1" || addr[1] != fmt.Sprint(ports[0]) {
		t.Fatal(addr, err)
	}
	if err := s.GetMasterAddrByName(ctx, "nobody").Err(); err != goredis.Nil {
		t.Error(err)
	}
	if list, err := s.Sentinels(ctx, "mymaster").Result(); err != nil || len(list) != 2 || list[1]["ip"] != "10.0.0.3" || list[1]["flags"] != "sentinel" {
		t.Error(list, err)
	}
	if list, err := s.Replicas(ctx, "mymaster").Result(); err != nil || len(list) != 2 || list[1]["name"] != "10.0.0.3:7003" {
		t.Error(list, err)
	}
	if m, err := s.Master(ctx, "mymaster").Result(); err != nil || m["num-slaves"] != "2" || m["flags"] != "master" {
		t.Error(m, err)
	}
	if m, err := s.CkQuorum(ctx, "mymaster").Result(); err != nil || !strings.HasPrefix(m, "OK 3 usable Sentinels") {
		t.Error(m, err)
	}
	f.change(func(m *clusterMap) { m.Shards[0].Voters, m.Nodes[1].Down = 1, true })
	if m, err := s.CkQuorum(ctx, "mymaster").Result(); err != nil || !strings.HasPrefix(m, "OK 1 usable Sentinels") {
		t.Error("of one voter and two that learn: ", m, err)
	}
	f.change(func(m *clusterMap) { m.Shards[0].Voters, m.Nodes[2].Down = 3, true })
	if m, err := s.CkQuorum(ctx, "mymaster").Result(); err == nil || !strings.HasPrefix(err.Error(), "NOQUORUM 1 usable Sentinels") {
		t.Error("of three voters: ", m, err)
	}
	f.change(func(m *clusterMap) { m.Nodes[1].Down, m.Nodes[2].Down = false, false })
	sub := s.Subscribe(ctx, "+switch-master")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	before := f.Map()
	f.change(func(m *clusterMap) { m.Shards[0].Leader = fakeID(3) })
	after := f.Map()
	ts.leaderChanged(before.node(fakeID(1)), after.node(fakeID(3)))
	msg, err := sub.ReceiveTimeout(ctx, patience)
	if got, ok := msg.(*goredis.Message); err != nil || !ok || got.Payload != fmt.Sprintf("mymaster 127.0.0.1 %d 10.0.0.3 7003", ports[0]) {
		t.Fatal(msg, err)
	}
}

// TestSwitchMasterIsNotMissed: that another node leads may be heard of before it is known to lead, and told then, once.
func TestSwitchMasterIsNotMissed(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(1, 1)
	ts := startFake(t, f)
	c := ts.dial()
	c.must("SUBSCRIBE +switch-master", "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n")
	look := func(leader int, led bool) {
		before := f.Map()
		f.change(func(m *clusterMap) { m.Shards[0].Leader, m.Shards[0].Led = fakeID(leader), led })
		ts.topologyChanged(before, f.Map())
	}
	look(1, true)
	look(3, false)
	look(3, true)
	look(3, true)
	look(2, false)
	look(3, true)
	look(1, true)
	for _, want := range []string{"mymaster 10.0.0.1 7001 10.0.0.3 7003", "mymaster 10.0.0.3 7003 10.0.0.1 7001"} {
		c.want("*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n" + bulk(want))
	}
	c.must("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n")
}

// TestLearnersAreNotFailedOverTo: who has no vote cannot lead.
func TestLearnersAreNotFailedOverTo(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(1, 1)
	learner := replicaProgress{Node: fakeID(2), Held: 100, Online: true, Learner: true}
	f.setProgress(1, shardProgress{Applied: 100, Replicas: []replicaProgress{learner, {Node: fakeID(3), Held: 100, Online: true}}})
	c := startFake(t, f).dial()
	c.must("FAILOVER TO 10.0.0.2 7002", "-ERR FAILOVER target HOST and PORT is not a replica.\r\n")
	f.setProgress(1, shardProgress{Applied: 100, Replicas: []replicaProgress{learner}})
	c.must("FAILOVER", "-ERR FAILOVER requires connected replicas.\r\n")
	f.change(func(m *clusterMap) { m.Shards[0].Replicas = m.Shards[0].Replicas[:2] })
	c.must("SENTINEL FAILOVER mymaster", "-NOGOODSLAVE No suitable replica to promote\r\n")
}

// TestFailoverThatFailsLeavesNoTrace: once FAILOVER has come to nothing, or was aborted, the document says again who is to lead.
func TestFailoverThatFailsLeavesNoTrace(t *testing.T) {
	t.Parallel()
	list := startThree(t)
	leader := leaderOf(t, list, "a", "0")
	m := leader.node.member
	id := leader.node.local()[0].id
	wanted := m.view().Shard(id).Replicas[0]
	for _, ts := range list {
		if other := ts.node.member.id.Node; ts != leader && cluster.NodeID(other) != wanted {
			ts.end(false)
			ctx, abort := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- m.Transfer(ctx, id, other) }()
			eventually(t, "it is to lead", func() bool { return m.view().Shard(id).Replicas[0] == cluster.NodeID(other) })
			abort()
			if err := <-ended; err == nil {
				t.Error("a node leads that is not there")
			}
			eventually(t, "it is not to lead any more", func() bool { return m.view().Shard(id).Replicas[0] == wanted })
			return
		}
	}
}

// TestFailoverClient has go-redis find the leader by way of Sentinel's commands, and use it.
func TestFailoverClient(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(1, 1)
	a, b := tcpPort(t), tcpPort(t)
	first := startFake(t, f, fmt.Sprint("port ", a), "bind 127.0.0.1")
	f.change(func(m *clusterMap) {
		m.Nodes[0].Host, m.Nodes[0].Port = "127.0.0.1", a
		m.Nodes[1].Host, m.Nodes[1].Port = "127.0.0.1", b
		m.Nodes[2].Host, m.Nodes[2].Port = "127.0.0.1", a
	})
	startFake(t, f, fmt.Sprint("port ", b), "bind 127.0.0.1")
	c := goredis.NewFailoverClient(&goredis.FailoverOptions{MasterName: "mymaster", SentinelAddrs: []string{fmt.Sprint("127.0.0.1:", a)}, MaxRetries: 10})
	defer c.Close()
	ctx := context.Background()
	port := func() string { return c.ConfigGet(ctx, "port").Val()["port"] }
	if got := port(); got != fmt.Sprint(a) {
		t.Fatal(got)
	}
	before := f.Map()
	f.change(func(m *clusterMap) { m.Shards[0].Leader = fakeID(2) })
	eventually(t, "the client has gone to the new leader", func() bool {
		first.leaderChanged(before.node(fakeID(1)), before.node(fakeID(2)))
		time.Sleep(5 * time.Millisecond)
		return port() == fmt.Sprint(b)
	})
}

func TestSubscribedInRESP2(t *testing.T) {
	t.Parallel()
	theirs, ours := startRedis(t).dial(), start(t).dial()
	for _, l := range strings.Split(`SUBSCRIBE +switch-master
PSUBSCRIBE +*
SUBSCRIBE +switch-master
GET a
PING
PING a
PING a b
UNSUBSCRIBE nosuch
UNSUBSCRIBE +switch-master
UNSUBSCRIBE
MULTI
PUNSUBSCRIBE
PUNSUBSCRIBE
GET a
SUBSCRIBE
SUBSCRIBE +a
RESET
GET a`, "\n") {
		words := strings.Fields(l)
		if want, got := theirs.do(words...), ours.do(words...); got != want {
			t.Errorf("%s:\n ours   %.600q\n theirs %.600q", l, got, want)
		}
	}
	ours.must("SUBSCRIBE news", "-ERR Larder has no pub/sub yet but Sentinel's events, such as +switch-master\r\n")
}

// TestClusterErrorsAreRedis compares what a server says that is in cluster mode, and one that is not.
func TestClusterErrorsAreRedis(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"no", "yes"} {
		theirs, ours := startRedis(t, "--cluster-enabled", mode).dial(), start(t, "cluster-enabled "+mode).dial()
		for _, l := range strings.Split(strings.TrimSpace(clusterErrorLines), "\n") {
			words := strings.Fields(l)
			if want, got := theirs.do(words...), ours.do(words...); got != want {
				t.Errorf("cluster-enabled %s, %s:\n ours   %.600q\n theirs %.600q", mode, l, got, want)
			}
		}
	}
}

const clusterErrorLines = `
CLUSTER
CLUSTER NOSUCH
CLUSTER KEYSLOT
CLUSTER KEYSLOT a
CLUSTER KEYSLOT {a}b
CLUSTER COUNTKEYSINSLOT x
CLUSTER COUNTKEYSINSLOT 99999
CLUSTER COUNTKEYSINSLOT -1
CLUSTER COUNTKEYSINSLOT 5
CLUSTER GETKEYSINSLOT 1 x
CLUSTER GETKEYSINSLOT x 1
CLUSTER GETKEYSINSLOT 1 -1
CLUSTER GETKEYSINSLOT 16384 1
CLUSTER GETKEYSINSLOT 1 10
CLUSTER REPLICAS x
CLUSTER SLAVES x
CLUSTER COUNT-FAILURE-REPORTS x
CLUSTER FAILOVER
CLUSTER FAILOVER x
CLUSTER FAILOVER FORCE x
CLUSTER MEET a
CLUSTER MYID x
ASKING
ASKING x
READONLY
READWRITE
SELECT 0
FAILOVER
FAILOVER ABORT
FAILOVER x
FAILOVER TO a
FAILOVER TIMEOUT 0
FAILOVER TIMEOUT x
FAILOVER TIMEOUT 1 TIMEOUT 2
FAILOVER ABORT x
FAILOVER FORCE
WAIT 0 0
WAIT x 1
WAIT 1 x
WAIT 1 -1
WAIT 0 1
REPLICAOF x y
INFO cluster
`

// TestSentinelsOfANodeThatTheMapLacks: a node that has not learned that it is a member, or hears that it is none any more,
// still answers with as many elements as it says.
func TestSentinelsOfANodeThatTheMapLacks(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(3, 1)
	f.change(func(m *clusterMap) { m.Nodes = m.Nodes[:2] })
	c := startFake(t, f).dial()
	if got := c.do("SENTINEL", "SENTINELS", "mymaster"); !strings.HasPrefix(got, "*2\r\n") {
		t.Errorf("of two others: %.20q", got)
	}
	if got := c.do("SENTINEL", "MASTER", "mymaster"); !strings.Contains(got, "num-other-sentinels\r\n$1\r\n2\r\n") {
		t.Errorf("of two others: %q", got)
	}
	c.must("PING", "+PONG\r\n")
}
