package history

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

// Fault is a way to break a cluster.
type Fault struct {
	Name   string
	Weight int  // how often it comes, beside the others
	Alone  bool // nothing else may be broken meanwhile
	// What it takes: a network of the nodes' own, disks of their own, and how many nodes.
	Links, Disks bool
	Nodes        int
	// Do breaks the cluster as the step says. It returns what it did, in words, and how it is undone.
	Do func(c *nodes.Cluster, s Step) (what string, undo func() error, err error)
}

// allFaults are those that can be had somewhere.
func allFaults() []Fault {
	return []Fault{
		{Name: "kill", Weight: 6, Do: kill},
		{Name: "pause", Weight: 4, Do: pause},
		{Name: "restart", Weight: 2, Do: restart},
		{Name: "save-kill", Weight: 3, Do: saveAndKill},
		{Name: "clock", Weight: 2, Do: clock},
		{Name: "stall-disk", Weight: 2, Do: stallDisk},
		{Name: "full-disk", Weight: 1, Disks: true, Do: fullDisk},
		{Name: "clients", Weight: 2, Links: true, Do: clientLinks},
		atLeader(Fault{Name: "kill", Weight: 4, Nodes: 3, Do: kill}),
		atLeader(Fault{Name: "pause", Weight: 4, Nodes: 3, Do: pause}),
		atLeader(Fault{Name: "stall-disk", Weight: 2, Nodes: 3, Do: stallDisk}),
		{Name: "wipe", Weight: 1, Alone: true, Nodes: 3, Do: wipe},
		{Name: "rolling", Weight: 1, Alone: true, Nodes: 3, Do: rollingRestart},
		{Name: "isolate", Weight: 4, Links: true, Nodes: 3, Do: isolate},
		{Name: "one-way", Weight: 4, Links: true, Nodes: 3, Do: oneWay},
		atLeader(Fault{Name: "isolate", Weight: 4, Links: true, Nodes: 3, Do: isolate}),
		atLeader(Fault{Name: "one-way", Weight: 4, Links: true, Nodes: 3, Do: oneWay}),
		{Name: "bridge", Weight: 3, Links: true, Nodes: 3, Do: bridge},
		{Name: "slow", Weight: 2, Links: true, Nodes: 3, Do: slow},
		{Name: "lossy", Weight: 2, Links: true, Nodes: 3, Do: lossy},
	}
}

// Faults are those that can be had in the cluster.
func Faults(c *nodes.Cluster) []Fault {
	return slices.DeleteFunc(allFaults(), func(f Fault) bool { return f.lacks(c) != nil })
}

// lacks tells why the fault cannot be had in the cluster; nil: it can.
func (f Fault) lacks(c *nodes.Cluster) error {
	switch {
	case len(c.Nodes) < f.Nodes:
		return fmt.Errorf("%s takes %d nodes", f.Name, f.Nodes)
	case f.Links && c.Net == nil:
		return fmt.Errorf("%s cannot be had: %w", f.Name, c.Why)
	case f.Disks && !c.OwnDisks():
		return fmt.Errorf("%s cannot be had: no disks of the nodes' own", f.Name)
	}
	return nil
}

// errNoSuchFault is a mistake in a plan.
var errNoSuchFault = errors.New("there is no such fault")

// lacking tells why a plan cannot be carried out in the cluster: its first step that is none of the faults that can be had
// there. A plan that is carried out in part proves nothing.
func lacking(c *nodes.Cluster, plan []Step, had []Fault) error {
	all := allFaults()
	for _, s := range plan {
		is := func(f Fault) bool { return f.Name == s.Fault }
		if slices.ContainsFunc(had, is) {
			continue
		}
		at := slices.IndexFunc(all, is)
		if at < 0 {
			return fmt.Errorf("%w: %s", errNoSuchFault, s.Fault)
		}
		if err := all[at].lacks(c); err != nil {
			return err
		}
		return fmt.Errorf("%s is none of the run's faults", s.Fault)
	}
	return nil
}

// atLeader aims a fault at the node that leads when it comes, if one does.
func atLeader(f Fault) Fault {
	do := f.Do
	f.Name += "-leader"
	f.Do = func(c *nodes.Cluster, s Step) (string, func() error, error) {
		order := slices.Clone(s.Nodes)
		for i, node := range order {
			if c.Nodes[node].Leads() {
				order[0], order[i] = order[i], order[0]
				break
			}
		}
		s.Nodes = order
		what, undo, err := do(c, s)
		return what + " (leader)", undo, err
	}
	return f
}

