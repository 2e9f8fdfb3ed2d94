package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
)

// twoShards is a server whose slots two shards share, and what moves them. It implements cluster.MigrationDocument.
type twoShards struct {
	*testServer
	shards [2]*shard

	mu sync.Mutex
	d  cluster.Document
}

func startTwoShards(t *testing.T, directives ...string) *twoShards {
	t.Helper()
	ts := start(t, append([]string{"cluster-enabled yes", "enable-debug-command yes"}, directives...)...)
	x := &twoShards{testServer: ts, shards: [2]*shard{ts.node.sole(), ts.openAnother(2)}}
	self := cluster.Node{ID: cluster.NodeID(strings.Repeat("a", 40)), Client: "here:1", Peer: "here:2", FeatureLevel: 1, State: cluster.NodeUp}
	d, err := cluster.Found(strings.Repeat("c", 40), 1, self, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range d.Shards {
		d.Shards[i].Born = true
		if err := ts.node.member.endow(t.Context(), x.shards[i], &d.Shards[i]); err != nil {
			t.Fatal(err)
		}
	}
	x.d = d
	x.route()
	return x
}

// route has commands run by the document's map.
func (x *twoShards) route() { x.node.setRouting(x.routes()) }

// routes is the routing by the document's map.
func (x *twoShards) routes() *routing {
	d := x.d.Clone()
	r := viewRouting(cluster.NewView(&d), x.shards[:], d.Nodes[0].ID)
	r.view, r.list = x.node.member.view(), x.node.shards.Load()
	return r
}

// View implements cluster.MigrationDocument.
func (x *twoShards) View() *cluster.View {
	x.mu.Lock()
	defer x.mu.Unlock()
	d := x.d.Clone()
	return cluster.NewView(&d)
}

// Do implements cluster.MigrationDocument.
func (x *twoShards) Do(_ context.Context, o cluster.Op) (*cluster.View, error) {
	x.mu.Lock()
	d, err := o.Apply(x.d)
	if err == nil {
		x.d = d
		x.route()
	}
	x.mu.Unlock()
	return x.View(), err
}

// step has a shard take a step with the slot of a key.
func (x *twoShards) step(sh *shard, step, key string) {
	x.t.Helper()
	slot := keyspace.Slot([]byte(key))
	args := command.SlotsArgs(step, 7, 1, []keyspace.SlotRange{{From: slot, To: slot}})
	replies, err := cluster.GroupLog{Group: sh.group, Loop: migrationLoop}.Propose(x.t.Context(), [][][]byte{args})
	if err == nil {
		err = replies[0].Err()
	}
	if err != nil {
		x.t.Fatal(step, err)
	}
}

// waits waits until a session waits for a slot.
func (x *twoShards) waits() {
	x.t.Helper()
	eventually(x.t, "a session waits", func() bool {
		for _, n := range ask(x.Server, func(l *loop) int { return len(l.slotWaits) }) {
			if n > 0 {
				return true
			}
		}
		return false
	})
}

// migrate takes slots from one shard to the other.
func (x *twoShards) migrate(from int, slots cluster.Range) error {
	v, err := x.Do(x.t.Context(), cluster.MigrateSlots{From: uint32(1 + from), To: uint32(2 - from), Slots: []cluster.Range{slots}})
	if err != nil {
		return err
	}
	log := func(id uint32) cluster.ShardLog {
		return cluster.GroupLog{Group: x.shards[id-1].group, Loop: migrationLoop}
	}
	source := x.shards[from]
	return cluster.NewMigrator(cluster.MigratorOptions{
		Document: x, Source: log(uint32(1 + from)), Export: source.engine.SlotExport, Seed: source.engine.Keys().Seed, Target: log, Few: 16,
	}).Run(x.t.Context(), v.Document.Migrations[0].ID)
}

// TestCommandsWaitForFrozenSlots: what is asked while a slot is frozen is answered once it is not.
func TestCommandsWaitForFrozenSlots(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c, watching := x.dial(), x.dial()
	const key = "b" // slot 3300, the first shard's
	c.must("SET b 1", "+OK\r\n")
	watching.must("WATCH b", "+OK\r\n")
	for _, question := range []struct{ commands, want string }{
		{"SET b 2", "+OK\r\n"},
		{"GET b", bulk("2")},
		{"INCR b\nGET b\nGET c", ":3\r\n" + bulk("3") + "$-1\r\n"},
		{"SORT b", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"},
		{"MULTI\nSET b 4\nEXEC", "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"},
		{"WATCH b\nMULTI\nINCR b\nEXEC", "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:5\r\n"},
		{"FLUSHALL", "+OK\r\n"},
	} {
		x.step(x.shards[0], command.SlotsFreeze, key)
		c.send(pipeline(question.commands))
		if question.commands != "FLUSHALL" { // which waits on a worker
			x.waits()
		}
		x.step(x.shards[0], command.SlotsThaw, key)
		var got strings.Builder
		for range strings.Count(question.commands, "\n") + 1 {
			got.WriteString(c.reply())
		}
		if got.String() != question.want {
			t.Errorf("%s: %q, not %q", question.commands, got.String(), question.want)
		}
	}
	watching.must("MULTI", "+OK\r\n")
	watching.must("SET b 9", "+QUEUED\r\n")
	watching.must("EXEC", "*-1\r\n") // the slot was frozen since
}

// TestCommandsInFlightAreRunAgain: a command that was on its way when the slot was frozen is not given up.
func TestCommandsInFlightAreRunAgain(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c := x.dial()
	c.must("SET b 1", "+OK\r\n")
	sh := x.shards[0]
	goOn := x.holdCommands(c, sh)
	x.step(sh, command.SlotsFreeze, "b")
	goOn()
	sh.node.eachLoop(func(l *loop) { l.sealAll() })
	x.waits()
	x.step(sh, command.SlotsThaw, "b")
	for _, want := range []string{":2\r\n", bulk("2"), "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*2\r\n:3\r\n" + bulk("3"), "+OK\r\n"} {
		c.want(want)
	}
	c.must("GET b", bulk("9"))
}

// holdCommands sends commands that stay in a shard's open batch until goOn.
func (x *twoShards) holdCommands(c *testClient, sh *shard) (goOn func()) {
	x.t.Helper()
	sh.watches.holding.Add(1)
	c.send(pipeline("INCR b\nGET b\nMULTI\nINCR b\nGET b\nEXEC\nSET b 9"))
	eventually(x.t, "the commands are in a batch", func() bool {
		return slices.Contains(ask(x.Server, func(l *loop) int {
			if ls := l.kept(sh); ls != nil && ls.open != nil {
				return len(ls.open.notes)
			}
			return 0
		}), 4)
	})
	return func() { sh.watches.holding.Add(-1) }
}

// TestWaitingEnds: whoever waits in vain is told to try again.
func TestWaitingEnds(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c := x.dial()
	c.must("SET b 1", "+OK\r\n")
	x.step(x.shards[0], command.SlotsFreeze, "b")
	c.send(pipeline("SET b 2\nGET b\nGET c"))
	c.want("-" + tryAgain + "\r\n")
	c.want("-" + tryAgain + "\r\n")
	c.want("$-1\r\n")
	c.must("FLUSHALL", "-"+tryAgain+"\r\n")
}

// TestFlushOfSomeShardsIsNotRefused: an error that says that nothing was done is no answer once one shard is empty.
func TestFlushOfSomeShardsIsNotRefused(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	c := x.dial()
	c.must("MSET b 1", "+OK\r\n")
	c.must("MSET a 1", "+OK\r\n")
	x.shards[1].checkpoints.failing.Store(true)
	c.must("FLUSHALL", "-"+misconf+"\r\n")
	c.must("GET b", bulk("1"))
	x.shards[1].checkpoints.failing.Store(false)
	x.step(x.shards[1], command.SlotsFreeze, "a")
	c.must("FLUSHALL", string(indeterminateReply))
	c.must("GET b", "$-1\r\n")
	x.step(x.shards[1], command.SlotsThaw, "a")
	c.must("GET a", bulk("1"))
}

// TestPipelinesWhileSlotsMove: slots go to and fro between shards under pipelines of counters. No reply is wrong, none is
// out of its place, and nothing is done twice.
func TestPipelinesWhileSlotsMove(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"always", "everysec"} {
		x := startTwoShards(t, "appendfsync "+policy)
		ended := make(chan error, 4)
		stop, cancel := context.WithCancel(t.Context())
		defer cancel()
		for n := range cap(ended) {
			c := x.dial()
			go func() { ended <- countUp(stop, c, "client"+strconv.Itoa(n)+":") }()
		}
		for i := range 12 {
			if err := x.migrate(i%2, cluster.Range{From: 1000, To: 7000}); err != nil {
				t.Error(err)
			}
		}
		cancel()
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
}

// countUp counts counters up in pipelines and compares the replies.
func countUp(ctx context.Context, c *testClient, prefix string) error {
	random := rand.New(rand.NewPCG(5, 6))
	counts := map[string]int{}
	for ctx.Err() == nil {
		var text strings.Builder
		var keys []string
		for range 200 {
			key := prefix + strconv.Itoa(random.IntN(60))
			verb := []string{"INCR", "GET"}[random.IntN(2)]
			keys = append(keys, verb+" "+key)
			text.WriteString(line(verb + " " + key))
		}
		if _, err := c.Write([]byte(text.String())); err != nil {
			return err
		}
		for _, asked := range keys {
			verb, key, _ := strings.Cut(asked, " ")
			got := c.reply()
			if strings.HasPrefix(got, "-TRYAGAIN") { // overtaken by a later one of the same pipeline
				continue
			}
			want := bulk(strconv.Itoa(counts[key]))
			switch {
			case verb == "INCR":
				counts[key]++
				want = fmt.Sprintf(":%d\r\n", counts[key])
			case counts[key] == 0:
				want = "$-1\r\n"
			}
			if got != want {
				return errors.New(asked + ": got " + got + ", not " + want)
			}
		}
	}
	return nil
}
