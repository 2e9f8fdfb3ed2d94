package aof

import (
	"encoding/binary"
	"errors"
)

const (
	// carryFactor is how many times their own size entries must keep on disk to be worth carrying.
	carryFactor = 4
	// maxCarry bounds, in bytes, how much is carried at once; a single entry may be larger. It all goes into one
	// write, so that all copies are in one segment.
	maxCarry = 8 << 20
)

// carryAttempts is how often carry starts anew because the log has turned to another segment meanwhile.
const carryAttempts = 3

// carry copies the shard's entries from old segments to the current one, if they are few, so that a quiet
// shard, whose last checkpoint's entry must stay readable for ever, does not pin the log. The caller
// holds write.
//
// Afterwards the shard has no entry in a segment before that of the copies. This must be so: otherwise a segment
// between could go later (its entries truncated), and what is read after that would have a gap.
func (s *ShardLog) carry() error {
	for range carryAttempts {
		oldest := s.mu.entries.oldest()
		if oldest == nil {
			return nil
		}
		pinned, current := s.log.bytesBefore(oldest.seq)
		n, bytes := s.old(current, pinned/carryFactor)
		if n == 0 || bytes > pinned/carryFactor || (bytes > maxCarry && n > 1) {
			return nil
		}
		if err := s.carryTo(current, n); !errors.Is(err, errTurned) {
			return err
		}
	}
	return nil
}

// carryTo copies the first n entries to the current segment, or returns errTurned if that is another by now.
func (s *ShardLog) carryTo(current uint32, n int) error {
	b := pool.Get().(*buffers)
	defer b.free()
	first := s.mu.entries.firstIndex()
	// From the last to the first: if the originals are gone when the log is read again, each copy
	// joins those that were read before it.
	for i := n; i > 0; i-- {
		if err := s.copyRecord(first+uint64(i)-1, b); err != nil {
			return err
		}
	}
	w, err := s.log.appendIn(current, b.bytes, n)
	if err != nil {
		return err
	}
	var out []freed
	offset := w.offset
	s.mu.Lock()
	for i, p := range b.places {
		moved := newPlace(w.segment.seq, offset, p.size())
		out, _ = s.mu.entries.carry(first+uint64(n-i)-1, w.segment, moved, out)
		offset += p.size()
	}
	s.mu.Unlock()
	s.log.release(out)
	return nil
}

// old counts the entries at the front that are not in the current segment, and their bytes, and stops
// beyond the limit.
func (s *ShardLog) old(current uint32, limit int64) (n int, bytes int64) {
	places := &s.mu.entries.places
	for n < places.n && bytes <= limit {
		p := places.at(n)
		if p.segment == current {
			break
		}
		bytes += p.size()
		n++
	}
	return n, bytes
}

// copyRecord appends an entry's record to the buffer, as a carried one. Its payload stays as it is.
func (s *ShardLog) copyRecord(index uint64, b *buffers) error {
	p, segment, _ := s.mu.entries.find(index)
	start := len(b.bytes)
	b.bytes = append(b.bytes, make([]byte, p.size())...)
	segment.pin.RLock()
	defer segment.pin.RUnlock()
	r, _, err := segment.read(p, s.id, index, b.bytes[start:])
	if err != nil {
		return err
	}
	header := b.bytes[start:]
	header[44] = byte(kindCarried)
	if r.kind == kindStandIn {
		header[45] = standInType
	}
	binary.LittleEndian.PutUint32(header[12:], 0) // the voucher of its old place
	b.places = append(b.places, p)
	return nil
}
