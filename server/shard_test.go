package server

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/raftfsm"
)

// openAnother opens a shard of the node's own beside its first.
func (ts *testServer) openAnother(id uint32) *shard {
	ts.t.Helper()
	ts.node.member.stop() // nobody else is to open and close shards
	ts.node.member.following.Wait()
	const address = raft.ServerAddress("here:1")
	self := raft.ServerID(ts.node.member.id.Node)
	sh, err := ts.node.openShard(shardOptions{
		id: id, self: self, bootstrap: []raft.Server{{ID: self, Address: address}}, transport: raftfsm.NewLoopback(address),
		seed: ts.node.member.seed,
	})
	if err != nil {
		ts.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := sh.waitReady(ctx); err != nil {
		ts.t.Fatal(err)
	}
	return sh
}

// closeAgain closes a shard while the server runs.
func (ts *testServer) closeAgain(sh *shard) {
	ts.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := ts.node.closeShard(ctx, sh); err != nil {
		ts.t.Fatal(err)
	}
}

func TestShardsOpenAndCloseWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.must("SET a 1", "+OK\r\n")
	second := ts.openAnother(2)
	if ts.node.sole() != nil || len(ts.node.local()) != 2 {
		t.Fatal("the second shard is not in the list")
	}
	if _, err := ts.node.openShard(shardOptions{id: 2}); err == nil {
		t.Fatal("a shard that is open opens again")
	}
	third := ts.openAnother(3)
	c.must("SAVE", "+OK\r\n")
	ts.closeAgain(second)
	if again := ts.openAnother(2); again.place != second.place {
		t.Errorf("place %d is not used again, but %d", second.place, again.place)
	}
	ts.closeAgain(third)
	c.must("GET a", "$1\r\n1\r\n")
	if f := infoFields(c.do("INFO", "larder")); f["shards"] != "2" {
		t.Errorf("INFO shows %q shards, want 2", f["shards"])
	}
}

// TestSharesAddUp divides random budgets among random uses.
func TestSharesAddUp(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 7))
	for range 2000 {
		budget := int64(8<<20) << random.IntN(14)
		used := make([]int64, 1+random.IntN(64))
		for i := range used {
			if random.IntN(3) > 0 {
				used[i] = random.Int64N(4 * budget / int64(len(used)))
			}
		}
		list, sum := shares(budget, used), int64(0)
		for i, s := range list {
			sum += s
			if floor := budget / int64(len(used)) / floorPart; s < floor-1 {
				t.Fatalf("of %d a shard of %d that uses %d gets %d, less than the floor %d", budget, len(used), used[i], s, floor)
			}
		}
		if rounding := int64(2 * len(used)); sum > budget+rounding || sum < budget-rounding-budget/1e6 {
			t.Fatalf("shares of %d, used %v: %v add up to %d", budget, used, list, sum)
		}
	}
	if list := shares(1000, []int64{4000}); list[0] != 1000 {
		t.Errorf("the only shard gets %d of 1000", list[0])
	}
}
