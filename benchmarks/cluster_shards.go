package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

const (
	manyShards = 64
	idleTime   = 10 * time.Second

	// A fourth node's share of the replicas is a quarter, give or take what a ring of virtual nodes leaves to chance.
	shareLeast = 0.15
	shareMost  = 0.35
)

func (b *bench) startManyShards() (*cluster, error) {
	return b.startCluster(voters, voters, "--cluster-enabled", "yes", "--shards", strconv.Itoa(manyShards))
}

// replicasMoved counts the replicas there were, those that a node which was added has now, and those that another node has
// which had none before.
func replicasMoved(before, after clusterStatus, added string) (all, moved, strayed int) {
	for _, sh := range after.Shards {
		var had []string
		for _, old := range before.Shards {
			if old.ID == sh.ID {
				had = old.Replicas
			}
		}
		all += len(had)
		for _, node := range sh.Replicas {
			switch {
			case node == added:
				moved++
			case !slices.Contains(had, node):
				strayed++
			}
		}
	}
	return all, moved, strayed
}

// scaling adds a fourth node to three with many shards, while a cluster client works.
func (b *bench) scaling() error {
	c, err := b.startManyShards()
	if err != nil {
		return err
	}
	defer c.end()
	var keys [][]byte
	for i := range watchedMoving {
		keys = append(keys, watchedKey(i))
	}
	before, err := c.status()
	if err != nil {
		return err
	}
	all, load, stop := c.watch(keys)
	defer stop()
	time.Sleep(time.Second) // all are connected
	begun := time.Now()
	added, err := c.add()
	if err != nil {
		return err
	}
	after, settled, err := c.settle(added)
	if err != nil {
		return err
	}
	stop()
	replicas, moved, strayed := replicasMoved(before, after, after.nodeAt(added.addr()))
	share := float64(moved) / float64(replicas)
	work := fmt.Sprintf("a fourth node joins three with %d shards: ", manyShards)
	b.report.figure(work+"share of the replicas that move to it", "", share, 0, shareMost)
	b.report.atLeast(work+"the same", "", share, shareLeast)
	b.report.none("other replicas that move", strayed)
	b.report.figure("until all have moved", "s", settled.Sub(begun).Seconds(), 0, 0)
	b.judgeWatched(all, load, begun, settled)
	return nil
}

// settle waits until a node that was added has replicas and nothing is under way for a while; settled is when that began.
func (c *cluster) settle(added *server) (status clusterStatus, settled time.Time, err error) {
	quiet := 0
	err = c.b.poll(movePatience, 500*time.Millisecond, func() (bool, error) {
		var err error
		if status, err = c.status(); err != nil {
			return false, err
		}
		id, busy := status.nodeAt(added.addr()), len(status.Moves) > 0 || len(status.Migrations) > 0
		if id == "" || busy || !slices.ContainsFunc(status.Shards, func(s shardStatus) bool { return slices.Contains(s.Replicas, id) }) {
			quiet = 0
			return false, nil
		}
		if quiet++; quiet == 1 {
			settled = time.Now()
		}
		return quiet == 6, nil
	})
	if err != nil {
		return status, settled, fmt.Errorf("%s does not get its replicas: %w; %s", added.name, err, c.said())
	}
	return status, settled, nil
}

// idle measures what many shards cost that nobody uses.
func (b *bench) idle() error {
	c, err := b.startManyShards()
	if err != nil {
		return err
	}
	defer c.end()
	time.Sleep(idleTime / 2)
	before, err := totalTime(c.nodes)
	if err != nil {
		return err
	}
	time.Sleep(idleTime)
	after, err := totalTime(c.nodes)
	if err != nil {
		return err
	}
	var resident int64
	for _, s := range c.nodes {
		r, err := s.resident()
		if err != nil {
			return err
		}
		resident += r
	}
	work := fmt.Sprintf("%d idle shards on three nodes, all three together: ", manyShards)
	b.report.figure(work+"processor", "% of a core", (after-before).Seconds()/idleTime.Seconds()*100, 0, 0)
	b.report.figure(work+"resident memory", "MB", float64(resident)/(1<<20), 0, 0)
	return nil
}
