package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

// Run is a workload on a cluster while faults come and go.
type Run struct {
	Cluster *nodes.Cluster
	Seed    uint64        // of the plan and of the workload
	Length  time.Duration // of the plan
	Faults  []Fault
	Steps   []Step // the plan; nil: one is drawn from the seed
	Clients int
	Prefix  string // of key names
	Log     func(format string, args ...any)
	Begin   func(*History) // told of the history as it begins; nil: nobody is
}

const (
	// clientPatience is how long a client waits for a reply: longer than a failover, shorter than most faults.
	clientPatience = 3 * time.Second
	clientPause    = 2 * time.Millisecond
	// healPatience bounds how long a healed cluster may take until clients are served again, and everything can be read.
	healPatience = 60 * time.Second
	// served is how many operations must be answered after all is healed.
	served = 50
)

// system is a cluster as clients see it.
type system struct{ *nodes.Cluster }

func (s system) Nodes() int { return len(s.Cluster.Nodes) }

func (s system) Dial(node int) (Conn, error) {
	conn, err := s.Cluster.Nodes[node].Dial(time.Second)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (s system) Find(addr string) int {
	return slices.IndexFunc(s.Cluster.Nodes, func(n *nodes.Node) bool { return n.Addr() == addr })
}

// Do carries out the plan and checks what the clients saw. The error tells what kept the run from being one, or what is
// wrong beside the history: a cluster that does not come back, a process that ended, replicas that differ.
func (r *Run) Do() (*History, *Verdict, error) {
	h := New()
	if r.Begin != nil {
		r.Begin(h)
	}
	w := &Workload{System: system{r.Cluster}, History: h, Clients: r.Clients, Seed: r.Seed, Prefix: r.Prefix,
		Timeout: clientPatience, Pause: clientPause}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		w.Run(stop)
		close(stopped)
	}()
	err := r.breakThings(h)
	if err == nil {
		err = r.recover(w)
	}
	close(stop)
	<-stopped
	if err == nil {
		err = w.ReadAll(healPatience)
	}
	if err == nil {
		err = r.Cluster.AwaitSettled()
	}
	if err == nil {
		_, err = r.Cluster.AwaitSameData()
	}
	return h, h.Check(), errors.Join(err, r.Cluster.Fault())
}

// recover heals the cluster and waits until clients are served again.
func (r *Run) recover(w *Workload) error {
	if err := r.Cluster.Heal(); err != nil {
		return fmt.Errorf("the cluster cannot be healed: %w", err)
	}
	if err := r.Cluster.AwaitWhole(); err != nil {
		return fmt.Errorf("the healed cluster is not whole: %w", err)
	}
	enough := w.Acknowledged() + served
	for deadline := time.Now().Add(healPatience); w.Acknowledged() < enough; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the healed cluster does not serve: %d of %d operations were answered in %v",
				w.Acknowledged()-enough+served, served, healPatience)
		}
	}
	return nil
}

// active is a fault that is under way.
type active struct {
	ends  time.Duration
	event Event
	undo  func() error
}

// breakThings carries out the plan, one thing after the other. What takes longer than planned delays what follows, so
// the order is always the plan's.
func (r *Run) breakThings(h *History) error {
	byName := map[string]Fault{}
	for _, f := range r.Faults {
		byName[f.Name] = f
	}
	var under []active
	end := func(upTo time.Duration) error {
		slices.SortStableFunc(under, func(a, b active) int { return int(a.ends - b.ends) })
		for len(under) > 0 && under[0].ends <= upTo {
			a := under[0]
			under = under[1:]
			sleepUntil(h, a.ends)
			err := a.undo()
			if refused := (refusedHook{}); errors.As(err, &refused) {
				r.Log("%s: %v", a.event.What, err)
				a.event.What += ": " + err.Error()
			} else if err != nil {
				return fmt.Errorf("%s cannot be undone: %w", a.event.What, err)
			}
			a.event.To = h.Now()
			h.AddEvent(a.event)
		}
		return nil
	}
	plan := r.Steps
	if plan == nil {
		plan = Plan(r.Seed, r.Length, len(r.Cluster.Nodes), r.Faults)
	}
	if err := lacking(r.Cluster, plan, r.Faults); err != nil {
		return err
	}
	for _, s := range plan {
		if err := end(s.At); err != nil {
			return err
		}
		sleepUntil(h, s.At)
		from := h.Now()
		what, undo, err := byName[s.Fault].Do(r.Cluster, s)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		r.Log("%v %s for %v", from.Round(time.Millisecond), what, s.Length.Round(time.Millisecond))
		under = append(under, active{s.At + s.Length, Event{From: from, What: what}, undo})
	}
	if err := end(r.Length); err != nil {
		return err
	}
	sleepUntil(h, r.Length)
	return nil
}

func sleepUntil(h *History, at time.Duration) { time.Sleep(at - h.Now()) }

// Keep writes what is needed to understand a run into the folder: the operations, the faults, what is wrong, and a
// picture for each key whose history has no order.
func Keep(folder string, h *History, v *Verdict) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := writeLines(filepath.Join(folder, "operations.jsonl"), h.Ops()); err != nil {
		return err
	}
	if err := writeLines(filepath.Join(folder, "faults.jsonl"), h.Events()); err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	text := strings.Join(v.Violations, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(folder, "violations.txt"), []byte(text), 0o644); err != nil {
		return err
	}
	return v.draw(folder, h.Events())
}

func writeLines[T any](path string, values []T) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(f)
	lines := json.NewEncoder(buffered)
	for _, value := range values {
		if err := lines.Encode(value); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(buffered.Flush(), f.Close())
}
