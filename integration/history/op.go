// Package history runs clients against a system that is being broken, writes down what they asked and what they were
// told, and checks that some single order of the commands explains all of it.
//
// An operation is one command or one transaction of one client. Its outcome is OK when the answer arrived, Failed when
// it was certainly not carried out (it was refused, or never sent), and Unknown when it may or may not have been, now or
// later. That distinction is the promise under test: a system that answers "failed" for what it did, or "OK" for what it
// forgets, is caught whatever else it gets right.
//
//	op.go        operations and the history
//	client.go    one client: operations over a connection, and what each answer means
//	workload.go  many clients on few keys
//	models.go    what a register, a counter, a list, a set and a bank of accounts may answer, for porcupine
//	fleeting.go  the same for a register whose values end after a time
//	losses.go    cheap checks of whole histories: nothing lost, nothing twice, nothing out of the air
//	plan.go      faults and when they come, drawn from a seed
//	nemesis.go   the faults themselves
//	run.go       all of it together, and what is kept of a run that went wrong
package history

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Outcome is what a client knows of an operation.
type Outcome string

// The three outcomes.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"
	Unknown Outcome = "unknown"
)

// Kind is the type of a key, and so the model that its operations follow.
type Kind string

// The kinds of keys.
const (
	Register Kind = "register"
	Fleeting Kind = "fleeting" // a register whose values end
	Counter  Kind = "counter"
	List     Kind = "list"
	Set      Kind = "set"
	Bank     Kind = "bank" // several accounts, keys of one hash tag, whose total stays 0
)

// Op is one operation.
type Op struct {
	Client  int           `json:"client"`
	Node    int           `json:"node"` // whom it was sent to
	Kind    Kind          `json:"kind"`
	Key     string        `json:"key"`
	Name    string        `json:"op"`
	In      []string      `json:"in,omitempty"`
	Out     []string      `json:"out,omitempty"` // with OK only; a missing value is Missing
	Call    time.Duration `json:"call"`          // since the history began
	Return  time.Duration `json:"return"`
	Outcome Outcome       `json:"outcome"`
	Error   string        `json:"error,omitempty"`

	early, late time.Duration // of what a fleeting key was set to
}

// Missing stands for a value that is not there. No client writes it.
const Missing = "(nil)"

func (o *Op) String() string {
	answer := strings.Join(o.Out, " ")
	if o.Outcome != OK {
		answer = strings.TrimSpace(string(o.Outcome) + " " + o.Error)
	}
	return fmt.Sprintf("%s %s → %s", o.Name, strings.Join(o.In, " "), answer)
}

// Event is something that was done to the system, for the picture.
type Event struct {
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"`
	What string        `json:"what"`
}

// History is what all clients saw. Its methods may be called by several goroutines.
type History struct {
	began time.Time

	mu struct {
		sync.Mutex
		ops    []*Op
		events []Event
		odd    []string
	}
}

// New begins a history.
func New() *History { return &History{began: time.Now()} }

// Now is the time since the history began.
func (h *History) Now() time.Duration { return time.Since(h.began) }

// Add writes down an operation that is over.
func (h *History) Add(o *Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.ops = append(h.mu.ops, o)
}

// AddEvent writes down what was done to the system.
func (h *History) AddEvent(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.events = append(h.mu.events, e)
}

// oddLimit bounds how many odd answers are kept.
const oddLimit = 100

// Odd writes down an answer that no right system gives, such as a reply to another command.
func (h *History) Odd(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mu.odd) < oddLimit {
		h.mu.odd = append(h.mu.odd, fmt.Sprintf("%v: ", h.Now().Round(time.Millisecond))+fmt.Sprintf(format, args...))
	}
}

// Ops returns the operations so far.
func (h *History) Ops() []*Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.ops[:len(h.mu.ops):len(h.mu.ops)]
}

// Events returns what was done to the system so far.
func (h *History) Events() []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.events[:len(h.mu.events):len(h.mu.events)]
}

// Oddities returns the odd answers so far.
func (h *History) Oddities() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.odd[:len(h.mu.odd):len(h.mu.odd)]
}

// Tally counts operations by kind and outcome.
func (h *History) Tally() map[Kind]map[Outcome]int {
	tally := map[Kind]map[Outcome]int{}
	for _, o := range h.Ops() {
		if tally[o.Kind] == nil {
			tally[o.Kind] = map[Outcome]int{}
		}
		tally[o.Kind][o.Outcome]++
	}
	return tally
}
