package integration

import (
	"context"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// TestManyShards: three nodes with 64 shards each, whose leaders are spread over them. Whichever node is lost, all shards are
// served by the others, and nothing that was acknowledged is gone.
func TestManyShards(t *testing.T) {
	const shards, keys = 64, 200
	nodes := startMembers(t, 3, "--cluster-enabled", "yes", "--shards", strconv.Itoa(shards))
	r := status(t, nodes[0])
	if len(r.Groups) != shards+1 {
		t.Fatalf("%d groups", len(r.Groups))
	}
	eventually(t, "each node leads its share", func() bool {
		for _, n := range status(t, nodes[0]).Nodes {
			if n.Leads < shards/4 || n.Replicas != shards {
				return false
			}
		}
		return true
	})
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrsOf(nodes), ClusterStateReloadInterval: mapAge})
	defer client.Close()
	ctx := context.Background()
	for i := range keys {
		if err := client.Set(ctx, "key"+strconv.Itoa(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	nodes[1].kill()
	for i := range keys {
		key := "key" + strconv.Itoa(i)
		eventually(t, key+" is served", func() bool {
			got, err := client.Get(ctx, key).Int()
			if err == nil && got != i {
				t.Fatalf("%s is %d", key, got)
			}
			return err == nil && client.Set(ctx, key, i, 0).Err() == nil
		})
	}
	nodes[1].restart()
	settle(t, nodes[0], 3)
}
