package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/larder-db/larder/cluster"
)

// clusterSecret is what the nodes of these tests share.
const clusterSecret = "only for tests"

// newMember describes a node of a cluster, which joins the one that is given; nil: it founds one.
func newMember(t testing.TB, joins *server, directives ...string) *server {
	t.Helper()
	own := []string{"--cluster-secret", clusterSecret}
	if joins != nil {
		own = append(own, "--cluster-join", joins.addr())
	}
	s := newLarder(t, t.TempDir(), append(own, directives...)...)
	rest, last, peers, admin := s.args, 0, 0, 0
	s.args = func(port int) []string {
		if port != last { // a start that tries another port has others for these, too
			last, peers, admin = port, freePort(t), freePort(t)
		}
		return append(rest(port), "--cluster-port", strconv.Itoa(peers), "--admin-port", strconv.Itoa(admin))
	}
	return s
}

// startMembers starts nodes of one cluster and waits until each group has three voters, or as many as there can be.
func startMembers(t testing.TB, count int, directives ...string) []*server {
	t.Helper()
	var nodes []*server
	for i := range count {
		var first *server
		if i > 0 {
			first = nodes[0]
		}
		n := newMember(t, first, directives...)
		n.start()
		nodes = append(nodes, n)
	}
	settle(t, nodes[0], min(count, 3))
	return nodes
}

// settle waits until a cluster is as it should be.
func settle(t testing.TB, n *server, voters int) {
	t.Helper()
	mustCluster(t, n, "wait", "--voters", strconv.Itoa(voters), "--settled", "--timeout", patience.String())
}

// onCluster runs larder cluster by way of a node.
func onCluster(t testing.TB, n *server, args ...string) (string, error) {
	t.Helper()
	return runTool(t, nil, larderProgram, append([]string{"cluster", args[0], "--addr", n.addr()}, args[1:]...)...)
}

