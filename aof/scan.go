package aof

import (
	"errors"
	"fmt"
	"io"
)

// windowSize is how much of a segment a scanner reads at once, in bytes.
const windowSize = 1 << 20

// scanner reads a segment's records in order. It holds a window of the file, which grows to the largest
// record and never beyond the file.
type scanner struct {
	segment *segment
	file    io.ReaderAt
	size    int64 // of the file, in bytes
	buf     []byte
	base    int64 // offset of buf in the file
}

func newScanner(s *segment) (*scanner, error) {
	info, err := s.file.Stat()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", s.path, err)
	}
	return &scanner{segment: s, file: s.file, size: info.Size()}, nil
}

// view returns n bytes at offset, or false if the file ends before. It is valid until the next call.
func (sc *scanner) view(offset, n int64) ([]byte, bool, error) {
	if offset < 0 || n > sc.size-offset {
		return nil, false, nil
	}
	if offset < sc.base || offset+n > sc.base+int64(len(sc.buf)) {
		want := min(max(n, windowSize), sc.size-offset)
		if int64(cap(sc.buf)) < want {
			sc.buf = make([]byte, want)
		}
		sc.buf, sc.base = sc.buf[:want], offset
		if got, err := sc.file.ReadAt(sc.buf, offset); err != nil && !(errors.Is(err, io.EOF) && int64(got) == want) {
			sc.buf = sc.buf[:0]
			return nil, false, fmt.Errorf("reading %s at offset %d: %w", sc.segment.path, offset, err)
		}
	}
	from := offset - sc.base
	return sc.buf[from : from+n], true, nil
}

// record reads the record at offset, or returns false if what lies there does not check out.
func (sc *scanner) record(offset int64) (record, bool, error) {
	header, ok, err := sc.view(offset, recordHeaderSize)
	if err != nil || !ok {
		return record{}, false, err
	}
	r, ok := decodeHeader(header, offset, sc.segment.incarnation)
	if !ok {
		return record{}, false, nil
	}
	whole, ok, err := sc.view(offset, r.size())
	if err != nil || !ok {
		return record{}, false, err
	}
	return r, r.setPayload(whole[recordHeaderSize:]), nil
}

// all calls fn for every record from the segment's first to the one that ends at end, and reports damage
// if the records do not end there.
func (sc *scanner) all(end int64, fn func(offset int64, r *record) error) error {
	offset := int64(segmentHeaderSize)
	for offset < end {
		r, ok, err := sc.record(offset)
		if err != nil {
			return err
		}
		if !ok {
			return sc.segment.damage(offset, fmt.Sprintf("a record does not check out, and the records are known to go on up to %d", end))
		}
		if err := fn(offset, &r); err != nil {
			return err
		}
		offset += r.size()
	}
	if offset != end {
		return sc.segment.damage(end, "the segment's records do not end where its successor says")
	}
	return nil
}

// tail calls fn for every good record from the segment's first on, and returns where they end. It reports
// damage if a later record vouches for more.
func (sc *scanner) tail(fn func(offset int64, r *record) error) (int64, error) {
	offset := int64(segmentHeaderSize)
	for {
		r, ok, err := sc.record(offset)
		if err != nil {
			return 0, err
		}
		if !ok {
			return offset, sc.refuteTail(offset)
		}
		if err := fn(offset, &r); err != nil {
			return 0, err
		}
		offset += r.size()
	}
}

// refuteTail looks behind a bad record for a header that vouches for it. A header is enough: what
// it says was true when it was written, whatever became of its payload.
func (sc *scanner) refuteTail(bad int64) error {
	for offset := bad + alignment; ; offset += alignment {
		header, ok, err := sc.view(offset, recordHeaderSize)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		if r, ok := decodeHeader(header, offset, sc.segment.incarnation); ok && r.vouched > bad {
			return sc.segment.damage(bad, fmt.Sprintf("a record does not check out, but the one at offset %d says that everything up to %d was on stable storage",
				offset, r.vouched))
		}
	}
}

// beginning reads the segment's first record. It returns false if the segment was prepared, but never
// written to so that it lasted.
func (sc *scanner) beginning() (beginning, bool, error) {
	r, ok, err := sc.record(segmentHeaderSize)
	if err != nil {
		return beginning{}, false, err
	}
	if !ok {
		return beginning{}, false, sc.refuteTail(segmentHeaderSize)
	}
	b, ok := decodeBeginning(r.payload)
	if r.kind != kindBegin || !ok {
		return beginning{}, false, sc.segment.damage(segmentHeaderSize, "the first record is not the beginning of a segment")
	}
	return b, true, nil
}
