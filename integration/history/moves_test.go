package history

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

const (
	testShards = 4
	moveTime   = 15 * time.Second // for larder cluster to take an order
)

// ask runs larder cluster by way of the node that comes last in the step: the one that other faults take last.
func ask(c *nodes.Cluster, s Step, what string, args ...string) error {
	through := c.Nodes[s.Nodes[len(s.Nodes)-1]].Addr()
	_, err := c.Larder(moveTime, append([]string{"cluster", what}, append(args, "--addr", through)...)...)
	return err
}

// migrateSlots moves a run of slots from the shard that has them to another.
func migrateSlots(c *nodes.Cluster, s Step) error {
	report, err := c.Report(moveTime, c.Nodes[s.Nodes[len(s.Nodes)-1]])
	if err != nil {
		return err
	}
	rng := s.draw()
	slot, length := uint16(rng.IntN(16384)), uint16(rng.IntN(2000))
	for _, g := range report.Groups {
		for _, r := range g.Slots {
			if r.From <= slot && slot <= r.To {
				to := 1 + (int(g.Group)+rng.IntN(testShards-1))%testShards
				return ask(c, s, "migrate-slots", "--from", strconv.Itoa(int(g.Group)), "--to", strconv.Itoa(to),
					"--slots", fmt.Sprintf("%d-%d", slot, min(r.To, slot+length)))
			}
		}
	}
	return fmt.Errorf("no shard has slot %d", slot)
}

// moveShard moves a replica from one node to another.
func moveShard(c *nodes.Cluster, s Step) error {
	var ids [2]string
	for i := range ids {
		id, err := c.Nodes[s.Nodes[i]].TryCommand("CLUSTER", "MYID")
		if err != nil {
			return err
		}
		ids[i] = id.Text
	}
	return ask(c, s, "move-shard", "--shard", strconv.Itoa(1+s.draw().IntN(testShards)), "--from", ids[0], "--to", ids[1])
}

// drainNode has a node's replicas moved to others, or takes it into use again.
func drainNode(c *nodes.Cluster, s Step) error {
	id, err := c.Nodes[s.Nodes[0]].TryCommand("CLUSTER", "MYID")
	if err != nil {
		return err
	}
	return ask(c, s, []string{"drain", "undrain"}[s.draw().IntN(2)], id.Text)
}

// startMoving starts a cluster that has something to move.
func startMoving(t *testing.T, seed uint64) *nodes.Cluster {
	t.Helper()
	return nodes.Start(t, nodes.Options{Program: larder, Count: 4, Replicas: 3, Seed: seed,
		Directives: []string{"--cluster-enabled", "yes", "--shards", strconv.Itoa(testShards)}})
}

// movingFaults are all others, and moves.
func movingFaults(c *nodes.Cluster) []Fault {
	return append(Faults(c), Hook("migrate", 30, migrateSlots), Hook("move", 15, moveShard), Hook("drain", 4, drainNode))
}

// TestHistoryWithMoves: slots and replicas move while everything else goes wrong too. What is asked for may be refused,
// or given up half way; no client may notice more than a redirect.
func TestHistoryWithMoves(t *testing.T) {
	t.Parallel()
	c := startMoving(t, 1)
	check(t, &Run{Cluster: c, Seed: setting(t, "LARDER_HISTORY_SEED", 1), Length: shortRun, Faults: movingFaults(c), Clients: 8}, keepIn("moves"))
}
