package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
)

// keeper is a client library that finds its way through failovers by itself.
type keeper struct {
	name string
	set  func(key, value string) error
	get  func(key string) (string, error)
}

// upkeep is one client at work: it writes key after key, and remembers what was acknowledged.
type upkeep struct {
	keeper
	acked  atomic.Int64 // how many
	streak atomic.Int64 // of writes that were acknowledged, one after the other
	failed atomic.Int64
	mu     sync.Mutex
	keys   []string
	faults map[string]int // by their text
}

func (u *upkeep) run(stop <-chan struct{}) {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		key := fmt.Sprint(u.name, ":", i)
		err := u.set(key, key)
		u.mu.Lock()
		if err == nil {
			u.keys = append(u.keys, key)
			u.acked.Add(1)
			u.streak.Add(1)
		} else {
			u.streak.Store(0)
			u.faults[err.Error()]++
			u.failed.Add(1)
		}
		u.mu.Unlock()
	}
}

// isFailover says whether a client may be left with an error while another node comes to lead: who it spoke to is gone, or
// nobody leads yet, or the write may or may not have been carried out. Who has used up its tries on a node that is gone is
// left with the last redirection.
func isFailover(text string) bool {
	if strings.Contains(text, errWrong.Error()) {
		return false
	}
	for _, s := range []string{"INDETERMINATE ", "CLUSTERDOWN ", "MOVED ", io.EOF.Error(), "connection refused", "connection reset", "broken pipe", "timeout", "closed"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// shift is clients at work.
type shift struct {
	t       *testing.T
	all     []*upkeep
	stop    chan struct{}
	running sync.WaitGroup
}

func atWork(t *testing.T, clients ...keeper) *shift {
	s := &shift{t: t, stop: make(chan struct{})}
	for _, k := range clients {
		u := &upkeep{keeper: k, faults: map[string]int{}}
		s.all = append(s.all, u)
		s.running.Go(func() { u.run(s.stop) })
	}
	t.Cleanup(s.end)
	return s
}

// more waits until each client has written some more, one after the other: so many keys are of all shards, in all likelihood.
func (s *shift) more(when string) {
	s.t.Helper()
	for _, u := range s.all {
		u.streak.Store(0)
		eventually(s.t, u.name+" writes "+when, func() bool { return u.streak.Load() >= 40 })
	}
}

// end has the clients stop.
func (s *shift) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.running.Wait()
}

// check ends the work. It fails if a client was told what it may not be, or if anything is gone that it was told is there.
func (s *shift) check(may func(text string) bool) {
	s.t.Helper()
	s.end()
	for _, u := range s.all {
		s.t.Logf("%s: %d writes were acknowledged, %d failed: %v", u.name, u.acked.Load(), u.failed.Load(), u.faults)
		for text := range u.faults {
			if !may(text) {
				s.t.Errorf("%s was told %q", u.name, text)
			}
		}
		for _, key := range u.keys {
			var v string
			var err error
			eventually(s.t, u.name+" has an answer", func() bool {
				v, err = u.get(key)
				return err == nil || !isFailover(err.Error())
			})
			if err != nil || v != key {
				s.t.Fatalf("%s: %s was acknowledged, and is %q, %v", u.name, key, v, err)
			}
		}
	}
}

// throughFailovers has the clients write while leaders are killed and come back, and checks that they go on, and that
// nothing is lost that they were told is there.
func throughFailovers(t *testing.T, nodes []*server, clients ...keeper) {
	all := atWork(t, clients...)
	all.more("at first")
	for range 2 {
		leader, others := leaderOf(t, nodes)
		leader.kill()
		all.more("when a leader is gone")
		leader.restart()
		settle(t, others[0], 3)
		all.more("when it is back")
	}
	all.check(func(text string) bool { return isFailover(text) })
}

// ofGoRedis is go-redis, in whatever mode.
func ofGoRedis(t *testing.T, name string, c redis.UniversalClient) keeper {
	t.Cleanup(func() { _ = c.Close() })
	ctx := context.Background()
	return keeper{
		name: name,
		set:  func(key, value string) error { return c.Set(ctx, key, value, 0).Err() },
		get:  func(key string) (string, error) { return c.Get(ctx, key).Result() },
	}
}

func addrsOf(nodes []*server) (list []string) {
	for _, n := range nodes {
		list = append(list, n.addr())
	}
	return list
}

// ofRueidis is rueidis, whose client-side caching has to be off.
func ofRueidis(t *testing.T, o rueidis.ClientOption) keeper {
	t.Helper()
	o.DisableCache = true
	c, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx := context.Background()
	return keeper{
		name: "rueidis",
		set:  func(key, value string) error { return c.Do(ctx, c.B().Set().Key(key).Value(value).Build()).Error() },
		get:  func(key string) (string, error) { return c.Do(ctx, c.B().Get().Key(key).Build()).ToString() },
	}
}

// mapAge is how old go-redis lets its map become. It does not ask for another when a node cannot be reached, and would go on
// dialling one that is gone for a minute.
const mapAge = time.Second

func clusterClients(t *testing.T, nodes []*server) []keeper {
	t.Helper()
	return append(ofIoredis(t, "cluster", nodes), ofRules(t, nodes),
		ofGoRedis(t, "go-redis", redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrsOf(nodes), ClusterStateReloadInterval: mapAge})),
		ofRueidis(t, rueidis.ClientOption{InitAddress: addrsOf(nodes)}))
}