func mustCluster(t testing.TB, n *server, args ...string) string {
	t.Helper()
	out, err := onCluster(t, n, args...)
	if err != nil {
		t.Fatalf("larder cluster %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// refusedBy runs larder cluster, which must be refused with the reason.
func refusedBy(t testing.TB, n *server, want string, args ...string) {
	t.Helper()
	if out, err := onCluster(t, n, args...); err == nil || !strings.Contains(out, want) {
		t.Errorf("larder cluster %s: %v: %q; want %q", strings.Join(args, " "), err, out, want)
	}
}

func status(t testing.TB, n *server) (r cluster.Report) {
	t.Helper()
	if err := json.Unmarshal([]byte(mustCluster(t, n, "status", "--json")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}

func clientOf(t testing.TB, n *server) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: n.addr(), MaxRetries: -1, ReadTimeout: patience})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// tell writes a key by way of a node. On a busy machine another may come to lead meanwhile: then a client tries again.
func tell(t testing.TB, n *server, key, value string) {
	t.Helper()
	eventually(t, "a write is taken", func() bool { return clientOf(t, n).Set(context.Background(), key, value, 0).Err() == nil })
}

// knows wants a key to have the value, as a node tells, which may try several times to have an answer at all.
func knows(t testing.TB, n *server, key, value string) {
	t.Helper()
	var got string
	eventually(t, "a read is answered", func() (answered bool) {
		var err error
		got, err = clientOf(t, n).Get(context.Background(), key).Result()
		return err == nil || errors.Is(err, redis.Nil)
	})
	if got != value {
		t.Errorf("%s is %q, not %q", key, got, value)
	}
}

// leaderOf is the node that leads the first shard.
func leaderOf(t testing.TB, nodes []*server) (leader *server, others []*server) {
	t.Helper()
	eventually(t, "somebody leads", func() bool {
		leader, others = nil, nil
		for _, n := range nodes {
			role, err := clientOf(t, n).Do(context.Background(), "ROLE").Slice()
			if err == nil && len(role) > 0 && role[0] == "master" && leader == nil {
				leader = n
				continue
			}
			others = append(others, n)
		}
		return leader != nil
	})
	return leader, others
}

// TestJoinersThatCouldNotStart: the cluster took them in, but told them nothing yet when they ended, and they come back at other
// addresses.
func TestJoinersThatCouldNotStart(t *testing.T) {
	t.Parallel()
	first := newMember(t, nil)
	first.start()
	for range 2 {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := taken.Addr().(*net.TCPAddr).Port
		n := newMember(t, first)
		n.process = startProcess(t, exec.Command(n.program, n.args(port)...))
		err = n.wait(t)
		if said := n.output.String(); err == nil || !strings.Contains(said, "joined the cluster") || !strings.Contains(said, "address already in use") {
			t.Fatalf("a node whose port is taken ends with %v and says:\n%s", err, said)
		}
		if err := taken.Close(); err != nil {
			t.Fatal(err)
		}
		n.start()
	}
	settle(t, first, 3)
}

func TestMembersComeAndGo(t *testing.T) {
	nodes := startMembers(t, 3, "--replace-after", "1")
	if out := mustCluster(t, nodes[0], "add"); !strings.Contains(out, "--cluster-join "+nodes[0].addr()) {
		t.Errorf("add does not tell how:\n%s", out)
	}
	spare := newMember(t, nodes[1], "--replace-after", "1")
	spare.start()
	mustCluster(t, nodes[0], "add", spare.addr())
	tell(t, spare, "k", "v")

	// A node that is gone is replaced, and forgotten when told to.
	lost := nodes[2]
	lost.kill()
	holds := func(n *server) bool {
		for _, r := range status(t, nodes[0]).Nodes {
			if r.Client == n.addr() {
				return r.Replicas > 0
			}
		}
		return false
	}
	eventually(t, "the spare node has the replica", func() bool { return holds(spare) && !holds(lost) })
	settle(t, nodes[0], 3)
	mustCluster(t, nodes[0], "remove", lost.addr())
	if said := lost.refusedLater(); !strings.Contains(said, "was removed from the cluster") {
		t.Errorf("a node that was removed says:\n%s", said)
	}
	if got := len(status(t, nodes[0]).Nodes); got != 3 {
		t.Errorf("%d nodes are left", got)
	}

	// Another is drained and removed while it runs.
	mustCluster(t, nodes[0], "replicas", "1")
	settle(t, nodes[0], 1)
	mustCluster(t, nodes[0], "drain", spare.addr())
	eventually(t, "the drained node has nothing", func() bool { return !holds(spare) && status(t, nodes[0]).Settled })
	mustCluster(t, nodes[0], "remove", spare.addr())
	if err := spare.wait(t); err == nil || !strings.Contains(spare.output.String(), "was removed from the cluster") {
		t.Errorf("a node that is removed ends with %v and says:\n%s", err, spare.output.String())
	}
	knows(t, nodes[0], "k", "v")
}

// TestDeadMembersAreShownDead: whichever node is asked, one that leads nothing too, and the last that is left.
func TestDeadMembersAreShownDead(t *testing.T) {
	nodes := startMembers(t, 3)
	_, others := leaderOf(t, nodes)
	asked, killed := others[0], others[1]
	ctx := context.Background()
	// sees says whether the node shows so many of the others as dead, by each of the commands.
	sees := func(n *server, dead int) bool {
		c := redis.NewSentinelClient(&redis.Options{Addr: n.addr(), MaxRetries: -1, ReadTimeout: patience})
		defer func() { _ = c.Close() }()
		shown := 0
		list, err := c.Sentinels(ctx, "mymaster").Result()
		for _, s := range list {
			if strings.HasPrefix(s["flags"], "s_down") {
				shown++
			}
		}
		quorum, refused := c.CkQuorum(ctx, "mymaster").Result()
		if refused != nil {
			quorum = refused.Error()
		}
		return err == nil && shown == dead && strings.Contains(quorum, fmt.Sprint(" ", 3-dead, " usable"))
	}
	eventually(t, "all are shown alive", func() bool { return sees(asked, 0) })
	killed.kill()
	eventually(t, "the dead one is shown", func() bool { return sees(asked, 1) })
	for _, n := range nodes {
		if n != killed && n != asked {
			eventually(t, "the dead one is shown by the other, too", func() bool { return sees(n, 1) })
			n.kill()
		}
	}
	eventually(t, "both dead ones are shown", func() bool { return sees(asked, 2) })
	killed.restart()
	eventually(t, "the one that is back is shown", func() bool { return sees(asked, 1) })
}

// TestGoneMemberIsRemoved: without a spare node, too, one that does not come back can be taken out of the cluster. That it
// is gone nobody says before replace-after is set, while the nodes run.
func TestGoneMemberIsRemoved(t *testing.T) {
	nodes := startMembers(t, 3, "--replace-after", "0")
	tell(t, nodes[0], "k", "v")
	nodes[2].kill()
	mustCluster(t, nodes[0], "replicas", "1")
	if s := status(t, nodes[0]).Nodes[2]; s.State != cluster.NodeUp || s.Answers {
		t.Errorf("a node that was killed: %+v", s)
	}
	for _, n := range nodes[:2] {
		if err := clientOf(t, n).ConfigSet(context.Background(), "replace-after", "1").Err(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the node is gone, and has no replica", func() bool {
		r := status(t, nodes[0])
		return r.Nodes[2].State == cluster.NodeGone && r.Nodes[2].Replicas == 0 && len(r.Moves) == 0
	})
	refusedBy(t, nodes[0], "votes in the meta group: drain the node first", "remove", nodes[2].addr())
	mustCluster(t, nodes[0], "drain", nodes[2].addr())
	eventually(t, "the node is removed", func() bool {
		_, err := onCluster(t, nodes[0], "remove", nodes[2].addr())
		return err == nil
	})
	settle(t, nodes[0], 1)
	knows(t, nodes[1], "k", "v")
}

// refusedLater starts a server that ends by itself, be it after it has answered, and returns what it said.
func (s *server) refusedLater() string {
	s.t.Helper()
	s.process = startProcess(s.t, s.command())
	if err := s.wait(s.t); err == nil {
		s.t.Errorf("the server ended with code 0, as if all were well")
	}
	return s.output.String()
}

func TestWhatMembersRefuse(t *testing.T) {
	first := newMember(t, nil)
	first.start()
	refusedBy(t, first, "is the last one", "remove", first.addr())
	refusedBy(t, first, "is the last one", "drain", first.addr())

	stranger := newMember(t, first, "--cluster-secret", "another")
	if said := stranger.refused(); !strings.Contains(said, "does not prove that it shares the cluster's secret") {
		t.Errorf("a node with a wrong secret says:\n%s", said)
	}
	if !strings.Contains(first.output.String(), "a peer was refused") {
		t.Errorf("a member does not tell of it:\n%s", first.output.String())
	}

	open := newMember(t, nil, "--admin-bind", "0.0.0.0")
	if said := open.refused(); !strings.Contains(said, "needs an admin-token") {
		t.Errorf("an admin API that is open to everybody says:\n%s", said)
	}

	second := newMember(t, first)
	second.start()
	third := newMember(t, first)
	third.start()
	settle(t, first, 3)

	// A folder that belongs to a cluster stays there, told to join its own again or another.
	other := newMember(t, nil)
	other.start()
	for _, n := range []*server{second, other} {
		before := status(t, n)
		n.terminate()
		directives := n.args
		n.args = func(port int) []string { return append(directives(port), "--cluster-join", third.addr()) }
		n.restart()
		settle(t, n, min(len(before.Nodes), 3))
		if after := status(t, n); after.ClusterID != before.ClusterID || len(after.Nodes) != len(before.Nodes) {
			t.Errorf("it has come to %+v from %+v", after, before)
		}
		if !strings.Contains(n.output.String(), "cluster-join has no effect") {
			t.Errorf("it does not tell that it stays:\n%s", n.output.String())
		}
	}
	settle(t, first, 3)

	spare := newMember(t, first)
	spare.start()
	mustCluster(t, first, "add", spare.addr())
	var holder, free string
	r := status(t, first)
	for _, n := range r.Nodes {
		if n.Replicas > 0 {
			holder = n.Client
		} else {
			free = n.Client
		}
	}
	refusedBy(t, first, "is no member", "move-shard", "--shard", "1", "--from", holder, "--to", "127.0.0.1:1")
	refusedBy(t, first, "has no replica", "move-shard", "--shard", "1", "--from", free, "--to", free)
	refusedBy(t, first, "has a replica of shard 1 already", "move-shard", "--shard", "1", "--from", holder, "--to", holder)
	refusedBy(t, first, "there is no shard 7", "move-shard", "--shard", "7", "--from", holder, "--to", free)
	refusedBy(t, first, "drain the node first", "remove", holder)
	refusedBy(t, first, "is no member", "remove", "127.0.0.1:1")
	refusedBy(t, first, "replicas: 1", "replicas", "9")

	// A move to a node that does not answer goes on for as long as nobody takes it back.
	for _, n := range []*server{second, third, spare} {
		if n.addr() == free {
			n.kill()
		}
	}
	mustCluster(t, first, "move-shard", "--shard", "1", "--from", holder, "--to", free)
	refusedBy(t, first, "is under way", "move-shard", "--shard", "1", "--from", holder, "--to", free)
	moves := status(t, first).Moves
	if len(moves) != 1 {
		t.Fatalf("moves: %+v", moves)
	}
	mustCluster(t, first, "cancel", "--move", strconv.FormatUint(moves[0].ID, 10))
	eventually(t, "the move is taken back", func() bool { return len(status(t, first).Moves) == 0 })
}

func TestLostMajority(t *testing.T) {
	nodes := startMembers(t, 3)
	for i := range 100 {
		tell(t, nodes[i%3], fmt.Sprint("k", i), fmt.Sprint(i))
	}
	before := status(t, nodes[0])
	survivor, lost := nodes[2], nodes[:2]
	eventually(t, "the survivor has it all", func() bool {
		for _, g := range status(t, nodes[0]).Groups {
			for _, r := range g.Replicas {
				if r.Lag > 0 {
					return false
				}
			}
		}
		return true
	})
	recover := func(want string, flags ...string) {
		t.Helper()
		out, err := runTool(t, nil, larderProgram, append([]string{"cluster", "recover", "--dir", survivor.dir}, flags...)...)
		if !strings.Contains(out, want) || (err == nil) != (len(flags) > 0) {
			t.Fatalf("larder cluster recover %v: %v\n%s", flags, err, out)
		}
	}
	for _, n := range lost {
		n.kill()
	}
	recover("in use by another server")
	survivor.kill()
	recover("nothing has been changed")
	recover("MAY LOSE ACKNOWLEDGED WRITES", "--accept-data-loss")
	survivor.restart()
	settle(t, survivor, 1)
	after := status(t, survivor)
	if after.ClusterID == before.ClusterID || len(after.Nodes) != 1 || after.Epoch <= before.Epoch {
		t.Errorf("it has come to %+v from %+v", after, before)
	}
	for i := range 100 {
		knows(t, survivor, fmt.Sprint("k", i), fmt.Sprint(i))
	}
	tell(t, survivor, "k0", "new")

	// The others come back, and are strangers.
	for _, n := range lost {
		n.restart()
	}
	const stranger = "belongs to another cluster"
	eventually(t, "both sides tell that they are strangers", func() bool {
		return strings.Contains(survivor.output.String(), stranger) &&
			strings.Contains(lost[0].output.String()+lost[1].output.String(), stranger)
	})
	knows(t, survivor, "k0", "new")
	if got := len(status(t, survivor).Nodes); got != 1 {
		t.Errorf("%d nodes", got)
	}
	// With an empty folder they are welcome.
	for _, n := range lost {
		n.kill()
		if err := os.RemoveAll(n.dir); err != nil {
			t.Fatal(err)
		}
		directives := n.args
		n.args = func(port int) []string { return append(directives(port), "--cluster-join", survivor.addr()) }
		n.start()
	}
	settle(t, survivor, 3)
	for _, n := range nodes {
		knows(t, n, "k0", "new")
	}
}

func TestMembersOverTLS(t *testing.T) {
	files, _ := certified(t)
	nodes := startMembers(t, 3, append(files, "--tls-cluster", "yes")...)
	leader, others := leaderOf(t, nodes)
	tell(t, others[0], "k", "v")
	leader.kill()
	knows(t, others[1], "k", "v") // another leads, and has what was acknowledged
	// Neither who has no certificate nor who speaks without TLS takes part, whatever he knows.
	plain := newMember(t, others[0])
	plain.process = startProcess(t, exec.Command(plain.program, plain.args(freePort(t))...))
	eventually(t, "a node without TLS tells why it does not join", func() bool {
		return strings.Contains(plain.output.String(), "does one of the two use TLS")
	})
	if got := len(status(t, others[0]).Nodes); got != 3 {
		t.Errorf("%d nodes", got)
	}
}

// A stranger on the cluster port hears a nonce at most, whatever it says.
func TestClusterPortTellsStrangersNothing(t *testing.T) {
	n := newMember(t, nil)
	n.start()
	port := n.args(n.port)
	at := ""
	for i, a := range port {
		if a == "--cluster-port" {
			at = net.JoinHostPort("127.0.0.1", port[i+1])
		}
	}
	for _, says := range []string{"", "PING\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00", "LRDP\x01" + strings.Repeat("x", 200)} {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(says)) // it may be hung up on
		if says == "" {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		heard := 0
		buffer := make([]byte, 1024)
		for {
			k, err := conn.Read(buffer)
			heard += k
			if err != nil {
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Errorf("%q: the connection is kept open", says)
				}
				break
			}
		}
		_ = conn.Close()
		if heard > 32 {
			t.Errorf("%q: it was told %d bytes", says, heard)
		}
	}
}

// certified is a folder with an authority and a certificate of a node, the directives that name them, and what a client needs.
func certified(t *testing.T) (directives []string, client *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	ca := newAuthority(t)
	ca.write(t, dir, "ca.pem")
	ca.issue(t, filepath.Join(dir, "node"))
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.pem"), filepath.Join(dir, "node.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	return []string{"--tls-cert-file", filepath.Join(dir, "node.pem"), "--tls-key-file", filepath.Join(dir, "node.key"),
		"--tls-ca-cert-file", filepath.Join(dir, "ca.pem")}, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}}
}

