package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

var larder string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "larder-history-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	if larder, err = nodes.Build(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// diskSize is the size of each node's own disk: enough for a run's data, and soon full.
const diskSize = 256 << 20

// setting is a number from the environment.
func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// check carries out a run and fails the test on all that is wrong with it. The history is kept in the folder, if it is
// not "", when something is.
func check(t *testing.T, r *Run, folder string) *History {
	t.Helper()
	r.Log = t.Logf
	h, v, err := r.Do()
	if err != nil {
		t.Error(r.Cluster.Describe(err))
	}
	for i, violation := range v.Violations {
		if i == 20 {
			t.Errorf("… and %d more", len(v.Violations)-i)
			break
		}
		t.Error(shortened(violation))
	}
	tally := h.Tally()
	t.Logf("seed %d: %d operations on %d keys, %d of them undecided, %d faults: %v",
		r.Seed, len(h.Ops()), v.Keys, len(v.Undecided), len(h.Events()), tally)
	if len(v.Undecided)*10 > v.Keys {
		t.Errorf("the order of %d of %d keys was not found in time", len(v.Undecided), v.Keys)
	}
	for kind := range models {
		if tally[kind][OK] == 0 {
			t.Errorf("no operation on a %s was answered", kind)
		}
	}
	if !t.Failed() {
		return h
	}
	if folder == "" {
		t.Log("LARDER_HISTORY_DIR says where a history that went wrong is kept")
		return h
	}
	if err := Keep(folder, h, v); err != nil {
		t.Error(err)
	}
	for _, n := range r.Cluster.Nodes {
		said, err := os.ReadFile(n.Said)
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, n.Name()+".log"), said, 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
	t.Logf("the history is in %s", folder)
	return h
}

// keepIn is where histories that went wrong are kept: LARDER_HISTORY_DIR, or nowhere.
func keepIn(name string) string {
	folder := os.Getenv("LARDER_HISTORY_DIR")
	if folder == "" {
		return ""
	}
	return filepath.Join(folder, name)
}

const shortRun = 30 * time.Second

func TestHistoryOfOneNode(t *testing.T) {
	c := nodes.Start(t, nodes.Options{Program: larder, Count: 1, DiskSize: diskSize, Seed: 1})
	check(t, &Run{Cluster: c, Seed: setting(t, "LARDER_HISTORY_SEED", 1), Length: shortRun / 3, Faults: Faults(c), Clients: 8}, keepIn("one-node"))
}

// islands are servers that clients take for one system, and that know nothing of each other.
type islands []*nodes.Cluster

func (i islands) Nodes() int      { return len(i) }
func (i islands) Find(string) int { return -1 }
func (i islands) Dial(node int) (Conn, error) {
	conn, err := i[node].Nodes[0].Dial(time.Second)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// TestIslandsAreFound proves the whole of it on real processes: three servers on their own are no cluster.
func TestIslandsAreFound(t *testing.T) {
	var all islands
	for range 3 {
		all = append(all, nodes.Start(t, nodes.Options{Program: larder, Count: 1}))
	}
	_, v := observe(t, all)
	if len(v.Violations) == 0 {
		t.Error("not found")
	}
}

func TestHistoryOfThreeNodes(t *testing.T) {
	c := nodes.Start(t, nodes.Options{Program: larder, Count: 3, DiskSize: diskSize, Seed: 1})
	check(t, &Run{Cluster: c, Seed: setting(t, "LARDER_HISTORY_SEED", 1), Length: shortRun, Faults: Faults(c), Clients: 8}, keepIn("three-nodes"))
}

// TestEveryFault has each fault come once, mostly beside another: that the dice of a short run leave one out is no reason for
// it not to be tried.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	c := nodes.Start(t, nodes.Options{Program: larder, Count: 3, DiskSize: diskSize, Seed: 1})
	faults := Faults(c)
	documented(t, c, faults)
	var steps []Step
	at := time.Second
	for i, f := range faults {
		if f.Alone {
			at += time.Second
		}
		steps = append(steps, Step{At: at, Length: time.Second, Fault: f.Name, Nodes: []int{i % 3, (i + 1) % 3, (i + 2) % 3}, Number: uint64(i)})
		at += 500 * time.Millisecond
		if f.Alone {
			at += time.Second
		}
	}
	check(t, &Run{Cluster: c, Seed: 1, Length: at + time.Second, Faults: faults, Steps: steps, Clients: 8}, keepIn(t.Name()))
}

