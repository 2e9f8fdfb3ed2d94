package history

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Step is one fault of a plan.
type Step struct {
	At     time.Duration // since the plan began
	Length time.Duration // until it is undone
	Fault  string
	Nodes  []int  // all nodes, in the order in which the fault takes its victims
	Number uint64 // decides what else there is to decide
}

func (s Step) String() string {
	return fmt.Sprintf("%7.3fs %5.3fs %-10s %v %d", s.At.Seconds(), s.Length.Seconds(), s.Fault, s.Nodes, s.Number%1000)
}

// draw is a random source for what the fault decides.
func (s Step) draw() *rand.Rand { return rand.New(rand.NewPCG(s.Number, 0)) }

// Bounds of a step's length, and of the time between two.
const (
	shortestStep = 200 * time.Millisecond
	longestStep  = 4 * time.Second
	longestGap   = 1500 * time.Millisecond
)

// Plan chooses faults and their order: the same seed, length, number of nodes and faults give the same plan. One step in
// three begins before the one before it is undone. Steps that must be alone are.
func Plan(seed uint64, length time.Duration, count int, faults []Fault) []Step {
	rng := rand.New(rand.NewPCG(seed, 0))
	weights := 0
	for _, f := range faults {
		weights += f.Weight
	}
	var steps []Step
	var at, busy time.Duration // busy: until then something is under way
	for weights > 0 {
		at += time.Duration(rng.Int64N(int64(longestGap)))
		f := pick(faults, rng.IntN(weights))
		if f.Alone {
			at = max(at, busy)
		}
		s := Step{At: at, Length: shortestStep + time.Duration(rng.Int64N(int64(longestStep-shortestStep))),
			Fault: f.Name, Nodes: rng.Perm(count), Number: rng.Uint64()}
		if s.At+s.Length > length {
			break
		}
		steps = append(steps, s)
		busy = max(busy, s.At+s.Length)
		if f.Alone || rng.IntN(3) > 0 {
			at = busy
		}
	}
	return steps
}

func pick(faults []Fault, at int) Fault {
	for _, f := range faults {
		if at -= f.Weight; at < 0 {
			return f
		}
	}
	return Fault{}
}
