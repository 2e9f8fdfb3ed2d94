package history

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
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

// moveShard moves a replica of a shard from a node that has one to a node that has none.
func moveShard(c *nodes.Cluster, s Step) error {
	r, err := c.Report(moveTime, c.Nodes[s.Nodes[len(s.Nodes)-1]])
	if err != nil {
		return err
	}
	rng := s.draw()
	shard := uint32(1 + rng.IntN(testShards))
	var have, others []string
	for _, g := range r.Groups {
		for _, replica := range g.Replicas {
			if g.Group == shard && replica.Wanted {
				have = append(have, string(replica.Node))
			}
		}
	}
	for _, n := range r.Nodes {
		if !slices.Contains(have, string(n.ID)) {
			others = append(others, string(n.ID))
		}
	}
	if len(have) == 0 || len(others) == 0 {
		return fmt.Errorf("nobody is there to give or to take shard %d", shard)
	}
	return ask(c, s, "move-shard", "--shard", strconv.Itoa(int(shard)), "--from", have[rng.IntN(len(have))], "--to", others[rng.IntN(len(others))])
}

// drainNode has a node's replicas moved to others, or takes it into use again.
func drainNode(c *nodes.Cluster, s Step) error {
	id, err := c.Nodes[s.Nodes[0]].TryCommand("CLUSTER", "MYID")
	if err != nil {
		return err
	}
	return ask(c, s, []string{"drain", "undrain"}[s.draw().IntN(2)], id.Text)
}

// task is a move or a migration that is under way, as larder cluster calls it.
type task struct{ flag, id string }

// underWay chooses one of the moves and migrations that are under way. If there is none, it begins one.
func underWay(c *nodes.Cluster, s Step) (task, error) {
	for begun := false; ; begun = true {
		r, err := c.Report(moveTime, c.Nodes[s.Nodes[len(s.Nodes)-1]])
		if err != nil {
			return task{}, err
		}
		var all []task
		for _, m := range r.Moves {
			all = append(all, task{"--move", strconv.FormatUint(m.ID, 10)})
		}
		for _, m := range r.Migrations {
			all = append(all, task{"--migration", strconv.FormatUint(m.ID, 10)})
		}
		switch {
		case len(all) > 0:
			return all[s.draw().IntN(len(all))], nil
		case begun:
			return task{}, errors.New("nothing is under way")
		}
		if err := []func(*nodes.Cluster, Step) error{moveShard, migrateSlots}[s.draw().IntN(2)](c, s); err != nil {
			return task{}, err
		}
	}
}

// orderTries is how often something is asked of what is under way: most of it soon is not any more, or comes to where it goes on
// to its end.
const orderTries = 5

// order asks something of one of the moves and migrations that are under way.
func order(c *nodes.Cluster, s Step, what string) (t task, err error) {
	for range orderTries {
		if t, err = underWay(c, s); err == nil {
			err = ask(c, s, what, t.flag, t.id)
		}
		if err == nil {
			return t, nil
		}
		s.Number++
	}
	return t, err
}

// hold pauses a move or a migration, and has it go on when the step ends. Where that is not heard, it goes on when all is
// healed.
func hold(c *nodes.Cluster, s Step) error {
	t, err := order(c, s, "pause")
	if err != nil {
		return err
	}
	time.Sleep(s.Length)
	return ask(c, s, "resume", t.flag, t.id)
}

// cancel takes a move or a migration back.
func cancel(c *nodes.Cluster, s Step) error {
	_, err := order(c, s, "cancel")
	return err
}

func rebalance(c *nodes.Cluster, s Step) error { return ask(c, s, "rebalance") }

// leavingTime bounds how long a node may take to hand on all that it has.
const leavingTime = 20 * time.Second

// removeNode drains a node of a cluster that is whole and takes it out. Its machine comes back with an empty disk, as a new
// node. Where the others cannot take what it has, it stays.
func removeNode(c *nodes.Cluster, s Step) (string, func() error, error) {
	n, through := c.Nodes[s.Nodes[0]], c.Nodes[s.Nodes[1]]
	what := "remove " + n.Name()
	if err := c.AwaitWhole(); err != nil {
		return what, nothing, err
	}
	larder := func(what string) error {
		_, err := c.Larder(moveTime, "cluster", what, n.Addr(), "--addr", through.Addr())
		return err
	}
	refused := larder("drain")
	for deadline := time.Now().Add(leavingTime); refused == nil; time.Sleep(100 * time.Millisecond) {
		n.Leaves(true)
		err := larder("remove")
		if err == nil {
			return what + ", which joins again", c.AwaitWhole, errors.Join(n.Wipe(), n.Start())
		}
		n.Leaves(false)
		if time.Now().After(deadline) {
			refused = errors.Join(err, larder("undrain"))
		}
	}
	return fmt.Sprintf("%s: %v", what, refused), nothing, nil
}

