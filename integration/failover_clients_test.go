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
		} else {
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
	for _, s := range []string{"INDETERMINATE ", "CLUSTERDOWN ", "MOVED ", io.EOF.Error(), "connection refused", "connection reset", "broken pipe", "timeout", "closed"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// throughFailovers has the clients write while leaders are killed and come back, and checks that they go on, and that
// nothing is lost that they were told is there.
func throughFailovers(t *testing.T, nodes []*server, clients ...keeper) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	var all []*upkeep
	for _, k := range clients {
		u := &upkeep{keeper: k, faults: map[string]int{}}
		all = append(all, u)
		running.Go(func() { u.run(stop) })
	}
	more := func(when string) {
		t.Helper()
		for _, u := range all {
			goal := u.acked.Load() + 20
			eventually(t, u.name+" writes "+when, func() bool { return u.acked.Load() >= goal })
		}
	}
	more("at first")
	for range 2 {
		leader, others := leaderOf(t, nodes)
		leader.kill()
		more("when a leader is gone")
		leader.restart()
		settle(t, others[0], 3)
		more("when it is back")
	}
	close(stop)
	running.Wait()
	for _, u := range all {
		t.Logf("%s: %d writes were acknowledged, %d failed: %v", u.name, u.acked.Load(), u.failed.Load(), u.faults)
		for text := range u.faults {
			if !isFailover(text) {
				t.Errorf("%s was told %q", u.name, text)
			}
		}
		for _, key := range u.keys {
			var v string
			var err error
			eventually(t, u.name+" has an answer", func() bool {
				v, err = u.get(key)
				return err == nil || !isFailover(err.Error())
			})
			if err != nil || v != key {
				t.Fatalf("%s: %s was acknowledged, and is %q, %v", u.name, key, v, err)
			}
		}
	}
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

func TestClusterClientsThroughFailovers(t *testing.T) {
	nodes := startMembers(t, 3, "--cluster-enabled", "yes", "--shards", "3")
	rueidisClient, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addrsOf(nodes), DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rueidisClient.Close)
	ctx := context.Background()
	throughFailovers(t, nodes,
		ofGoRedis(t, "go-redis", redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrsOf(nodes)})),
		keeper{
			name: "rueidis",
			set: func(key, value string) error {
				return rueidisClient.Do(ctx, rueidisClient.B().Set().Key(key).Value(value).Build()).Error()
			},
			get: func(key string) (string, error) {
				return rueidisClient.Do(ctx, rueidisClient.B().Get().Key(key).Build()).ToString()
			},
		})
}

func TestSentinelClientsThroughFailovers(t *testing.T) {
	nodes := startMembers(t, 3)
	sentinel, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: addrsOf(nodes), DisableCache: true, Sentinel: rueidis.SentinelOption{MasterSet: "mymaster"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sentinel.Close)
	ctx := context.Background()
	throughFailovers(t, nodes,
		ofGoRedis(t, "go-redis", redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "mymaster", SentinelAddrs: addrsOf(nodes)})),
		keeper{
			name: "rueidis",
			set: func(key, value string) error {
				return sentinel.Do(ctx, sentinel.B().Set().Key(key).Value(value).Build()).Error()
			},
			get: func(key string) (string, error) {
				return sentinel.Do(ctx, sentinel.B().Get().Key(key).Build()).ToString()
			},
		})
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