// Hook makes a fault of a function, such as a move of a shard: it runs beside the other faults and is waited for. What
// it returns is written down, and no failure: a cluster that is broken may refuse.
func Hook(name string, weight int, do func(c *nodes.Cluster, s Step) error) Fault {
	return Fault{Name: name, Weight: weight, Do: func(c *nodes.Cluster, s Step) (string, func() error, error) {
		ended := make(chan error, 1)
		go func() { ended <- do(c, s) }()
		return name, func() error {
			if err := <-ended; err != nil {
				return refusedHook{err}
			}
			return nil
		}, nil
	}}
}

// refusedHook is an error of a hook.
type refusedHook struct{ error }

// victims are the first nodes of the step's order: mostly one, now and then more, all at times.
func victims(c *nodes.Cluster, s Step) (chosen []*nodes.Node, names string) {
	n := 1
	if s.draw().IntN(4) == 0 {
		n = 1 + s.draw().IntN(len(s.Nodes))
	}
	var all []string
	for _, i := range s.Nodes[:n] {
		chosen = append(chosen, c.Nodes[i])
		all = append(all, c.Nodes[i].Name())
	}
	return chosen, strings.Join(all, " ")
}

func each(chosen []*nodes.Node, do func(*nodes.Node) error) error {
	var err error
	for _, n := range chosen {
		err = errors.Join(err, do(n))
	}
	return err
}

func kill(c *nodes.Cluster, s Step) (string, func() error, error) {
	chosen, names := victims(c, s)
	for _, n := range chosen {
		n.Kill()
	}
	return "kill " + names, func() error { return each(chosen, (*nodes.Node).Start) }, nil
}

func pause(c *nodes.Cluster, s Step) (string, func() error, error) {
	chosen, names := victims(c, s)
	for _, n := range chosen {
		n.Pause()
	}
	return "pause " + names, func() error {
		for _, n := range chosen {
			n.Resume()
		}
		return nil
	}, nil
}

func restart(c *nodes.Cluster, s Step) (string, func() error, error) {
	chosen, names := victims(c, s)
	return "stop " + names, func() error { return each(chosen, (*nodes.Node).Start) }, each(chosen, (*nodes.Node).Stop)
}

// saveAndKill kills nodes a few milliseconds after a checkpoint has begun.
func saveAndKill(c *nodes.Cluster, s Step) (string, func() error, error) {
	chosen, names := victims(c, s)
	for _, n := range chosen {
		_, _ = n.TryCommand("BGSAVE") // it may be down
	}
	time.Sleep(time.Duration(s.draw().IntN(50)) * time.Millisecond)
	for _, n := range chosen {
		n.Kill()
	}
	return "save and kill " + names, func() error { return each(chosen, (*nodes.Node).Start) }, nil
}

// clock moves a node's clock by up to an hour and lets it run fast or slow.
func clock(c *nodes.Cluster, s Step) (string, func() error, error) {
	n, rng := c.Nodes[s.Nodes[0]], s.draw()
	shift := []int64{100, 1000, 60_000, 3_600_000}[rng.IntN(4)] * int64(1-2*rng.IntN(2))
	skew := rng.Int64N(200_000) - 100_000
	set := func(shift, skew int64) {
		_, _ = n.TryCommand("DEBUG", "LARDER-CLOCK", strconv.FormatInt(shift, 10), strconv.FormatInt(skew, 10)) // it may be down
	}
	set(shift, skew)
	return fmt.Sprintf("clock of %s %+d ms %+d ppm", n.Name(), shift, skew), func() error {
		set(0, 0)
		return nil
	}, nil
}

// stallDisk has a node's log wait for its disk. That ends by itself: who has been told to stop waits, too.
func stallDisk(c *nodes.Cluster, s Step) (string, func() error, error) {
	n := c.Nodes[s.Nodes[0]]
	set := func(d time.Duration) {
		_, _ = n.TryCommand("DEBUG", "LARDER-DISK", strconv.FormatInt(d.Milliseconds(), 10)) // it may be down
	}
	set(s.Length)
	return "the disk of " + n.Name() + " does not answer", func() error {
		set(0)
		return nil
	}, nil
}

func fullDisk(c *nodes.Cluster, s Step) (string, func() error, error) {
	n := c.Nodes[s.Nodes[0]]
	return "full disk of " + n.Name(), n.FreeDisk, n.FillDisk()
}

