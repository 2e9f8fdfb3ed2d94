// Package nodes runs clusters of real larder processes, each node in a network namespace of its own where that is to be
// had, and breaks what is around them: processes end and stop, links are cut one way or both, slow and lossy, disks are
// full or wiped, clocks leap.
//
// Every process is ended by its own number when the test ends, and tied to the test program's life besides. Nothing is
// left on the machine: namespaces and network cards have no names and end with this program.
package nodes

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait for a process. It is long because machines that run tests are slow at times; nothing is
// concluded from how long something took.
const (
	patience        = 60 * time.Second
	commandPatience = 30 * time.Second
	brokenPatience  = 300 * time.Millisecond
)

// Options say what a cluster is made of.
type Options struct {
	Program    string   // the larder binary
	Count      int      // nodes; a single one gets no directive of clusters
	Later      int      // nodes for which there is room, and which Join adds
	Replicas   int      // of each shard; 0: one on every node
	Directives []string // as on the command line, for every node
	Folder     string   // for data and what the nodes say; "": one of the test's
	DiskSize   int64    // bytes of each node's own disk; 0, or where none can be mounted: ordinary folders
	Seed       uint64   // of the frames that lossy links lose
}

// Cluster is a number of nodes and what lies between them.
type Cluster struct {
	Nodes []*Node
	// Net is the network between the nodes; nil where it cannot be made, and then Why tells why.
	Net *Switch
	Why error
	// Folder holds the nodes' data and what they said.
	Folder string

	options Options
	network *network
}

// secret is what the nodes of every test cluster share.
const secret = "histories"

// Start starts the nodes and waits until the cluster is whole. When the test ends, so does the cluster.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Replicas == 0 {
		o.Replicas = o.Count
	}
	c := &Cluster{options: o, Folder: o.Folder}
	if c.Folder == "" {
		c.Folder = t.TempDir()
	}
	t.Cleanup(c.close)
	c.connect(t)
	for i := range o.Count {
		if err := c.add(t, i); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range c.Nodes {
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // the others join it
			if err := c.await(n); err != nil {
				t.Fatal(c.Describe(err))
			}
		}
	}
	if err := c.AwaitWhole(); err != nil {
		t.Fatal(c.Describe(err))
	}
	return c
}

// Join adds a node, one of those that Options.Later makes room for, and waits until it answers.
func (c *Cluster) Join(t testing.TB) *Node {
	t.Helper()
	if err := c.add(t, len(c.Nodes)); err != nil {
		t.Fatal(err)
	}
	n := c.Nodes[len(c.Nodes)-1]
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.await(n); err != nil {
		t.Fatal(c.Describe(err))
	}
	return n
}

// connect makes the network. Where that is not allowed, as in most containers, each node has a loopback address, no link
// can be broken, and the log says so.
func (c *Cluster) connect(t testing.TB) {
	t.Helper()
	network, err := newNetwork(c.options.Count+c.options.Later, c.options.Seed)
	if err == nil {
		c.network, c.Net = network, network.Switch
		return
	}
	c.Why = fmt.Errorf("no network of the nodes' own: %w", err)
	t.Logf("LINKS ARE NOT TESTED: %v", c.Why)
}

func (c *Cluster) add(t testing.TB, index int) error {
	n := &Node{Index: index, cluster: c, port: 6379, peerPort: 16379}
	n.Dir = filepath.Join(c.Folder, n.Name())
	n.Said = filepath.Join(c.Folder, n.Name()+".log")
	if c.network != nil {
		n.place, n.ip = c.network.places[index], c.network.ip(index)
	} else if err := n.settleOnLoopback(); err != nil {
		return err
	}
	if index > 0 {
		n.mu.by = c.Nodes[0]
	}
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		return err
	}
	if c.options.DiskSize > 0 {
		if err := mount(n.Dir, c.options.DiskSize); err != nil {
			t.Logf("FULL DISKS ARE NOT TESTED: no small disk can be mounted: %v", err)
			c.options.DiskSize = 0
		}
	}
	c.Nodes = append(c.Nodes, n)
	return nil
}

