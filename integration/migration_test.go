package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/integration/nodes"
)

// ended says that no migration is under way.
func ended(r *cluster.Report) bool { return len(r.Migrations) == 0 }

// movedKeys is how many keys lie still in the tests that follow.
const movedKeys = 4000

// tallies are what may be done once only: additions to counters that clients share, and transfers between accounts under
// WATCH. Nothing but redirects may be in their way.
type tallies struct {
	c       *sharded
	added   [16]atomic.Int64
	unknown [16]atomic.Int64 // additions of which nobody knows
	failed  []error          // guarded by mu
	mu      sync.Mutex
	aborted atomic.Int64
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

const balance = 1000 // of each account at first

func (c *sharded) startTallies(clients int) *tallies {
	x := &tallies{c: c}
	x.ctx, x.stop = context.WithCancel(context.Background())
	for i := range x.added {
		for _, of := range []string{"from", "to"} {
			if err := c.client.Set(c.ctx, account(i, of), balance, 0).Err(); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	for n := range clients {
		rng := rand.New(rand.NewPCG(uint64(n), 2))
		x.running.Go(func() {
			for x.ctx.Err() == nil {
				if err := x.once(rng.IntN(len(x.added))); err != nil {
					x.mu.Lock()
					x.failed = append(x.failed, err)
					x.mu.Unlock()
				}
			}
		})
	}
	c.t.Cleanup(func() { x.stop(); x.running.Wait() })
	return x
}

func counterOf(i int) string          { return "counter" + strconv.Itoa(i) }
func account(i int, of string) string { return "{account" + strconv.Itoa(i) + "}" + of }

func (x *tallies) once(i int) error {
	if err := x.c.client.Incr(x.c.ctx, counterOf(i)).Err(); err != nil {
		x.unknown[i].Add(1)
		return fmt.Errorf("INCR: %w", err)
	}
	x.added[i].Add(1)
	from, to := account(i, "from"), account(i, "to")
	err := x.c.client.Watch(x.c.ctx, func(tx *redis.Tx) error {
		a, err := tx.Get(x.c.ctx, from).Int()
		if err != nil {
			return err
		}
		b, err := tx.Get(x.c.ctx, to).Int()
		if err != nil {
			return err
		}
		_, err = tx.TxPipelined(x.c.ctx, func(p redis.Pipeliner) error {
			p.Set(x.c.ctx, from, a-1, 0)
			p.Set(x.c.ctx, to, b+1, 0)
			return nil
		})
		return err
	}, from, to)
	_, moved := redis.IsMovedError(err) // in the midst of a transaction, where the library leaves it to its caller
	if moved || errors.Is(err, redis.TxFailedErr) {
		x.aborted.Add(1)
		return nil
	}
	if err != nil {
		x.aborted.Add(1)
		return fmt.Errorf("a transfer: %w", err)
	}
	return nil
}

// check ends the load and compares. It returns how many keys there are of it.
func (x *tallies) check() int {
	x.stop()
	x.running.Wait()
	t, transfers, keys, total := x.c.t, 0, 0, int64(0)
	t.Helper()
	if len(x.failed) > 0 && x.c.terms() == x.c.began {
		t.Error(x.failed)
	}
	for i := range x.added {
		least, to := x.added[i].Load(), 0
		total += least
		keys += 2
		x.c.mustSee(func() error {
			n, err := x.c.client.Get(x.c.ctx, counterOf(i)).Int64()
			if errors.Is(err, redis.Nil) && least == 0 {
				return nil
			}
			if err == nil && (n < least || n > least+x.unknown[i].Load()) {
				err = fmt.Errorf("%s is %d, not %d and up to %d more", counterOf(i), n, least, x.unknown[i].Load())
			}
			return err
		})
		if x.c.client.Exists(x.c.ctx, counterOf(i)).Val() == 1 {
			keys++
		}
		x.c.mustSee(func() error {
			a, err := x.c.client.Get(x.c.ctx, account(i, "from")).Int()
			b, err2 := x.c.client.Get(x.c.ctx, account(i, "to")).Int()
			if err = errors.Join(err, err2); err == nil && a+b != 2*balance {
				err = fmt.Errorf("the accounts %d have %d and %d", i, a, b)
			}
			to = b
			return err
		})
		transfers += to - balance
	}
	if done := total - x.aborted.Load(); len(x.failed) == 0 && int64(transfers) != done {
		t.Errorf("%d was transferred in %d transfers", transfers, done)
	}
	t.Logf("%d transfers, of which %d were not to be", total, x.aborted.Load())
	return keys
}

// backAndForth are slots that are shard 1's or shard 2's.
var backAndForth = cluster.Range{From: 0, To: 3999}

// ownerOf is the shard that owns a slot.
func ownerOf(r *cluster.Report, slot uint16) uint32 {
	for _, g := range r.Groups {
		if slices.ContainsFunc(g.Slots, func(s cluster.Range) bool { return s.From <= slot && slot <= s.To }) {
			return g.Group
		}
	}
	return 0
}

// migrateAnd has slots go from shard 1 to 2, or back, and says something of it while it is under way: it is refused where the
// migration was faster, which then is done the other way.
func (c *sharded) migrateAnd(order string) cluster.Migration {
	c.t.Helper()
	var err error
	for range 50 {
		r := c.await("no migration is under way", ended)
		m := cluster.Migration{From: 1, To: 2}
		if ownerOf(&r, backAndForth.From) == 2 {
			m.From, m.To = 2, 1
		}
		said := c.mustOrder("migrate-slots", "--from", fmt.Sprint(m.From), "--to", fmt.Sprint(m.To), "--slots", fmt.Sprintf("%d-%d", backAndForth.From, backAndForth.To))
		if _, err = fmt.Sscanf(said, "migration %d", &m.ID); err != nil {
			c.t.Fatalf("%q: %v", said, err)
		}
		if _, err = c.Larder(takesOrders, "cluster", order, "--migration", fmt.Sprint(m.ID), "--addr", c.Nodes[0].Addr()); err == nil {
			return m
		}
	}
	c.t.Fatalf("every migration had ended before it could be told to %s: %v", order, err)
	return cluster.Migration{}
}

// TestMigrationUnderLoad: slots go to and fro between shards, one migration is paused and goes on, another is taken back.
// Clients of the usual library notice nothing.
func TestMigrationUnderLoad(t *testing.T) {
	c := startSharded(t, nodes.Options{Count: 3}, 2)
	c.mustOrder("add-shards", "1")
	c.await("the third shard has three voters", func(r *cluster.Report) bool { return r.Settled && r.Groups[3].Voters == 3 })
	c.fill(movedKeys)
	c.load(8)
	tallies := c.startTallies(4)
	for _, move := range [][3]string{{"1", "2", "0-8191"}, {"2", "3", "4000-12000"}, {"3", "1", "5000-5000,6000-7000"}, {"2", "1", "0-3999"}} {
		c.mustOrder("migrate-slots", "--from", move[0], "--to", move[1], "--slots", move[2])
		c.await("the migration has ended", ended)
	}
	paused := c.migrateAnd("pause")
	r := c.await("it rests", func(r *cluster.Report) bool { return len(r.Migrations) == 1 && !r.Migrations[0].Driven })
	if m := r.Migrations[0]; m.ID != paused.ID || !m.Paused || m.State != cluster.MigrationCopying {
		t.Errorf("migration %d was paused, and is %+v", paused.ID, m)
	}
	c.mustOrder("resume", "--migration", fmt.Sprint(paused.ID))
	r = c.await("it has ended", ended)
	if got := ownerOf(&r, backAndForth.From); got != paused.To {
		t.Errorf("a migration from shard %d to %d was paused and went on, and the slots are shard %d's", paused.From, paused.To, got)
	}
	canceled := c.migrateAnd("cancel")
	r = c.await("it has been taken back", ended)
	if got := ownerOf(&r, backAndForth.From); got != canceled.From {
		t.Errorf("a migration from shard %d to %d was canceled, and the slots are shard %d's", canceled.From, canceled.To, got)
	}
	c.check(movedKeys, tallies.check(), false)
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
	c.check(movedKeys, 0, true)
}