// documented checks that the faults are those of docs/consistency.md's table, where all of them can be had.
func documented(t *testing.T, c *nodes.Cluster, faults []Fault) {
	t.Helper()
	text, err := os.ReadFile("../../docs/consistency.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| fault | |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if !found {
		t.Fatal("docs/consistency.md has no table of faults")
	}
	there := map[string]bool{}
	for _, f := range movingFaults(c) {
		there[f.Name] = true
	}
	for _, f := range faults {
		there[f.Name] = true
		if name := strings.TrimSuffix(f.Name, "-leader"); !strings.Contains(table, "`"+name+"`") {
			t.Errorf("docs/consistency.md does not tell of the fault %s", name)
		}
	}
	if c.Net == nil || !c.OwnDisks() {
		return
	}
	for _, line := range strings.Split(table, "\n") {
		for i, name := range strings.Split(strings.Split(line+"||", "|")[1], "`") {
			if i%2 == 1 && !there[name] {
				t.Errorf("docs/consistency.md tells of the fault %s, which is not there", name)
			}
		}
	}
}

// TestLongHistory is make jepsen: rounds of a minute each until LARDER_HISTORY_TIME is over, for half of it on a cluster of
// one shard, then on one whose slots and replicas move. The round's number is added to the seed, so that a round that
// went wrong can be tried again on its own.
func TestLongHistory(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("LARDER_HISTORY_TIME"))
	if err != nil {
		t.Skip("make jepsen T=30m runs it")
	}
	seed := setting(t, "LARDER_HISTORY_SEED", uint64(time.Now().Unix()))
	t.Run("one-shard", func(t *testing.T) {
		c := nodes.Start(t, nodes.Options{Program: larder, Count: 3, DiskSize: 4 * diskSize, Seed: seed})
		rounds(t, c, Faults(c), seed, length/2)
	})
	t.Run("moves", func(t *testing.T) {
		c := startMoving(t, seed, 4*diskSize)
		rounds(t, c, movingFaults(c), seed, length/2)
	})
}

// rounds runs histories on the cluster, one after the other, until one goes wrong or the time is over.
func rounds(t *testing.T, c *nodes.Cluster, faults []Fault, seed uint64, length time.Duration) {
	t.Helper()
	end := time.Now().Add(length)
	for round := uint64(0); time.Now().Before(end) && !t.Failed(); round++ {
		name := fmt.Sprintf("seed-%d", seed+round)
		check(t, &Run{Cluster: c, Seed: seed + round, Length: min(time.Minute, time.Until(end)), Faults: faults, Clients: 10,
			Prefix: name + "-"}, keepIn(filepath.Join(filepath.Base(t.Name()), name)))
	}
}

// TestPlansAreWholeOrNot: without a network of the nodes' own, a plan that cuts links is none, and says why; a step that
// nobody knows is a mistake.
func TestPlansAreWholeOrNot(t *testing.T) {
	why := errors.New("no network here")
	bare := &nodes.Cluster{Nodes: make([]*nodes.Node, 3), Why: why}
	for _, name := range []string{"isolate", "isolate-leader", "one-way-leader", "bridge", "slow", "lossy", "clients"} {
		plan := []Step{{Fault: "kill"}, {Fault: name}}
		if err := lacking(bare, plan, Faults(bare)); !errors.Is(err, why) {
			t.Errorf("%s without a network: %v", name, err)
		}
		r := &Run{Cluster: bare, Faults: Faults(bare), Steps: plan[1:], Length: time.Millisecond, Log: t.Logf}
		if err := r.breakThings(New()); !errors.Is(err, why) {
			t.Errorf("a run of %s without a network: %v", name, err)
		}
	}
	if err := lacking(bare, []Step{{Fault: "kill"}, {Fault: "wipe"}}, Faults(bare)); err != nil {
		t.Error(err)
	}
	if err := lacking(bare, []Step{{Fault: "isolat"}}, Faults(bare)); !errors.Is(err, errNoSuchFault) {
		t.Errorf("a fault that nobody knows: %v", err)
	}
}

func TestPlanComesFromItsSeed(t *testing.T) {
	faults := []Fault{{Name: "a", Weight: 3}, {Name: "b", Weight: 1}, {Name: "alone", Weight: 1, Alone: true}}
	const length = 10 * time.Minute
	plan := Plan(7, length, 3, faults)
	if !reflect.DeepEqual(plan, Plan(7, length, 3, faults)) {
		t.Error("the same seed gives two plans")
	}
	if reflect.DeepEqual(plan, Plan(8, length, 3, faults)) {
		t.Error("two seeds give the same plan")
	}
	seen, together := map[string]int{}, 0
	var busy time.Duration
	for i, s := range plan {
		seen[s.Fault]++
		if s.At+s.Length > length {
			t.Errorf("%v ends after the plan", s)
		}
		if s.At < busy {
			together++
			if s.Fault == "alone" || plan[i-1].Fault == "alone" {
				t.Errorf("%v is not alone", s)
			}
		}
		busy = max(busy, s.At+s.Length)
	}
	if seen["a"] <= seen["b"] || seen["alone"] == 0 || together == 0 {
		t.Errorf("a badly mixed plan: %v, %d together", seen, together)
	}
}
