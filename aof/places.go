package aof

// place says where a record lies, in 12 bytes.
type place struct {
	segment uint32
	start   uint32 // offset in the segment, in units of 8 bytes
	units   uint32 // size of the record, in units of 8 bytes
}

func newPlace(segment uint32, offset, size int64) place {
	return place{segment: segment, start: uint32(offset / alignment), units: uint32(size / alignment)}
}

func (p place) offset() int64 { return int64(p.start) * alignment }
func (p place) size() int64   { return int64(p.units) * alignment }

const pageLength = 1024

// places is a queue of places that grows and shrinks at both ends, in pages, so that no operation copies
// more than the list of pages.
type places struct {
	pages []*[pageLength]place
	head  int // index in the first page of the first place
	n     int
}

func (q *places) at(i int) *place {
	i += q.head
	return &q.pages[i/pageLength][i%pageLength]
}

func (q *places) pushBack(p place) {
	if q.head+q.n == len(q.pages)*pageLength {
		q.pages = append(q.pages, new([pageLength]place))
	}
	q.n++
	*q.at(q.n - 1) = p
}

func (q *places) pushFront(p place) {
	if q.head == 0 {
		q.pages = append(q.pages, nil)
		copy(q.pages[1:], q.pages)
		q.pages[0] = new([pageLength]place)
		q.head = pageLength
	}
	q.head--
	q.n++
	*q.at(0) = p
}

// dropFront drops the first k places.
func (q *places) dropFront(k int) {
	q.n -= k
	q.head += k
	if q.n == 0 {
		*q = places{}
		return
	}
	whole := q.head / pageLength
	clear(q.pages[:whole])
	q.pages = q.pages[whole:]
	q.head -= whole * pageLength
}

// dropBack drops the last k places.
func (q *places) dropBack(k int) {
	q.n -= k
	if q.n == 0 {
		*q = places{}
		return
	}
	used := (q.head + q.n + pageLength - 1) / pageLength
	clear(q.pages[used:])
	q.pages = q.pages[:used]
}
