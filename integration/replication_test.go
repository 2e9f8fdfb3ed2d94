package integration

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// asked is what a node answers, as text: elements of arrays are joined by blanks.
func asked(t *testing.T, n *server, args ...any) string {
	t.Helper()
	v, err := clientOf(t, n).Do(context.Background(), args...).Result()
	if err != nil {
		return "-" + err.Error()
	}
	return flat(v)
}

func flat(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	var words []string
	for _, e := range list {
		words = append(words, flat(e))
	}
	return strings.Join(words, " ")
}

// TestReplicationTellsTheTruth: what ROLE, INFO, WAIT, WAITAOF, FAILOVER and SENTINEL say and do on real nodes.
func TestReplicationTellsTheTruth(t *testing.T) {
	t.Parallel()
	nodes := startMembers(t, 3)
	leader, others := leaderOf(t, nodes)
	ctx := context.Background()
	port := func(n *server) string { return strconv.Itoa(n.port) }
	follows := func(n, leader *server) bool {
		info := asked(t, n, "INFO", "replication")
		return strings.HasPrefix(asked(t, n, "ROLE"), "slave 127.0.0.1 "+port(leader)+" connected ") &&
			strings.Contains(info, "role:slave\r\n") && strings.Contains(info, "master_port:"+port(leader)+"\r\n") &&
			strings.Contains(info, "master_link_status:up\r\n")
	}
	leads := func(n *server, others ...*server) bool {
		role, info := asked(t, n, "ROLE"), asked(t, n, "INFO", "replication")
		for _, o := range others {
			if !strings.Contains(role, "127.0.0.1 "+port(o)+" ") {
				return false
			}
		}
		return strings.HasPrefix(role, "master ") && strings.Contains(info, "role:master\r\n") &&
			strings.Contains(info, fmt.Sprintf("connected_slaves:%d\r\n", len(others)))
	}
	eventually(t, "all know their places", func() bool {
		return leads(leader, others...) && follows(others[0], leader) && follows(others[1], leader)
	})

	// On one connection, since a WAIT is about what came before it.
	conn := clientOf(t, leader).Conn()
	defer conn.Close()
	wants := func(want string, args ...any) {
		t.Helper()
		v, err := conn.Do(ctx, args...).Result()
		if err != nil || flat(v) != want {
			t.Errorf("%v: %v, %v; want %s", args, v, err, want)
		}
	}
	wants("OK", "SET", "k", "v")
	wants("2", "WAIT", 2, 60_000)
	wants("1 2", "WAITAOF", 1, 2, 60_000)
	others[1].kill()
	wants("OK", "SET", "k", "w")
	wants("1", "WAIT", 2, 300)
	wants("1 1", "WAITAOF", 1, 2, 300)
	others[1].restart()
	wants("2", "WAIT", 2, 60_000)
	settle(t, leader, 3)

	// The leadership goes where it is told to, and all hear of it.
	told := redis.NewSentinelClient(&redis.Options{Addr: others[1].addr()})
	defer told.Close()
	switched := told.Subscribe(ctx, "+switch-master")
	defer switched.Close()
	if _, err := switched.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	next := others[0]
	if got := asked(t, leader, "FAILOVER", "TO", "127.0.0.1", next.port); got != "OK" {
		t.Fatal("FAILOVER: ", got)
	}
	eventually(t, "the next leads", func() bool {
		return leads(next, leader, others[1]) && follows(leader, next) && follows(others[1], next)
	})
	want := "mymaster 127.0.0.1 " + port(leader) + " 127.0.0.1 " + port(next)
	if m, err := switched.ReceiveTimeout(ctx, patience); err != nil || m.(*redis.Message).Payload != want {
		t.Errorf("+switch-master: %v, %v; want %s", m, err, want)
	}
	for _, n := range nodes {
		s := redis.NewSentinelClient(&redis.Options{Addr: n.addr()})
		defer s.Close()
		addr, err := s.GetMasterAddrByName(ctx, "mymaster").Result()
		if err != nil || !slices.Equal(addr, []string{"127.0.0.1", port(next)}) {
			t.Errorf("the master is at %v, %v", addr, err)
		}
		if list, err := s.Replicas(ctx, "mymaster").Result(); err != nil || len(list) != 2 {
			t.Errorf("replicas: %v, %v", list, err)
		}
		if list, err := s.Sentinels(ctx, "mymaster").Result(); err != nil || len(list) != 2 {
			t.Errorf("sentinels: %v, %v", list, err)
		}
		if got := asked(t, n, "GET", "k"); got != "w" {
			t.Errorf("GET k: %s", got)
		}
	}
}

