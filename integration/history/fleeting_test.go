package history

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// TestFleetingModel: when a value has to be there, may be, and may not any more.
func TestFleetingModel(t *testing.T) {
	const ms = time.Millisecond
	op := func(name string, call, end time.Duration, outcome Outcome, out string, in ...string) *Op {
		return &Op{Kind: Fleeting, Key: "k", Name: name, In: in, Out: []string{out}, Call: call, Return: end, Outcome: outcome}
	}
	set := op("set", 1000*ms, 1300*ms, OK, "OK", "a", "1000")
	unknown := op("set", 1000*ms, 1300*ms, Unknown, "", "a", "1000")
	get := func(call, end time.Duration, out string) *Op { return op("get", call, end, OK, out) }
	clock := []Event{{From: 100 * ms, To: 1000 * ms, What: clockFault + "n1 +100 ms"}}
	for name, c := range map[string]struct {
		ops    []*Op
		events []Event
		want   bool
	}{
		"there before its time":             {ops: []*Op{set, get(1400*ms, 1500*ms, "a")}, want: true},
		"gone before its time":              {ops: []*Op{set, get(1400*ms, 1500*ms, Missing)}},
		"gone at its time":                  {ops: []*Op{set, get(2000*ms, 2010*ms, Missing)}, want: true},
		"there at its time":                 {ops: []*Op{set, get(2200*ms, 2210*ms, "a")}, want: true},
		"gone and there again":              {ops: []*Op{set, get(2000*ms, 2010*ms, Missing), get(2020*ms, 2030*ms, "a")}},
		"there behind its time":             {ops: []*Op{set, get(2500*ms, 2510*ms, "a")}},
		"taken before its time":             {ops: []*Op{set, op("setnx", 1400*ms, 1500*ms, OK, "OK", "b", "50")}},
		"taken behind its time":             {ops: []*Op{set, op("setnx", 2500*ms, 2510*ms, OK, "OK", "b", "5000"), get(2600*ms, 2610*ms, "b")}, want: true},
		"not taken behind its time":         {ops: []*Op{set, op("setnx", 2500*ms, 2510*ms, OK, Missing, "b", "50")}},
		"perhaps taken at its time":         {ops: []*Op{set, op("setnx", 2000*ms, 2010*ms, Unknown, "", "b", "5000"), get(2600*ms, 2610*ms, "b")}, want: true},
		"perhaps taken, and not":            {ops: []*Op{set, op("setnx", 2000*ms, 2010*ms, Unknown, "", "b", "5000"), get(2600*ms, 2610*ms, Missing)}, want: true},
		"perhaps set, and late":             {ops: []*Op{unknown, get(9000*ms, 9010*ms, "a")}, want: true},
		"overwritten for good":              {ops: []*Op{set, op("getset", 1400*ms, 1410*ms, OK, "a", "b"), get(9000*ms, 9010*ms, "b")}, want: true},
		"overwritten for good, and gone":    {ops: []*Op{set, op("getset", 1400*ms, 1410*ms, OK, "a", "b"), get(9000*ms, 9010*ms, Missing)}},
		"deleted":                           {ops: []*Op{set, op("del", 1400*ms, 1410*ms, OK, "1")}, want: true},
		"gone early while clocks are wrong": {ops: []*Op{set, get(1400*ms, 1500*ms, Missing)}, events: clock, want: true},
		"there late while clocks are wrong": {ops: []*Op{set, get(5000*ms, 5010*ms, "a")}, events: clock, want: true},
	} {
		setDeadlines(c.ops, wrongClocks(c.events))
		if got := porcupine.CheckOperations(model(Fleeting), forPorcupine(c.ops)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestWrongClocks: faults of clocks reach further than they last, and further if they follow each other.
func TestWrongClocks(t *testing.T) {
	const s = time.Second
	got := wrongClocks([]Event{{From: 30 * s, To: 31 * s, What: clockFault + "n2"}, {From: s, To: 3 * s, What: clockFault + "n1"},
		{From: 4 * s, To: 5 * s, What: clockFault + "n1"}, {From: 0, To: 90 * s, What: "kill n1"}})
	if want := []span{{s, 14 * s}, {30 * s, 36 * s}}; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%v, want %v", got, want)
	}
}