func TestClusterClientsThroughFailovers(t *testing.T) {
	nodes := startMembers(t, 3, "--cluster-enabled", "yes", "--shards", "3")
	throughFailovers(t, nodes, clusterClients(t, nodes)...)
}

func TestSentinelClientsThroughFailovers(t *testing.T) {
	nodes := startMembers(t, 3)
	throughFailovers(t, nodes, append(ofIoredis(t, "sentinel", nodes),
		ofGoRedis(t, "go-redis", redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "mymaster", SentinelAddrs: addrsOf(nodes)})),
		ofRueidis(t, rueidis.ClientOption{InitAddress: addrsOf(nodes), Sentinel: rueidis.SentinelOption{MasterSet: "mymaster"}}))...)
}

// TestClusterClientsThroughMigrations: slots go to and fro under clients of every kind, which notice nothing.
func TestClusterClientsThroughMigrations(t *testing.T) {
	nodes := startMembers(t, 3, "--cluster-enabled", "yes", "--shards", "3")
	terms := func() (sum uint64) {
		for _, g := range status(t, nodes[0]).Groups {
			sum += g.Term
		}
		return sum
	}
	before := terms()
	all := atWork(t, clusterClients(t, nodes)...)
	all.more("at first")
	refusedBy(t, nodes[0], "no shard 9", "migrate-slots", "--from", "1", "--to", "9", "--slots", "0-9")
	refusedBy(t, nodes[0], "does not own the slots", "migrate-slots", "--from", "1", "--to", "2", "--slots", "16000")
	for _, move := range [][3]string{{"1", "2", "0-5000"}, {"2", "3", "0-5000,5461-9000"}, {"3", "1", "0-5000,10923-16383"}} {
		mustCluster(t, nodes[0], "migrate-slots", "--from", move[0], "--to", move[1], "--slots", move[2], "--watch")
		all.more("when slots have moved")
	}
	all.check(func(text string) bool { return terms() != before && isFailover(text) })
}

// A connection that says READONLY reads the node that it is connected to, which may be behind, also where nodes forward.
func TestReadOnlyReadsTheNode(t *testing.T) {
	nodes := startMembers(t, 3)
	leader, others := leaderOf(t, nodes)
	ctx := context.Background()
	tell(t, leader, "k", "v")
	replica := clientOf(t, others[0]).Conn()
	defer replica.Close()
	if err := replica.ReadOnly(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica has it", func() bool {
		v, err := replica.Get(ctx, "k").Result()
		return err == nil && v == "v"
	})
	eventually(t, "a write is still the leader's", func() bool { return replica.Set(ctx, "own", "v", 0).Err() == nil })
	// Nobody else is left to ask.
	leader.kill()
	others[1].kill()
	if v, err := replica.Get(ctx, "k").Result(); v != "v" {
		t.Errorf("%q, %v", v, err)
	}
	if err := replica.ReadWrite(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.Get(ctx, "k").Result(); err == nil || errors.Is(err, redis.Nil) {
		t.Errorf("a read that may not see the past: %v", err)
	}
}
