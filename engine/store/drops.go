package store

import (
	"bytes"
	"slices"
)

// drops are the ranges that a checkpoint deletes: sorted, apart from each other, and cut where a table ends. Pebble
// refuses tables that overlap, range deletions included, so no range may reach into the next table.
type drops struct {
	ranges []Range
}

// add puts a range in; it may overlap others.
func (d *drops) add(r Range) { d.ranges = append(d.ranges, r) }

// settle sorts what was added and joins what overlaps or touches.
func (d *drops) settle() {
	slices.SortFunc(d.ranges, func(a, b Range) int { return bytes.Compare(a.from, b.from) })
	joined := d.ranges[:0]
	for _, r := range d.ranges {
		if n := len(joined); n > 0 && bytes.Compare(r.from, joined[n-1].to) <= 0 {
			if bytes.Compare(r.to, joined[n-1].to) > 0 {
				joined[n-1].to = r.to
			}
			continue
		}
		joined = append(joined, r)
	}
	d.ranges = joined
}

// cut takes away what lies below bound and hands it to fn in order.
func (d *drops) cut(bound []byte, fn func(from, to []byte) error) error {
	for len(d.ranges) > 0 {
		r := &d.ranges[0]
		if bytes.Compare(r.from, bound) >= 0 {
			return nil
		}
		if bytes.Compare(r.to, bound) > 0 {
			from := r.from
			r.from = slices.Clone(bound)
			return fn(from, r.from)
		}
		if err := fn(r.from, r.to); err != nil {
			return err
		}
		d.ranges = d.ranges[1:]
	}
	return nil
}
