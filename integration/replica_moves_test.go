package integration

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/integration/nodes"
)

// replicasOf is who is to hold each shard.
func replicasOf(r *cluster.Report) map[uint32][]cluster.NodeID {
	by := map[uint32][]cluster.NodeID{}
	for _, g := range r.Groups {
		for _, one := range g.Replicas {
			if one.Wanted && g.Group != cluster.MetaGroup {
				by[g.Group] = append(by[g.Group], one.Node)
			}
		}
	}
	return by
}

// TestReplicaMoveSurvivesKills: replicas move between four nodes, of which one or the other is killed meanwhile.
func TestReplicaMoveSurvivesKills(t *testing.T) {
	c := startSharded(t, nodes.Options{Count: 4, Replicas: 3, Directives: []string{"--replace-after", "60"}}, 2)
	c.fill(movedKeys)
	c.load(8)
	r := c.awaitSettled()
	var all []cluster.NodeID
	for _, n := range r.Nodes {
		all = append(all, n.ID)
	}
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		held := replicasOf(&r)[1]
		spare := slices.DeleteFunc(slices.Clone(all), func(id cluster.NodeID) bool { return slices.Contains(held, id) })[0]
		from := held[c.rng.IntN(len(held))]
		c.mustOrder("move-shard", "--shard", "1", "--from", string(from), "--to", string(spare))
		time.Sleep(time.Duration(c.rng.IntN(300)) * time.Millisecond) // a step at random
		victim := c.Nodes[c.rng.IntN(len(c.Nodes))]
		victim.Kill()
		time.Sleep(time.Duration(c.rng.IntN(1500)) * time.Millisecond)
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		r = c.awaitSettled()
		if now := replicasOf(&r)[1]; slices.Contains(now, from) || !slices.Contains(now, spare) {
			t.Errorf("the replica was to move from %s to %s, and they are at %v", from, spare, now)
		}
	}
	c.check(movedKeys, 0, true)
}

// TestFourthNode: when a fourth node joins three, about a quarter of the replicas move, all of them to it.
func TestFourthNode(t *testing.T) {
	const shards = 16
	c := startSharded(t, nodes.Options{Count: 3, Later: 1}, shards)
	c.fill(movedKeys)
	c.load(4)
	r := c.awaitSettled()
	before := replicasOf(&r)
	c.Join(t)
	c.await("the fourth node is known", func(r *cluster.Report) bool { return len(r.Nodes) == 4 })
	r = c.await("the replicas have moved", func(r *cluster.Report) bool { return r.Settled && r.Nodes[3].Replicas > 0 })
	moved := 0
	for shard, now := range replicasOf(&r) {
		gone, come := 0, 0
		for _, id := range before[shard] {
			if !slices.Contains(now, id) {
				gone++
			}
		}
		for _, id := range now {
			if !slices.Contains(before[shard], id) {
				come++
				if id != r.Nodes[3].ID {
					t.Errorf("a replica of shard %d moved to another node than the new one", shard)
				}
			}
		}
		if moved += come; gone != come || come > 1 || len(now) != 3 {
			t.Errorf("shard %d was at %v and is at %v", shard, before[shard], now)
		}
	}
	t.Log("replicas that moved: " + strconv.Itoa(moved) + " of " + strconv.Itoa(3*shards))
	if moved == 0 || moved > 3*shards/2 { // which of them is by chance; the ring's own tests are strict
		t.Errorf("%d of %d replicas have moved, and not about a quarter", moved, 3*shards)
	}
	c.check(movedKeys, 0, false)
}
