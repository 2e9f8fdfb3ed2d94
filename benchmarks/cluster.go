package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// What the measurements of a cluster take for granted of the command line stands here, and nowhere else. Every one of
// them is behind "larder cluster".
var (
	waitCommand   = []string{"wait", "--addr", "ADDR", "--voters", "VOTERS", "--timeout", "TIMEOUT"}
	statusCommand = []string{"status", "--addr", "ADDR", "--json"}
	// migrateCommand may return before the migration has ended: the status says when there is none any more.
	migrateCommand = []string{"migrate-slots", "--addr", "ADDR", "--from", "FROM", "--to", "TO", "--slots", "SLOTS"}
)

// clusterPatience is how long a cluster may take to become what it was asked to be, and how long a move may.
const (
	clusterPatience = time.Minute
	movePatience    = 10 * time.Minute
)

// cluster is several larder processes that know each other.
type cluster struct {
	b          *bench
	directives []string // of every node
	nodes      []*server
}

// startCluster starts n nodes, one after the other, and waits until every group has as many voters.
func (b *bench) startCluster(n, voters int, directives ...string) (*cluster, error) {
	c := &cluster{b: b, directives: append([]string{"--appendfsync", "always", "--cluster-secret", "benchmarks"}, directives...)}
	for range n {
		if _, err := c.add(); err != nil {
			c.end()
			return nil, err
		}
	}
	if err := c.wait(voters); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

// add starts one more node, which joins those that there are, and waits until it answers.
func (c *cluster) add() (*server, error) {
	dir, err := os.MkdirTemp(c.b.dir, "node-")
	if err != nil {
		return nil, err
	}
	ports, err := quietPorts(3)
	if err != nil {
		return nil, err
	}
	s := &server{name: fmt.Sprintf("node %d", len(c.nodes)+1), dir: dir, port: ports[0]}
	s.args = append([]string{c.b.larder, "server", "--bind", "127.0.0.1", "--dir", dir, "--loglevel", "warning",
		"--port", strconv.Itoa(ports[0]), "--cluster-port", strconv.Itoa(ports[1]), "--admin-port", strconv.Itoa(ports[2])},
		c.directives...)
	if len(c.nodes) > 0 {
		s.args = append(s.args, "--cluster-join", c.nodes[0].addr())
	}
	if err := s.launch(); err != nil {
		return nil, err
	}
	c.nodes = append(c.nodes, s)
	return s, s.await(c.b.ctx, "PING\r\n", "+PONG")
}

func (c *cluster) end() {
	for _, s := range c.nodes {
		s.end()
	}
}

func (c *cluster) addrs() []string {
	addrs := make([]string, len(c.nodes))
	for i, s := range c.nodes {
		addrs[i] = s.addr()
	}
	return addrs
}

// quietPorts are free ports below those that the system gives to outgoing connections: a node that is down for a while
// finds its own again, and who dials it meanwhile cannot be connected with itself.
func quietPorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer listener.Close() // all at once at the end, so that they differ
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("there are no free ports")
}

// command runs "larder cluster …" with its capital words replaced.
func (c *cluster) command(template []string, words ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(c.b.ctx, movePatience)
	defer cancel()
	args := append([]string{"cluster"}, filled(template, append(words, "ADDR", c.nodes[0].addr())...)...)
	out, err := exec.CommandContext(ctx, c.b.larder, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("larder %s: %w; %s", strings.Join(args, " "), err, c.said())
	}
	return out, nil
}

// filled replaces words, which come in pairs of name and value.
func filled(template []string, words ...string) []string {
	args := make([]string, len(template))
	for i, arg := range template {
		args[i] = arg
		for j := 0; j < len(words); j += 2 {
			if arg == words[j] {
				args[i] = words[j+1]
			}
		}
	}
	return args
}

// said is what the nodes wrote, for a report of what went wrong.
func (c *cluster) said() string {
	var all strings.Builder
	for _, s := range c.nodes {
		if text := s.said.String(); text != "" {
			fmt.Fprintf(&all, "%s said: %s\n", s.name, text)
		}
	}
	return all.String()
}

// wait returns when every group has so many voters.
func (c *cluster) wait(voters int) error {
	_, err := c.command(waitCommand, "VOTERS", strconv.Itoa(voters), "TIMEOUT", clusterPatience.String())
	return err
}