// TestRedirectionsByTLS: who has come with TLS is redirected to ports with TLS, and who has come without to the others.
func TestRedirectionsByTLS(t *testing.T) {
	t.Parallel()
	directives, secure := certified(t)
	directives = append(directives, "--cluster-enabled", "yes")
	tlsPorts := []string{strconv.Itoa(freePort(t)), strconv.Itoa(freePort(t))}
	first := newMember(t, nil, append(directives, "--tls-port", tlsPorts[0])...)
	first.start()
	second := newMember(t, first, append(directives, "--tls-port", tlsPorts[1])...)
	second.start()
	ctx := context.Background()
	for _, c := range []struct {
		client *redis.Options
		want   string
	}{
		{&redis.Options{Addr: second.addr()}, first.addr()},
		{&redis.Options{Addr: net.JoinHostPort("127.0.0.1", tlsPorts[1]), TLSConfig: secure}, net.JoinHostPort("127.0.0.1", tlsPorts[0])},
	} {
		c.client.MaxRetries = -1
		client := redis.NewClient(c.client)
		defer client.Close()
		eventually(t, "the node knows who leads", func() bool {
			return client.Get(ctx, "a").Err().Error() == "MOVED 15495 "+c.want
		})
		//lint:ignore SA1019 most clients ask for slots
		slots, err := client.ClusterSlots(ctx).Result()
		if err != nil || len(slots) != 1 || slots[0].Nodes[0].Addr != c.want {
			t.Errorf("CLUSTER SLOTS: %+v, %v; want %s first", slots, err, c.want)
		}
		cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{c.client.Addr}, TLSConfig: c.client.TLSConfig})
		defer cluster.Close()
		if err := cluster.Set(ctx, "a", "v", 0).Err(); err != nil {
			t.Error(err)
		}
	}
}

