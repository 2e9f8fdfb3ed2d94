package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/integration/nodes"
)

// ended says that no migration is under way.
func ended(r *cluster.Report) bool { return len(r.Migrations) == 0 }

// movedKeys is how many keys lie still in the tests that follow.
const movedKeys = 4000

// TestMigrationUnderLoad: slots go to and fro between shards, one migration is paused and goes on, another is taken back.
// Clients of the usual library notice nothing.
func TestMigrationUnderLoad(t *testing.T) {
	c := startSharded(t, nodes.Options{Count: 3}, 2)
	c.mustOrder("add-shards", "1")
	c.await("the third shard has three voters", func(r *cluster.Report) bool { return r.Settled && r.Groups[3].Voters == 3 })
	c.fill(movedKeys)
	c.load(8)
	for _, move := range [][3]string{{"1", "2", "0-8191"}, {"2", "3", "4000-12000"}, {"3", "1", "5000-5000,6000-7000"}, {"2", "1", "0-3999"}} {
		c.mustOrder("migrate-slots", "--from", move[0], "--to", move[1], "--slots", move[2])
		c.await("the migration has ended", ended)
	}
	var id string
	_, err := fmt.Sscanf(c.mustOrder("migrate-slots", "--from", "2", "--to", "1", "--slots", "12001-16383"), "migration %s", &id)
	if err == nil {
		_, err = c.order("cancel", "--migration", id)
	}
	if err != nil {
		t.Log("it has ended before it was taken back:", err)
	}
	c.await("it has been taken back", ended)
	c.check(movedKeys, false)
}

// TestMigrationSurvivesKills: whoever takes part in migrations is killed at any time. In the end nothing is lost.
func TestMigrationSurvivesKills(t *testing.T) {
	c := startSharded(t, nodes.Options{Count: 3}, 2)
	c.fill(movedKeys)
	c.load(8)
	from, to := "1", "2"
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); from, to = to, from {
		c.mustOrder("migrate-slots", "--from", from, "--to", to, "--slots", "1000-7000")
		time.Sleep(time.Duration(c.rng.IntN(150)) * time.Millisecond) // a step at random
		victim := c.Nodes[c.rng.IntN(len(c.Nodes))]
		victim.Kill()
		time.Sleep(time.Duration(c.rng.IntN(1500)) * time.Millisecond) // with and without an election
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		c.await("the migration has ended", ended)
	}
	c.awaitSettled()
	c.check(movedKeys, true)
}
