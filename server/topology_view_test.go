package server

import (
	"context"
	cryptorand "crypto/rand"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/raftfsm/peer"
)

func TestMapOfTheDocument(t *testing.T) {
	t.Parallel()
	id := func(n int) cluster.NodeID { return cluster.NodeID(fakeID(n)) }
	d := &cluster.Document{
		ClusterID: strings.Repeat("c", 40), Epoch: 9,
		Nodes: []cluster.Node{{ID: id(1), Client: "10.0.0.1:7001", Secure: "10.0.0.1:7101", Peer: "10.0.0.1:17001"}, {ID: id(2), Client: "[::1]:7002", Peer: "[::1]:17002"},
			{ID: id(3), Client: "c.example:7003", Peer: "c.example:17003", State: cluster.NodeGone}},
		Shards: []cluster.Shard{
			{ID: 1, Slots: []cluster.Range{{From: 0, To: 99}}, Replicas: []cluster.NodeID{id(1), id(2)}, Leader: id(2), Term: 4},
			{ID: 2, Slots: []cluster.Range{{From: 100, To: 16383}}, Replicas: []cluster.NodeID{id(2), id(1)}, Leader: id(3), Term: 6},
			{ID: 3, Replicas: []cluster.NodeID{id(2)}},
		},
		Migrations: []cluster.Migration{{From: 2, To: 1, Slots: []cluster.Range{{From: 100, To: 101}}, State: cluster.MigrationCopying},
			{From: 1, To: 2, Slots: []cluster.Range{{From: 5, To: 5}}, State: cluster.MigrationFlipped}},
	}
	got := mapOf(cluster.NewView(d), id(1), liveness{
		leader: func(shard uint32) (cluster.NodeID, uint64) {
			if shard == 1 {
				return id(1), 5
			}
			return "", 0
		},
		down: func(node cluster.NodeID) bool { return node == id(2) },
	})
	want := &clusterMap{ID: d.ClusterID, Epoch: 9, Self: fakeID(1),
		Nodes: []clusterNode{{ID: fakeID(1), Host: "10.0.0.1", Port: 7001, TLSPort: 7101, PeerPort: 17001}, {ID: fakeID(2), Host: "::1", Port: 7002, PeerPort: 17002, Down: true},
			{ID: fakeID(3), Host: "c.example", Port: 7003, PeerPort: 17003, Down: true}},
		Shards: []clusterShard{
			{ID: 1, Slots: []slotRange{{0, 99}}, Leader: fakeID(1), Led: true, Term: 5, Replicas: []string{fakeID(1), fakeID(2)}, Voters: 1},
			{ID: 2, Slots: []slotRange{{100, 16383}}, Leader: fakeID(3), Term: 6, Replicas: []string{fakeID(2), fakeID(1), fakeID(3)}, Voters: 1},
			{ID: 3, Slots: []slotRange{}, Leader: fakeID(2), Replicas: []string{fakeID(2)}, Voters: 1},
		},
		Moves: []slotMove{{Slots: []slotRange{{100, 101}}, From: 2, To: 1}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestForwardOverThePeerPort forwards as nodes do, with real connections, and follows the leader to another node.
func TestForwardOverThePeerPort(t *testing.T) {
	t.Parallel()
	f := newFakeTopology(3, 1)
	var ends []*peer.Endpoint
	var servers []*testServer
	for n := 1; n <= 3; n++ {
		e, err := peer.Listen(peer.Options{Bind: []string{"127.0.0.1"}, Secret: "a secret of this test", Clock: time.Now, Random: cryptorand.Reader,
			NodeID: func() string { return fakeID(n) }, ClusterID: func() string { return strings.Repeat("c", 40) }})
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, e)
		ts := start(t, "io-threads 1")
		servers = append(servers, ts)
		if err := ts.serveForwarded(e.Serve(peer.Service{Kind: peer.Forward})); err != nil {
			t.Fatal(err)
		}
	}
	for i, ts := range servers {
		ts.forwardTo(&forwarding{
			leads:  func() bool { return f.Map().Shards[0].leads(fakeID(i + 1)) },
			leader: func() string { return f.Map().Shards[0].Leader },
			dial: func(ctx context.Context, node string) (net.Conn, error) {
				for n := range ends {
					if node == fakeID(n+1) {
						return ends[i].Dial(ctx, ends[n].Addr().String(), peer.Service{Kind: peer.Forward})
					}
				}
				return nil, fmt.Errorf("no node %s", node)
			},
		})
	}
	t.Cleanup(func() {
		for i := range servers {
			servers[i].end(false)
			if err := ends[i].Close(); err != nil {
				t.Error(err)
			}
		}
	})
	c, direct, second := servers[2].dial(), servers[0].dial(), servers[1].dial()
	big := strings.Repeat("x", 3<<20)
	for i := range 50 {
		c.send(encode("RPUSH", "list", fmt.Sprint(i)))
	}
	for i := range 50 {
		c.want(fmt.Sprintf(":%d\r\n", i+1))
	}
	if got := c.do("SET", "big", big); got != "+OK\r\n" {
		t.Fatalf("%.100q", got)
	}
	if got := direct.do("GET", "big"); got != bulk(big) {
		t.Errorf("%.100q", got)
	}
	if got := c.do("GET", "big"); got != bulk(big) {
		t.Errorf("%.100q", got)
	}
	before := f.Map()
	f.change(func(m *clusterMap) { m.Shards[0].Leader = fakeID(2) })
	for _, ts := range servers {
		ts.topologyChanged(before, f.Map())
	}
	second.must("SET where second", "+OK\r\n")
	c.must("GET where", bulk("second"))
	direct.must("GET where", bulk("second"))
}