// TestMembersOfTLSClientsOnly: no port of the members is open to clients without TLS, and those who want in have to show a
// certificate, be they clients or nodes.
func TestMembersOfTLSClientsOnly(t *testing.T) {
	files, config := certified(t)
	secure := func(joins *server) *server {
		n := newMember(t, joins, files...)
		directives := n.args
		n.args = func(port int) []string {
			return append(directives(port), "--port", "0", "--tls-port", strconv.Itoa(port))
		}
		return n
	}
	client := func(n *server) *redis.Client {
		c := redis.NewClient(&redis.Options{Addr: n.addr(), MaxRetries: -1, TLSConfig: config})
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	ctx := context.Background()
	var members []*server
	for range 3 {
		var first *server
		if len(members) > 0 {
			first = members[0]
		}
		n := secure(first)
		n.port = freePort(t)
		n.process = startProcess(t, n.command())
		eventually(t, "it answers", func() bool {
			select {
			case <-n.ended:
				t.Fatalf("it ended, and said:\n%s", n.output.String())
			default:
			}
			return client(n).Ping(ctx).Err() == nil
		})
		members = append(members, n)
	}
	if err := client(members[2]).Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if v, err := client(members[1]).Get(ctx, "k").Result(); v != "v" {
		t.Errorf("%q, %v", v, err)
	}
	if out, err := onCluster(t, members[0], "status"); err == nil || !strings.Contains(out, "certificate required") {
		t.Errorf("larder cluster without a certificate: %v: %s", err, out)
	}
	mustCluster(t, members[0], "status", "--cert", files[1], "--key", files[3])
	if out, err := onCluster(t, members[0], "status", "--cert", files[1]); err == nil || !strings.Contains(out, "--key") {
		t.Errorf("a certificate without its key: %v: %s", err, out)
	}
	plain := newMember(t, members[0])
	plain.port = freePort(t)
	plain.process = startProcess(t, plain.command())
	eventually(t, "who has no certificate is told why he does not come in", func() bool {
		return strings.Contains(plain.output.String(), "waiting to join") && strings.Contains(plain.output.String(), "certificate required")
	})
}
