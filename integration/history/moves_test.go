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

// migrateSlots moves a run of slots from one shard to another.
func migrateSlots(c *nodes.Cluster, s Step) error {
	rng := s.draw()
	from, first := 1+rng.IntN(testShards), rng.IntN(16384)
	to := 1 + (from+rng.IntN(testShards-1))%testShards
	return ask(c, s, "migrate-slots", "--from", strconv.Itoa(from), "--to", strconv.Itoa(to), "--slots",
		fmt.Sprintf("%d-%d", first, min(16383, first+rng.IntN(2000))))
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

// TestHistoryWithMoves: slots and replicas move while everything else goes wrong too. What is asked for may be refused,
// or given up half way; no client may notice more than a redirect.
func TestHistoryWithMoves(t *testing.T) {
	t.Parallel()
	c := nodes.Start(t, nodes.Options{Program: larder, Count: 4, Replicas: 3, Seed: 1,
		Directives: []string{"--cluster-enabled", "yes", "--shards", strconv.Itoa(testShards)}})
	faults := append(Faults(c), Hook("migrate", 30, migrateSlots), Hook("move", 15, moveShard))
	check(t, &Run{Cluster: c, Seed: setting(t, "LARDER_HISTORY_SEED", 1), Length: shortRun, Faults: faults, Clients: 8}, keepIn("moves"))
}