// leader is the only node that says it leads.
func (c *cluster) leader() (*server, error) {
	var found *server
	err := c.b.poll(clusterPatience, 20*time.Millisecond, func() (bool, error) {
		leaders := 0
		for _, s := range c.nodes {
			if s.askOnce("ROLE\r\n", "*3\r\n$6\r\nmaster\r\n") == nil {
				found = s
				leaders++
			}
		}
		return leaders == 1, nil
	})
	if err != nil {
		return nil, fmt.Errorf("no node leads alone: %w; %s", err, c.said())
	}
	return found, nil
}

// caughtUp returns when all other nodes have a write of now.
func (c *cluster) caughtUp() error {
	wanted := fmt.Sprintf("+OK\r\n:%d\r\n", len(c.nodes)-1)
	question := fmt.Sprintf("SET caught-up now\r\nWAIT %d 1000\r\n", len(c.nodes)-1)
	err := c.b.poll(clusterPatience, 20*time.Millisecond, func() (bool, error) {
		leader, err := c.leader()
		if err != nil {
			return false, err
		}
		caller := caller{ctx: c.b.ctx, addrs: []string{leader.addr()}}
		defer caller.close()
		replies, err := caller.do([]byte(question), 2)
		return err == nil && string(replies) == wanted, nil
	})
	if err != nil {
		return fmt.Errorf("the nodes do not catch up: %w; %s", err, c.said())
	}
	return nil
}

// poll asks again and again until the answer is yes, for so long at most.
func (b *bench) poll(patience, every time.Duration, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// clusterStatus is what is read of a cluster's status.
type clusterStatus struct {
	Nodes []struct {
		ID     string `json:"id"`
		Client string `json:"client"`
	} `json:"nodes"`
	Moves      []struct{}    `json:"moves"`
	Migrations []struct{}    `json:"migrations"`
	Shards     []shardStatus `json:"-"`
}

type shardStatus struct {
	ID       int
	Slots    []slotRange
	Replicas []string
	Leader   string
}

// readStatus reads what larder cluster status --json writes.
func readStatus(text []byte) (clusterStatus, error) {
	var status struct {
		clusterStatus
		Groups []struct {
			Group    int         `json:"group"`
			Slots    []slotRange `json:"slots"`
			Leader   string      `json:"leader"`
			Replicas []struct {
				Node   string `json:"node"`
				Wanted bool   `json:"wanted"`
			} `json:"replicas"`
		} `json:"groups"`
	}
	if err := json.Unmarshal(text, &status); err != nil {
		return clusterStatus{}, fmt.Errorf("status: %w", err)
	}
	for _, g := range status.Groups {
		if g.Group == 0 { // the meta group
			continue
		}
		sh := shardStatus{ID: g.Group, Slots: g.Slots, Leader: g.Leader}
		for _, r := range g.Replicas {
			if r.Wanted {
				sh.Replicas = append(sh.Replicas, r.Node)
			}
		}
		status.Shards = append(status.Shards, sh)
	}
	if len(status.Nodes) == 0 || len(status.Shards) == 0 {
		return clusterStatus{}, fmt.Errorf("status without nodes or shards: %.200q", text)
	}
	return status.clusterStatus, nil
}

func (c *cluster) status() (clusterStatus, error) {
	out, err := c.command(statusCommand)
	if err != nil {
		return clusterStatus{}, err
	}
	return readStatus(out)
}

// clientOf is the address for clients of a node, and nodeAt the reverse.
func (s clusterStatus) clientOf(id string) string {
	for _, n := range s.Nodes {
		if n.ID == id {
			return n.Client
		}
	}
	return ""
}

func (s clusterStatus) nodeAt(addr string) string {
	for _, n := range s.Nodes {
		if n.Client == addr {
			return n.ID
		}
	}
	return ""
}

// leaderOf is the node that leads a shard, as the status has it.
func (c *cluster) leaderOf(shard int) (*server, error) {
	var found *server
	err := c.b.poll(clusterPatience, 200*time.Millisecond, func() (bool, error) {
		status, err := c.status()
		if err != nil {
			return false, err
		}
		for _, sh := range status.Shards {
			for _, s := range c.nodes {
				if sh.ID == shard && sh.Leader != "" && status.clientOf(sh.Leader) == s.addr() {
					found = s
				}
			}
		}
		return found != nil, nil
	})
	if err != nil {
		return nil, fmt.Errorf("nobody leads shard %d: %w", shard, err)
	}
	return found, nil
}
