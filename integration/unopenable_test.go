package integration

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/larder-db/larder/cluster"
)

// shardFolder is where a node has a shard's store.
func shardFolder(n *server, shard uint32) string {
	return filepath.Join(n.dir, "shard-"+strconv.FormatUint(uint64(shard), 10))
}

// TestReplicaThatCannotBeOpened: while the node runs, and the shard is new to it, the node tells of it, serves what it has
// and tries again; the shard's other replicas go on. At a start, damage ends the process with the reason, as it does with one
// shard: what a replica has promised is not passed over in silence.
func TestReplicaThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	nodes := startMembers(t, 3, "--cluster-enabled", "yes", "--shards", "2")
	ctx := context.Background()
	works := func(n *server) {
		t.Helper()
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{n.addr()}})
		defer client.Close()
		for _, key := range []string{"b", "a"} { // of the first shard, and of the second
			eventually(t, "the cluster takes writes", func() bool { return client.Set(ctx, key, "v", 0).Err() == nil })
		}
	}
	works(nodes[0])

	stuck := nodes[2]
	inTheWay := shardFolder(stuck, 3)
	if err := os.WriteFile(inTheWay, []byte("no folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustCluster(t, nodes[0], "add-shards", "1")
	const told = "a replica cannot be opened"
	eventually(t, "the node tells", func() bool { return strings.Contains(stuck.output.String(), told) })
	if said := stuck.output.String(); !strings.Contains(said, "shard 3 cannot be opened") {
		t.Errorf("it does not tell which: %s", said)
	}
	works(stuck)
	if status(t, nodes[0]).Settled {
		t.Error("the cluster takes itself for settled, without a replica")
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	settle(t, nodes[0], 3)
	has := func(g cluster.GroupReport) bool { return g.Group == 3 && len(g.Replicas) == 3 }
	if !slices.ContainsFunc(status(t, nodes[0]).Groups, has) {
		t.Errorf("the shard has not come: %+v", status(t, nodes[0]).Groups)
	}

	// Now one is damaged while the node is down.
	if err := clientOf(t, stuck).Save(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	stuck.terminate()
	damaged := ""
	err := filepath.WalkDir(shardFolder(stuck, 2), func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), "MANIFEST") {
			damaged = path
			err = os.Truncate(path, 1)
		}
		return err
	})
	if err != nil || damaged == "" {
		t.Fatal(damaged, err)
	}
	if said := stuck.refusedLater(); !strings.Contains(said, "shard 2 cannot be opened") {
		t.Errorf("a start with a damaged shard says:\n%s", said)
	}
	works(nodes[0])
	if err := os.RemoveAll(stuck.dir); err != nil {
		t.Fatal(err)
	}
	stuck.restart() // as a new node in the old one's place
	eventually(t, "the new node has what the old one had", func() bool {
		r := status(t, nodes[0])
		return r.Settled && len(r.Nodes) == 3 && !slices.ContainsFunc(r.Groups, func(g cluster.GroupReport) bool { return g.Voters < 3 })
	})
	works(stuck)
}
