package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// MaxRecord bounds a record's key and value together, bytes: no entry of the log is longer.
const MaxRecord = 1 << 30

// Writer writes one snapshot. It belongs to one goroutine; an error of any method is final.
type Writer struct {
	frames *frameWriter
	raw    []byte
	totals Totals
	digest *xxh3.Hasher
}

// NewWriter begins a snapshot on w.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	header := h.append(nil)
	if len(header) > maxHeader {
		return nil, fmt.Errorf("snapshot: a header of %d bytes", len(header))
	}
	frames, err := newFrameWriter(w)
	if err != nil {
		return nil, err
	}
	return &Writer{frames: frames, digest: xxh3.New()}, frames.write(kindHeader, header)
}

// Add writes a record; keys ascend. Key and value are copied.
func (w *Writer) Add(key, value []byte) error {
	size := len(key) + len(value)
	if size > MaxRecord {
		return fmt.Errorf("snapshot: a record of %d bytes", size)
	}
	if len(w.raw) > 0 && len(w.raw)+size+2*binary.MaxVarintLen64 > frameSize {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.raw = binary.AppendUvarint(w.raw, uint64(len(key)))
	w.raw = append(w.raw, key...)
	w.raw = binary.AppendUvarint(w.raw, uint64(len(value)))
	w.raw = append(w.raw, value...)
	w.totals.Records++
	w.totals.Bytes += uint64(size)
	return nil
}

func (w *Writer) flush() error {
	_, _ = w.digest.Write(w.raw) // it never fails
	err := w.frames.write(kindRecords, w.raw)
	if w.raw = w.raw[:0]; cap(w.raw) > 2*frameSize {
		w.raw = nil
	}
	return err
}

// Close writes what is left and the trailer. The stream beneath stays open.
func (w *Writer) Close() (Totals, error) {
	if len(w.raw) > 0 {
		if err := w.flush(); err != nil {
			return Totals{}, err
		}
	}
	w.totals.Digest = w.digest.Sum128().Bytes()
	return w.totals, w.frames.write(kindTrailer, w.totals.append(nil))
}

// Reader reads one snapshot. It belongs to one goroutine.
type Reader struct {
	frames *frameReader
	header Header
	left   parser // of the records at hand
	long   []byte // what several frames hold
	totals Totals
	digest *xxh3.Hasher
	err    error
}

// NewReader reads the header. It reads nothing behind the snapshot's end.
func NewReader(r io.Reader) (*Reader, error) {
	frames, err := newFrameReader(r)
	if err != nil {
		return nil, err
	}
	x := &Reader{frames: frames, digest: xxh3.New()}
	kind, raw, err := x.next(maxHeader)
	if err == nil && kind != kindHeader {
		err = fmt.Errorf("%w: it does not begin with a header", ErrCorrupt)
	}
	if err == nil {
		x.header, err = parseHeader(append([]byte(nil), raw...))
	}
	if err != nil {
		frames.close()
		return nil, err
	}
	return x, nil
}

// Header says what the snapshot is of.
func (r *Reader) Header() Header { return r.header }

// next reads frames up to one that does not go on.
func (r *Reader) next(limit int) (kind byte, raw []byte, err error) {
	if cap(r.long) > 2*maxRaw {
		r.long = nil
	}
	r.long = r.long[:0]
	for first := true; ; first = false {
		k, raw, err := r.frames.next()
		if err != nil {
			return 0, nil, err
		}
		if !first && k&^goesOn != kind {
			return 0, nil, fmt.Errorf("%w: frame %d does not go on with the one before", ErrCorrupt, r.frames.number-1)
		}
		kind = k &^ goesOn
		if first && k&goesOn == 0 {
			return kind, raw, nil
		}
		if len(r.long)+len(raw) > limit {
			return 0, nil, fmt.Errorf("%w: frame %d goes on for too long", ErrCorrupt, r.frames.number-1)
		}
		r.long = append(r.long, raw...)
		if k&goesOn == 0 {
			return kind, r.long, nil
		}
	}
}

// Next returns the next record, valid until the next call, and io.EOF behind the last one, if all of the snapshot is there
// and right.
func (r *Reader) Next() (key, value []byte, err error) {
	if r.err == nil {
		key, value, r.err = r.record()
	}
	return key, value, r.err
}

func (r *Reader) record() (key, value []byte, err error) {
	if len(r.left.b) == 0 {
		kind, raw, err := r.next(MaxRecord + maxRaw)
		switch {
		case err != nil:
			return nil, nil, err
		case kind == kindTrailer:
			return nil, nil, r.finish(raw)
		case kind != kindRecords || len(raw) == 0:
			return nil, nil, fmt.Errorf("%w: a frame of kind %d with %d bytes", ErrCorrupt, kind, len(raw))
		}
		_, _ = r.digest.Write(raw) // it never fails
		r.left = parser{b: raw}
	}
	key, value = r.left.bytes(), r.left.bytes()
	if r.left.bad {
		return nil, nil, fmt.Errorf("%w: a record cannot be read", ErrCorrupt)
	}
	r.totals.Records++
	r.totals.Bytes += uint64(len(key) + len(value))
	return key, value, nil
}

// finish compares the trailer with what was read.
func (r *Reader) finish(raw []byte) error {
	r.totals.Digest = r.digest.Sum128().Bytes()
	told, err := parseTotals(raw)
	if err != nil {
		return err
	}
	if told != r.totals {
		return fmt.Errorf("%w: counts or digest do not match", ErrCorrupt)
	}
	return io.EOF
}

// Totals are what has been read; after io.EOF, those of the whole snapshot.
func (r *Reader) Totals() Totals { return r.totals }

// Close gives back what the reader holds. The stream beneath stays open.
func (r *Reader) Close() { r.frames.close() }

// Verify reads a snapshot to its end.
func Verify(from io.Reader) (Header, Totals, error) {
	r, err := NewReader(from)
	if err != nil {
		return Header{}, Totals{}, err
	}
	defer r.Close()
	for {
		if _, _, err := r.Next(); errors.Is(err, io.EOF) {
			return r.header, r.totals, nil
		} else if err != nil {
			return r.header, r.totals, err
		}
	}
}