// wipe empties a disk, of a cluster that is whole before and after: more than one at a time would be a lost majority.
func wipe(c *nodes.Cluster, s Step) (string, func() error, error) {
	n := c.Nodes[s.Nodes[0]]
	if err := c.AwaitWhole(); err != nil {
		return "wipe " + n.Name(), nothing, err
	}
	return "wipe " + n.Name(), func() error { return errors.Join(n.Start(), c.AwaitWhole()) }, n.Wipe()
}

func nothing() error { return nil }

func rollingRestart(c *nodes.Cluster, s Step) (string, func() error, error) {
	var err error
	for _, i := range s.Nodes {
		err = errors.Join(err, c.Nodes[i].Stop(), c.Nodes[i].Start(), c.AwaitWhole())
	}
	return "rolling restart", nothing, err
}

// paths sets the weather on ways between nodes, each a pair from, to.
func paths(c *nodes.Cluster, ways [][2]int, w nodes.Weather) (undo func() error) {
	for _, way := range ways {
		c.Net.Set(way[0], way[1], w)
	}
	return func() error {
		for _, way := range ways {
			c.Net.Set(way[0], way[1], nodes.Weather{})
		}
		return nil
	}
}

// ways lists the ways between a node and the others: out of it, into it, or both.
func ways(victim int, others []int, out, in bool) (all [][2]int) {
	for _, other := range others {
		if out {
			all = append(all, [2]int{victim, other})
		}
		if in {
			all = append(all, [2]int{other, victim})
		}
	}
	return all
}

// isolate cuts a node off from the others; clients still reach it.
func isolate(c *nodes.Cluster, s Step) (string, func() error, error) {
	return "isolate " + nodeName(s.Nodes[0]), paths(c, ways(s.Nodes[0], s.Nodes[1:], true, true), nodes.Weather{Cut: true}), nil
}

// oneWay makes a node deaf or mute, to all others or to one.
func oneWay(c *nodes.Cluster, s Step) (string, func() error, error) {
	rng := s.draw()
	others, what := s.Nodes[1:], []string{"mute", "deaf"}[rng.IntN(2)]
	if rng.IntN(2) == 0 {
		others = others[:1]
	}
	what = nodeName(s.Nodes[0]) + " is " + what + " to"
	for _, other := range others {
		what += " " + nodeName(other)
	}
	mute := strings.Contains(what, "mute")
	return what, paths(c, ways(s.Nodes[0], others, mute, !mute), nodes.Weather{Cut: true}), nil
}

// bridge cuts two nodes off from each other; both still reach the third.
func bridge(c *nodes.Cluster, s Step) (string, func() error, error) {
	return fmt.Sprintf("%s and %s do not reach each other", nodeName(s.Nodes[0]), nodeName(s.Nodes[1])),
		paths(c, ways(s.Nodes[0], s.Nodes[1:2], true, true), nodes.Weather{Cut: true}), nil
}

func slow(c *nodes.Cluster, s Step) (string, func() error, error) {
	w := nodes.Weather{Delay: time.Duration(s.draw().IntN(100)) * time.Millisecond, Jitter: 20 * time.Millisecond}
	return fmt.Sprintf("%v more from and to %s", w.Delay, nodeName(s.Nodes[0])), paths(c, ways(s.Nodes[0], s.Nodes[1:], true, true), w), nil
}

func lossy(c *nodes.Cluster, s Step) (string, func() error, error) {
	w := nodes.Weather{Loss: 0.02 + 0.3*s.draw().Float64()}
	return fmt.Sprintf("%.0f %% of frames lost from and to %s", 100*w.Loss, nodeName(s.Nodes[0])), paths(c, ways(s.Nodes[0], s.Nodes[1:], true, true), w), nil
}

// clientLinks breaks what lies between clients and a node: they do not hear what it answers, or are not heard.
func clientLinks(c *nodes.Cluster, s Step) (string, func() error, error) {
	rng := s.draw()
	way := [2]int{nodes.Outside, s.Nodes[0]}
	w := []nodes.Weather{{Cut: true}, {Loss: 0.2}, {Delay: 30 * time.Millisecond, Jitter: 30 * time.Millisecond}}[rng.IntN(3)]
	what := "from clients to "
	if rng.IntN(2) == 0 {
		slices.Reverse(way[:])
		what = "to clients from "
	}
	return fmt.Sprintf("%s%s: %+v", what, nodeName(s.Nodes[0]), w), paths(c, [][2]int{way}, w), nil
}
