package cluster

import "slices"

// union is the slots of a and of b, in order and joined where they adjoin.
func union(a, b []Range) []Range {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y Range) int { return int(x.From) - int(y.From) })
	var out []Range
	for _, r := range all {
		if n := len(out); n > 0 && int(r.From) <= int(out[n-1].To)+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

// without is the slots of a that are not in b; both stand in order.
func without(a, b []Range) []Range {
	var out []Range
	for _, r := range a {
		from := int(r.From)
		for _, c := range b {
			if int(c.To) < from || c.From > r.To {
				continue
			}
			if from < int(c.From) {
				out = append(out, Range{uint16(from), c.From - 1})
			}
			from = int(c.To) + 1
		}
		if from <= int(r.To) {
			out = append(out, Range{uint16(from), r.To})
		}
	}
	return out
}

// overlap says whether a and b have a slot in common.
func overlap(a, b []Range) bool {
	return slices.ContainsFunc(a, func(x Range) bool {
		return slices.ContainsFunc(b, func(y Range) bool { return x.From <= y.To && y.From <= x.To })
	})
}

// CountSlots is how many slots the ranges have.
func CountSlots(ranges []Range) int {
	n := 0
	for _, r := range ranges {
		n += int(r.To) - int(r.From) + 1
	}
	return n
}

// evenRanges cuts all slots into n ranges whose sizes differ by one at most.
func evenRanges(n int) []Range {
	out := make([]Range, n)
	for i := range out {
		out[i] = Range{uint16(i * Slots / n), uint16((i+1)*Slots/n - 1)}
	}
	return out
}