// settleOnLoopback gives the node an address of its own, where the system has more than one: nobody's outgoing connections
// take a port there while the node is down.
func (n *Node) settleOnLoopback() (err error) {
	for _, n.ip = range []string{fmt.Sprintf("127.0.0.%d", n.Index+2), "127.0.0.1"} {
		if n.port, err = FreePort(n.ip); err == nil {
			n.peerPort, err = FreePort(n.ip)
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// FreePort is a port of the address that nobody listens on. It is below those that systems give to connections that go
// out, which could take it while a node is down.
func FreePort(ip string) (port int, err error) {
	for range 100 {
		port = 10_000 + rand.IntN(20_000)
		listener, failed := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if failed == nil {
			return port, listener.Close()
		}
		err = failed
	}
	return 0, err
}

// OwnDisks says that each node's disk is its own, so that it can be filled.
func (c *Cluster) OwnDisks() bool { return c.options.DiskSize > 0 }

// args is the command line of a node. If it is no member yet, it joins by way of another; nil: it is the first.
func (c *Cluster) args(n *Node, by *Node) []string {
	args := []string{"server", "--port", strconv.Itoa(n.port), "--bind", n.ip, "--protected-mode", "no", "--dir", n.Dir,
		"--save", "", "--enable-debug-command", "yes", "--log-segment-size", "1mb", "--checkpoint-log-bytes", "4mb"}
	if c.options.Count > 1 {
		args = append(args, "--cluster-port", strconv.Itoa(n.peerPort), "--cluster-secret", secret,
			"--replicas", strconv.Itoa(c.options.Replicas), "--replace-after", "5",
			"--admin-bind", n.ip, "--admin-token", secret)
	}
	if by != nil {
		args = append(args, "--cluster-join", by.Addr())
	}
	return append(args, c.options.Directives...)
}

// await waits until the node answers.
func (c *Cluster) await(n *Node) error {
	for deadline := time.Now().Add(patience); ; {
		_, err := n.Command("PING")
		if err == nil {
			return nil
		}
		if fault := n.Fault(); fault != nil {
			return fault
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %w", n.Name(), err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Heal undoes all that was done to the nodes and what lies between them: nodes run, links are whole, disks have room and
// answer, clocks are right.
func (c *Cluster) Heal() error {
	var err error
	if c.Net != nil {
		c.Net.Clear()
	}
	for _, n := range c.Nodes {
		n.Resume()
		if c.OwnDisks() {
			err = errors.Join(err, n.FreeDisk())
		}
		err = errors.Join(err, n.Start())
	}
	for _, n := range c.Nodes {
		if e := c.await(n); e != nil {
			err = errors.Join(err, e)
			continue
		}
		for _, right := range []string{"LARDER-CLOCK", "LARDER-DISK"} {
			if _, e := n.Command("DEBUG", right, "0"); e != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", n.Name(), e))
			}
		}
	}
	return err
}

// Fault returns the first process that has ended by itself.
func (c *Cluster) Fault() error {
	for _, n := range c.Nodes {
		if err := n.Fault(); err != nil {
			return err
		}
	}
	return nil
}

// AwaitSameData waits until all replicas of each shard hold the same, and returns the shards' digests. Nobody may write
// meanwhile. Replicas that still follow become equal; the error tells of those that did not.
func (c *Cluster) AwaitSameData() (string, error) {
	for deadline := time.Now().Add(patience); ; {
		byShard, err := c.digests()
		if err == nil {
			err = differing(byShard)
		}
		if err == nil {
			return fmt.Sprint(byShard), nil
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("the replicas do not hold the same: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// differing is an error if two nodes' digests of a shard differ.
func differing(byShard map[string][]string) (err error) {
	for shard, digests := range byShard {
		if slices.ContainsFunc(digests, func(d string) bool { return d != digests[0] }) {
			err = errors.Join(err, fmt.Errorf("shard %s: %v", shard, digests))
		}
	}
	return err
}

// digests are those that the nodes have of each shard.
func (c *Cluster) digests() (map[string][]string, error) {
	byShard := map[string][]string{}
	for _, n := range c.Nodes {
		reply, err := n.Command("DEBUG", "LARDER-DIGESTS")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name(), err)
		}
		for i := 0; i+1 < len(reply.Elements); i += 2 {
			shard := reply.Elements[i].Text
			byShard[shard] = append(byShard[shard], reply.Elements[i+1].Text)
		}
	}
	return byShard, nil
}

// saidLimit is how much of what a node said is shown.
const saidLimit = 4000

// Describe adds to an error what the nodes said last.
func (c *Cluster) Describe(err error) error {
	var b strings.Builder
	for _, n := range c.Nodes {
		said, readErr := os.ReadFile(n.Said)
		if readErr != nil {
			continue
		}
		fmt.Fprintf(&b, "\n%s said:\n%s", n.Name(), said[max(0, len(said)-saidLimit):])
	}
	return fmt.Errorf("%w%s", err, b.String())
}

func (c *Cluster) close() {
	for _, n := range c.Nodes {
		n.Kill()
		if c.OwnDisks() {
			unmount(n.Dir)
		}
	}
	if c.network != nil {
		c.network.close()
	}
}
