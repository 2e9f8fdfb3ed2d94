package history

import (
	"fmt"
	"slices"
	"strings"
)

// losses checks the operations of one key, in the order of their calls, for what can be told without searching for an
// order: porcupine may run out of time, these checks never do. They hold for histories that end anywhere.
func losses(kind Kind, ops []*Op) []string {
	switch kind {
	case Register, Fleeting:
		return strangeValues(ops)
	case Counter:
		return miscounted(ops)
	case List:
		return misplaced(ops)
	case Set:
		return missing(ops)
	case Bank:
		return totals(ops)
	}
	return nil
}

// lastRead is the operation of the name that was answered and began last; nil if there is none.
func lastRead(ops []*Op, name string) *Op {
	for _, o := range slices.Backward(ops) {
		if o.Name == name && o.Outcome == OK {
			return o
		}
	}
	return nil
}

// longestRead is the operation of the name whose answer was the longest.
func longestRead(ops []*Op, name string) (longest *Op) {
	for _, o := range ops {
		if o.Name == name && o.Outcome == OK && (longest == nil || len(o.Out) >= len(longest.Out)) {
			longest = o
		}
	}
	return longest
}

// sent is what became of every element that was sent.
func sent(ops []*Op, name string) map[string]*Op {
	elements := map[string]*Op{}
	for _, o := range ops {
		if o.Name == name {
			for _, element := range o.In {
				elements[element] = o
			}
		}
	}
	return elements
}

// strangeValues: a register holds what a client wrote to it, and never what was certainly not written.
func strangeValues(ops []*Op) (found []string) {
	written := map[string]*Op{Missing: {}}
	for _, o := range ops {
		if len(o.In) > 0 {
			written[o.In[0]] = o
		}
	}
	for _, o := range ops {
		if o.Outcome != OK || o.Name != "get" && o.Name != "getset" && o.Name != "cas" {
			continue
		}
		switch w := written[o.Out[0]]; {
		case w == nil:
			found = append(found, fmt.Sprintf("%s: nobody has written that", o))
		case w.Outcome == Failed:
			found = append(found, fmt.Sprintf("%s: its writing had failed: %s", o, w))
		case w.Call > o.Return:
			found = append(found, fmt.Sprintf("%s: it was written later", o))
		}
	}
	return found
}

// miscounted: each increment that was acknowledged is counted once, each unknown one at most once, no other ever; and
// no two are told the same number.
func miscounted(ops []*Op) (found []string) {
	last := lastRead(ops, "get")
	acknowledged, possible := 0, 0 // before the last read, and before it ended
	told := map[string]*Op{}
	for _, o := range ops {
		if o.Name != "incr" || o.Outcome == Failed {
			continue
		}
		if last != nil && o.Call < last.Return {
			possible++
		}
		if o.Outcome == OK {
			if last != nil && o.Return < last.Call {
				acknowledged++
			}
			if first := told[o.Out[0]]; first != nil {
				found = append(found, fmt.Sprintf("two increments were answered %s", o.Out[0]))
			}
			told[o.Out[0]] = o
		}
	}
	if last != nil {
		if n := int(balance(last.Out[0])); n < acknowledged || n > possible {
			found = append(found, fmt.Sprintf("the counter was last read as %d; %d increments had been acknowledged, at most %d can have been done", n, acknowledged, possible))
		}
	}
	return found
}

// misplaced: an element whose push was acknowledged is where its reply said, once; an unknown one is there at most once;
// no other is. Every read is what the longest one begins with.
func misplaced(ops []*Op) (found []string) {
	last, longest := lastRead(ops, "range"), longestRead(ops, "range")
	if last == nil {
		return nil
	}
	found = repeated(longest.Out)
	pushes := sent(ops, "push")
	found = append(found, foreign(longest.Out, pushes)...)
	for element, push := range pushes {
		if push.Outcome != OK {
			continue
		}
		if push.Return < last.Call && !slices.Contains(last.Out, element) {
			found = append(found, fmt.Sprintf("%s was acknowledged as element %d, and a read that began later does not have it", element, push.told(element)))
		}
		if at := slices.Index(longest.Out, element) + 1; at > 0 && at != push.told(element) {
			found = append(found, fmt.Sprintf("%s was acknowledged as element %d, and is element %d", element, push.told(element), at))
		}
	}
	for _, o := range ops {
		if o.Name == "range" && o.Outcome == OK && !slices.Equal(o.Out, longest.Out[:len(o.Out)]) {
			found = append(found, fmt.Sprintf("a read had %d elements that are not the list's first: %s", len(o.Out), shortened(o.String())))
		}
	}
	slices.Sort(found)
	return found
}

// told is which element of the list one is, by the reply to its push: that is the number of the last of those pushed.
func (o *Op) told(element string) int {
	return int(balance(o.Out[0])) - len(o.In) + slices.Index(o.In, element) + 1
}

// missing: a member whose adding was acknowledged stays, and is in every read that began later.
func missing(ops []*Op) (found []string) {
	adds := sent(ops, "add")
	for _, read := range ops {
		if read.Name != "members" || read.Outcome != OK {
			continue
		}
		found = append(found, repeated(read.Out)...)
		found = append(found, foreign(read.Out, adds)...)
		for member, add := range adds {
			if _, there := slices.BinarySearch(read.Out, member); !there && add.Outcome == OK && add.Return < read.Call {
				found = append(found, fmt.Sprintf("%s was added and acknowledged, and a read that began later does not have it", member))
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// totals: money is moved, never made or lost: every read of all accounts adds up to nothing.
func totals(ops []*Op) (found []string) {
	for _, o := range ops {
		if o.Outcome != OK || o.Name != "balances" && o.Name != "exec-balances" {
			continue
		}
		var total int64
		for _, text := range o.Out {
			total += balance(text)
		}
		if total != 0 {
			found = append(found, fmt.Sprintf("%s: the accounts add up to %d", o, total))
		}
	}
	return found
}

func repeated(elements []string) (found []string) {
	seen := map[string]bool{}
	for _, e := range elements {
		if seen[e] {
			found = append(found, e+" is there more than once")
		}
		seen[e] = true
	}
	return found
}

func foreign(elements []string, from map[string]*Op) (found []string) {
	for _, e := range elements {
		switch o := from[e]; {
		case o == nil:
			found = append(found, e+" is there, and nobody has sent it")
		case o.Outcome == Failed:
			found = append(found, fmt.Sprintf("%s is there, and its sending had failed: %s", e, o.Error))
		}
	}
	return found
}

// shown bounds what a report says of one operation.
const shown = 300

func shortened(text string) string {
	if len(text) <= shown {
		return text
	}
	return strings.ToValidUTF8(text[:shown], "") + "…"
}