// startMoving starts a cluster that has something to move: enough for moves to take a moment.
func startMoving(t *testing.T, seed uint64, disk int64) *nodes.Cluster {
	t.Helper()
	c := nodes.Start(t, nodes.Options{Program: larder, Count: 4, Replicas: 3, Seed: seed, DiskSize: disk,
		Directives: []string{"--cluster-enabled", "yes", "--shards", strconv.Itoa(testShards)}})
	must(t, c.AwaitSettled())
	for _, n := range c.Nodes { // each writes the keys of the shards that it leads
		_, err := n.Command("DEBUG", "POPULATE", "40000", "ballast", "1000")
		must(t, err)
	}
	return c
}

// moves are what is asked of a cluster that is well, or not.
func moves() []Fault {
	return []Fault{Hook("migrate", 30, migrateSlots), Hook("move", 15, moveShard), Hook("drain", 4, drainNode),
		Hook("hold", 6, hold), Hook("cancel", 6, cancel), Hook("rebalance", 4, rebalance)}
}

// movingFaults are all others, and moves.
func movingFaults(c *nodes.Cluster) []Fault {
	return append(append(Faults(c), moves()...), Fault{Name: "remove", Weight: 2, Alone: true, Do: removeNode})
}

// TestHistoryWithMoves: slots and replicas move while everything else goes wrong too. What is asked for may be refused,
// or given up half way; no client may notice more than a redirect.
func TestHistoryWithMoves(t *testing.T) {
	t.Parallel()
	c := startMoving(t, 1, diskSize)
	check(t, &Run{Cluster: c, Seed: setting(t, "LARDER_HISTORY_SEED", 1), Length: shortRun, Faults: movingFaults(c), Clients: 8}, keepIn("moves"))
}

// TestEveryMove has each kind of move come once, on a cluster of which nothing is broken: all of them can be had.
func TestEveryMove(t *testing.T) {
	t.Parallel()
	c := startMoving(t, 1, diskSize)
	faults := append(moves(), Fault{Name: "remove", Do: removeNode})
	var steps []Step
	for i, f := range faults {
		steps = append(steps, Step{At: time.Duration(i+1) * 1200 * time.Millisecond, Length: time.Second, Fault: f.Name,
			Nodes: []int{i % 4, (i + 1) % 4, (i + 2) % 4, (i + 3) % 4}, Number: uint64(i)})
	}
	length := steps[len(steps)-1].At + 2*time.Second
	h := check(t, &Run{Cluster: c, Seed: 1, Length: length, Faults: faults, Steps: steps, Clients: 8}, keepIn(t.Name()))
	for _, e := range h.Events() {
		if strings.Contains(e.What, ":") {
			t.Errorf("refused: %s", e.What)
		}
	}
}

// TestClientsNoticeRedirectsAtMost: while slots and replicas move and nothing is wrong, each operation is carried out, or the
// client is sent elsewhere or asked to come again. Only where a leader was lost besides, since the machine had no time for it, is
// there another round.
func TestClientsNoticeRedirectsAtMost(t *testing.T) {
	c := startMoving(t, 1, 0)
	for round := range uint64(3) {
		before := lostLeaders(t, c)
		h := check(t, &Run{Cluster: c, Seed: round + 1, Length: shortRun / 2, Faults: moves(), Clients: 8,
			Prefix: fmt.Sprintf("r%d-", round)}, keepIn(t.Name()))
		done := map[string]int{}
		for _, e := range h.Events() {
			what, why, _ := strings.Cut(e.What, ":")
			if why == "" {
				done[what]++
			}
		}
		redirected, more := noticed(h)
		t.Logf("%d redirects, %d more, with %v", redirected, len(more), done)
		if done["migrate"] == 0 || done["move"] == 0 || redirected == 0 {
			t.Error("too little has moved")
		}
		if len(more) == 0 {
			return
		}
		if lostLeaders(t, c) == before {
			t.Fatalf("clients notice more than that:\n%s", strings.Join(more[:min(len(more), 20)], "\n"))
		}
	}
	t.Error("leaders are lost in each round, though nothing is broken")
}

// noticed tells how many operations were carried out elsewhere or later than they were first sent, and all others of which the
// client was told less than that they were done.
func noticed(h *History) (redirected int, more []string) {
	for _, o := range h.Ops() {
		word, _, _ := strings.Cut(o.Error, " ")
		switch {
		case o.Outcome == OK || o.Outcome == Failed && o.Error == watchFailed:
		case o.Outcome == Failed && slices.Contains([]string{"MOVED", "ASK", "TRYAGAIN"}, word):
			redirected++
		default:
			more = append(more, fmt.Sprintf("%v %s %s", o.Call.Round(time.Millisecond), nodeName(o.Node), shortened(o.String())))
		}
	}
	return redirected, more
}

// lostLeaders is how often followers have not heard of their leader for too long, as they say.
func lostLeaders(t *testing.T, c *nodes.Cluster) (n int) {
	t.Helper()
	for _, node := range c.Nodes {
		said, err := os.ReadFile(node.Said)
		must(t, err)
		n += strings.Count(string(said), "heartbeat timeout reached, starting election") + strings.Count(string(said), "stepping down")
	}
	return n
}