// TestClusterTellsTheTruth: what CLUSTER says and does on real nodes.
func TestClusterTellsTheTruth(t *testing.T) {
	t.Parallel()
	members := startMembers(t, 3, "--cluster-enabled", "yes")
	ctx := context.Background()
	byAddr := map[string]*server{}
	for _, n := range members {
		byAddr[n.addr()] = n
	}
	// leads is who leads the slot of "a", as a node says.
	const slot = 15495
	leads := func(n *server) (leader *server, followers []*server) {
		//lint:ignore SA1019 most clients ask for slots
		slots, err := clientOf(t, n).ClusterSlots(ctx).Result()
		if err != nil {
			return nil, nil
		}
		for _, s := range slots {
			if s.Start <= slot && slot <= s.End && len(s.Nodes) == 3 {
				return byAddr[s.Nodes[0].Addr], []*server{byAddr[s.Nodes[1].Addr], byAddr[s.Nodes[2].Addr]}
			}
		}
		return nil, nil
	}
	agree := func() (leader *server, followers []*server) {
		eventually(t, "all agree who leads", func() bool {
			leader, followers = leads(members[0])
			for _, n := range members[1:] {
				if other, _ := leads(n); other != leader {
					return false
				}
			}
			return leader != nil
		})
		return leader, followers
	}
	leader, followers := agree()
	if got := asked(t, leader, "SET", "a", "v"); got != "OK" {
		t.Fatal(got)
	}
	moved := fmt.Sprintf("-MOVED %d %s", slot, leader.addr())
	for _, n := range followers {
		if got := asked(t, n, "GET", "a"); got != moved {
			t.Errorf("GET of a follower: %s; want %s", got, moved)
		}
		if got := asked(t, n, "CLUSTER", "KEYSLOT", "a"); got != strconv.Itoa(slot) {
			t.Error(got)
		}
		if got := asked(t, n, "MSET", "a", "1", "b", "2"); !strings.HasPrefix(got, "-CROSSSLOT ") {
			t.Error(got)
		}
	}
	if got := asked(t, leader, "CLUSTER", "COUNTKEYSINSLOT", slot) + asked(t, leader, "CLUSTER", "GETKEYSINSLOT", slot, 10); got != "1a" {
		t.Error(got)
	}
	for _, n := range members {
		id := asked(t, n, "CLUSTER", "MYID")
		info, nodes := asked(t, n, "CLUSTER", "INFO"), asked(t, n, "CLUSTER", "NODES")
		for _, want := range []string{"cluster_state:ok\r\n", "cluster_slots_assigned:16384\r\n", "cluster_known_nodes:3\r\n"} {
			if !strings.Contains(info, want) {
				t.Errorf("CLUSTER INFO has no %q: %s", want, info)
			}
		}
		if !strings.Contains(nodes, id+" "+n.addr()+"@") || strings.Count(nodes, "myself") != 1 || strings.Count(nodes, "\n") != 3 {
			t.Errorf("CLUSTER NODES of %s: %s", id, nodes)
		}
		if shards, err := clientOf(t, n).ClusterShards(ctx).Result(); err != nil || len(shards) != 1 || len(shards[0].Nodes) != 3 {
			t.Errorf("CLUSTER SHARDS: %+v, %v", shards, err)
		}
		if links, err := clientOf(t, n).ClusterLinks(ctx).Result(); err != nil || len(links) != 4 {
			t.Errorf("CLUSTER LINKS: %+v, %v", links, err)
		}
	}

	if got := asked(t, leader, "CLUSTER", "FAILOVER"); !strings.Contains(got, "to a replica") {
		t.Errorf("CLUSTER FAILOVER at the leader: %s", got)
	}
	if got := asked(t, followers[1], "CLUSTER", "FAILOVER"); got != "OK" {
		t.Fatalf("CLUSTER FAILOVER: %s", got)
	}
	eventually(t, "the replica leads", func() bool { now, _ := agree(); return now == followers[1] })
	if got := asked(t, followers[1], "GET", "a"); got != "v" {
		t.Errorf("GET of the new leader: %s", got)
	}
}
