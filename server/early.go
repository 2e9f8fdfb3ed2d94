package server

// early is the reply of a call that was answered before an earlier one, of another shard.
type early struct {
	there  bool
	number uint64 // of the call, as in note
	slot   int    // likewise
	bytes  []byte
}

// earlyReplies are a session's, each at the place of its number in a ring: of a client that pipelines over two shards there may
// be tens of thousands, and all of them come and go in a few turns. The numbers in the ring are less than its length apart,
// since all are of unfinished calls.
type earlyReplies struct {
	ring  []early // its length is a power of two, or 0
	count int
}

// add takes a reply; finished is the number of the oldest unfinished call.
func (x *earlyReplies) add(e early, finished uint64) {
	if e.number-finished >= uint64(len(x.ring)) {
		x.grow(e.number - finished)
	}
	e.there = true
	x.ring[x.at(e.number)] = e
	x.count++
}

func (x *earlyReplies) at(number uint64) int { return int(number) & (len(x.ring) - 1) }

// grow makes the ring longer than apart.
func (x *earlyReplies) grow(apart uint64) {
	old := x.ring
	n := max(16, len(old))
	for uint64(n) <= apart {
		n *= 2
	}
	x.ring = make([]early, n)
	for _, e := range old {
		if e.there {
			x.ring[x.at(e.number)] = e
		}
	}
}

// take takes the reply of a call out, if it is there.
func (x *earlyReplies) take(number uint64) (reply []byte, ok bool) {
	if x.count == 0 {
		return nil, false
	}
	e := &x.ring[x.at(number)]
	if !e.there || e.number != number {
		return nil, false
	}
	reply = e.bytes
	*e = early{}
	if x.count--; x.count == 0 {
		x.ring = nil
	}
	return reply, true
}

// behind says whether a reply of a call on the slot is there that came later than the one of that number.
func (x *earlyReplies) behind(number uint64, slot int) bool {
	for i := range x.ring {
		if e := &x.ring[i]; e.there && e.number > number && e.slot == slot {
			return true
		}
	}
	return false
}
