package aof

import "fmt"

// entries says where a shard's live entries lie: indexes first to last, without a gap.
type entries struct {
	first  uint64 // meaningless while empty
	places places
	bytes  int64
	// shares counts the entries in each segment that has any.
	shares map[uint32]*share
}

type share struct {
	segment *segment
	live    int
}

// freed says that so many entries of a segment have gone.
type freed struct {
	segment *segment
	count   int
}

func newEntries() entries { return entries{shares: make(map[uint32]*share)} }

func (e *entries) count() uint64 { return uint64(e.places.n) }
func (e *entries) empty() bool   { return e.places.n == 0 }

// firstIndex returns 0 if there are no entries, and so does lastIndex.
func (e *entries) firstIndex() uint64 {
	if e.empty() {
		return 0
	}
	return e.first
}

func (e *entries) lastIndex() uint64 {
	if e.empty() {
		return 0
	}
	return e.first + e.count() - 1
}

func (e *entries) has(index uint64) bool {
	return !e.empty() && index >= e.first && index-e.first < e.count()
}

// find returns where an entry lies.
func (e *entries) find(index uint64) (place, *segment, bool) {
	if !e.has(index) {
		return place{}, nil, false
	}
	p := *e.places.at(int(index - e.first))
	return p, e.shares[p.segment].segment, true
}

// oldest returns the first segment that holds an entry, or nil.
func (e *entries) oldest() *segment {
	var oldest *segment
	for _, s := range e.shares {
		if oldest == nil || s.segment.seq < oldest.seq {
			oldest = s.segment
		}
	}
	return oldest
}

func (e *entries) join(s *segment, p place) {
	e.bytes += p.size()
	sh := e.shares[s.seq]
	if sh == nil {
		sh = &share{segment: s}
		e.shares[s.seq] = sh
	}
	sh.live++
}

// follows returns whether an entry with this index may be pushed.
func (e *entries) follows(index uint64) bool {
	return index > 0 && (e.empty() || index == e.lastIndex()+1)
}

// push adds the entry behind the last.
func (e *entries) push(index uint64, s *segment, p place) {
	if e.empty() {
		e.first = index
	}
	e.places.pushBack(p)
	e.join(s, p)
}

// carry moves an entry to a new place, or adds it before the first, where the log's beginning has gone. It returns
// false if the entry is not next to the others.
func (e *entries) carry(index uint64, s *segment, p place, out []freed) ([]freed, bool) {
	switch {
	case e.has(index):
		old := e.places.at(int(index - e.first))
		out = e.leave(*old, 1, out)
		*old = p
	case e.empty() && index > 0:
		e.push(index, s, p)
		return out, true
	case index > 0 && index == e.first-1:
		e.places.pushFront(p)
		e.first = index
	default:
		return out, false
	}
	e.join(s, p)
	return out, true
}

// leave takes count entries, the first or only one of which is at p, out of the accounts of p's segment.
func (e *entries) leave(p place, count int, out []freed) []freed {
	e.bytes -= p.size()
	sh := e.shares[p.segment]
	sh.live -= count
	if sh.live == 0 {
		delete(e.shares, p.segment)
	}
	if n := len(out); n > 0 && out[n-1].segment == sh.segment {
		out[n-1].count += count
		return out
	}
	return append(out, freed{segment: sh.segment, count: count})
}

// cutBelow drops the entries below index. What it frees is appended to out.
func (e *entries) cutBelow(index uint64, out []freed) []freed {
	if e.empty() || index <= e.first {
		return out
	}
	k := int(min(index-e.first, e.count()))
	out = e.leaveAll(0, k, out)
	e.places.dropFront(k)
	e.first += uint64(k)
	return out
}

// truncateFrom drops the entries from index on.
func (e *entries) truncateFrom(index uint64, out []freed) []freed {
	if e.empty() || index > e.lastIndex() {
		return out
	}
	k := int(e.lastIndex() - max(index, e.first) + 1)
	out = e.leaveAll(e.places.n-k, k, out)
	e.places.dropBack(k)
	return out
}

// leaveAll takes the k entries from the i-th on out of the accounts, a run of one segment at a time.
func (e *entries) leaveAll(i, k int, out []freed) []freed {
	for k > 0 {
		head := *e.places.at(i)
		run := 1
		for run < k && e.places.at(i+run).segment == head.segment {
			e.bytes -= e.places.at(i + run).size()
			run++
		}
		out = e.leave(head, run, out)
		i, k = i+run, k-run
	}
	return out
}

// replay applies a record of the shard that is read back when the log is opened.
func (e *entries) replay(s *segment, offset int64, r *record) error {
	p := newPlace(s.seq, offset, r.size())
	switch r.kind {
	case kindEntry:
		if !e.follows(r.index) {
			return s.damage(offset, fmt.Sprintf("entry %d of shard %d follows entry %d", r.index, r.shard, e.lastIndex()))
		}
		e.push(r.index, s, p)
	case kindCarried:
		if _, ok := e.carry(r.index, s, p, nil); !ok {
			return s.damage(offset, fmt.Sprintf("entry %d of shard %d, carried forward, does not join entries %d to %d",
				r.index, r.shard, e.firstIndex(), e.lastIndex()))
		}
	case kindStandIn:
		if r.index == 0 {
			return s.damage(offset, fmt.Sprintf("a stand-in of shard %d for no entry", r.shard))
		}
		e.truncateFrom(0, nil)
		e.push(r.index, s, p)
	case kindTruncate:
		e.truncateFrom(r.index, nil)
	case kindCut:
		e.cutBelow(r.index, nil)
	}
	return nil
}
