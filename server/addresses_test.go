package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/larder-db/larder/raftfsm/peer"
	"github.com/larder-db/larder/server/config"
)

// TestAnnouncedAddressIsListenedOn: what others are told is where the node is, whatever address it calls them from.
func TestAnnouncedAddressIsListenedOn(t *testing.T) {
	for _, c := range []struct{ bind, toMember, want string }{
		{"*", "10.0.0.7:40000", "10.0.0.7:16379"},
		{"10.0.0.5", "10.0.0.7:40000", "10.0.0.5:16379"},
		{"10.0.0.5 10.0.0.7", "10.0.0.7:40000", "10.0.0.7:16379"},
		{"127.0.0.3", "127.0.0.1:40000", "127.0.0.3:16379"},
	} {
		loaded, _, err := config.Load(config.Options{Version: Version, Args: []string{
			"--bind", c.bind, "--cluster-secret", "long enough to be one", "--port", "6379"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := addressesOf(loaded.Load(), c.toMember).peer; got != c.want {
			t.Errorf("bind %s, reached from %s: %s, want %s", c.bind, c.toMember, got, c.want)
		}
	}
}

// TestTheClusterPortIsGuarded: what asks for other nodes needs something that they have to prove.
func TestTheClusterPortIsGuarded(t *testing.T) {
	for _, c := range []struct{ directives, says string }{
		{"", ""},
		{"--cluster-enabled yes --shards 4", ""},
		{"--requirepass p", ""},
		{"--cluster-port -1", ""},
		{"--cluster-port 7000", "cluster-port needs cluster-secret"},
		{"--cluster-join 127.0.0.1:7001", "cluster-join needs cluster-secret"},
		{"--cluster-port 7000 --cluster-join 127.0.0.1:7001 --cluster-secret s", ""},
		{"--cluster-port 7000 --tls-cluster yes", ""},
		{"--tls-cluster yes --tls-port 7001", "tls-cluster needs cluster-secret"},
		{"--tls-cluster yes --tls-port 7001 --tls-auth-clients optional", "tls-cluster needs cluster-secret"},
		{"--tls-cluster yes --tls-port 7001 --tls-auth-clients no", ""},
		{"--tls-cluster yes --tls-port 7001 --cluster-secret s", ""},
	} {
		loaded, _, err := config.Load(config.Options{Version: Version, Args: strings.Fields("--port 6379 " + c.directives)})
		if err != nil {
			t.Fatal(err)
		}
		v := loaded.Load()
		if err := mayHavePeers(v); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.directives, err)
		}
		guarded := strings.Contains(c.directives, "secret") || strings.Contains(c.directives, "tls-cluster")
		if a := addressesOf(v, ""); (len(a.peerBind) > 0) != guarded {
			t.Errorf("%s: it would listen on %q", c.directives, a.peerBind)
		}
	}
}

// TestStrangersGetNothingFromTheClusterPort: a node without a secret has none, and one with a secret tells who speaks the
// protocol, but does not know it, nothing either. The password would be no hindrance there.
func TestStrangersGetNothingFromTheClusterPort(t *testing.T) {
	port, other := tcpPort(t), tcpPort(t)
	alone := start(t, fmt.Sprintf("port %d", port), "requirepass p")
	if alone.node.member.endpoint != nil {
		t.Errorf("it has a cluster port at %s", alone.node.member.endpoint.Addr())
	}
	if address, _, err := Where(context.Background(), net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err != nil || address != "" {
		t.Errorf("it says that its cluster port is at %q: %v", address, err)
	}
	ts := start(t, fmt.Sprintf("cluster-port %d", other), "cluster-secret s", "requirepass p")
	stranger, err := peer.Listen(peer.Options{Bind: []string{"127.0.0.1"}, Secret: "p", NodeID: func() string { return "stranger" },
		ClusterID: func() string { return ts.node.member.id.Cluster }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	for _, s := range []peer.Service{{Kind: peer.Control}, {Kind: peer.Forward}, {Kind: peer.Raft}, {Kind: peer.Snapshot, Group: 1}} {
		if c, err := stranger.Dial(context.Background(), ts.node.member.endpoint.Addr().String(), s); !errors.Is(err, peer.ErrSecret) {
			t.Errorf("%v: %v, %v", s, c, err)
		}
	}
}
