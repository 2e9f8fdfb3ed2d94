package history

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// A fleeting key is a register some of whose values have a time to live. Time passes at the server between the call and the
// return of an operation, so when a value has to be gone is not known to the moment: before its early deadline it is there,
// behind its late one it is not, and in between a read may find either, once it is gone for good.

// clockMargin is how far clocks of one machine may be apart that nobody has touched.
const clockMargin = 50 * time.Millisecond

// forever is the deadline of what does not end.
const forever = time.Duration(math.MaxInt64)

// span is a time, from and to both of it.
type span struct{ from, to time.Duration }

// clockFault begins what events of faulted clocks are called by.
const clockFault = "clock of "

// wrongClocks are the times in which clocks may be wrong. A fault of a clock reaches further than it lasts: a shard's clock
// departs from the true time by half of what passes, at most, and a second besides, and comes back at the same pace. Faults that
// follow each other before that add up.
func wrongClocks(events []Event) (all []span) {
	var faults []Event
	for _, e := range events {
		if len(e.What) > len(clockFault) && e.What[:len(clockFault)] == clockFault {
			faults = append(faults, e)
		}
	}
	slices.SortFunc(faults, func(a, b Event) int { return int(a.From - b.From) })
	for _, e := range faults {
		after := e.To - e.From + 4*time.Second
		if last := len(all) - 1; last >= 0 && e.From <= all[last].to {
			all[last].to = max(all[last].to, e.To) + after
			continue
		}
		all = append(all, span{e.From, e.To + after})
	}
	return all
}

// setDeadlines works out when the values that operations write may be gone, and have to be.
func setDeadlines(ops []*Op, wrong []span) {
	for _, o := range ops {
		if o.Kind != Fleeting || len(o.In) < 2 {
			continue
		}
		ttl := time.Duration(balance(o.In[1])) * time.Millisecond
		o.early, o.late = o.Call+ttl-clockMargin, forever
		if o.Outcome == OK { // otherwise it may come at any time
			o.late = o.Return + ttl + clockMargin
		}
		if slices.ContainsFunc(wrong, func(s span) bool { return s.from <= o.late && o.Call <= s.to }) {
			o.early, o.late = o.Call, forever
		}
	}
}

// fleeting is the state of such a key.
type fleeting struct {
	value       string
	early, late time.Duration // of the value
}

func (f fleeting) String() string {
	if f.late == forever {
		return f.value
	}
	return fmt.Sprintf("%s until %v … %v", f.value, f.early, f.late)
}

// stepFleeting returns the states in which the key may be after an operation: as with a register that holds the value, and as
// with an empty one, whichever of the two may be.
func stepFleeting(f fleeting, o *Op) (next []fleeting) {
	begun, ended := o.Call, o.Return
	if o.Outcome == Unknown { // it may come at any time
		ended = forever
	}
	if begun <= f.late {
		next = append(next, f.after(o)...)
	}
	if f.value != Missing && ended >= f.early {
		next = append(next, fleeting{Missing, forever, forever}.after(o)...)
	}
	return next
}

// after is the state behind an operation that finds this one; none if it answers otherwise.
func (f fleeting) after(o *Op) []fleeting {
	allowed, value := stepRegister(f.value, o)
	switch {
	case !allowed:
		return nil
	case value == f.value: // nothing was written: values are unique
		return []fleeting{f}
	case value == Missing || len(o.In) < 2:
		return []fleeting{{value, forever, forever}}
	}
	return []fleeting{{value, o.early, o.late}}
}

// timesToLive are those that are given, in milliseconds: some that end while the key is in use, and one that does not.
var timesToLive = []int{50, 200, 400, 800, 60_000}

func timeToLive(n int) string { return strconv.Itoa(timesToLive[n%len(timesToLive)]) }
