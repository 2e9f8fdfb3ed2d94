package aof

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/hashicorp/raft"
)

// ShardLog is the log of one shard: a monotonic raft.LogStore.
type ShardLog struct {
	log *Log
	id  uint64

	// write is held by whoever changes the shard's log, from the record to the entry in mu; so records
	// are in the order of the changes. It is taken before mu, and mu before Log.mu.
	write sync.Mutex
	mu    struct {
		sync.RWMutex
		entries entries
	}
}

var (
	_ raft.LogStore          = (*ShardLog)(nil)
	_ raft.MonotonicLogStore = (*ShardLog)(nil)
)

func newShardLog(l *Log, id uint64, e entries) *ShardLog {
	s := &ShardLog{log: l, id: id}
	s.mu.entries = e
	return s
}

// IsMonotonic tells Raft that the log has no gaps.
func (s *ShardLog) IsMonotonic() bool { return true }

// FirstIndex returns the first entry's index, or 0 if there is none.
func (s *ShardLog) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.entries.firstIndex(), nil
}

// LastIndex returns the last entry's index, or 0 if there is none.
func (s *ShardLog) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.entries.lastIndex(), nil
}

// Bytes returns the size of the shard's live entries in the log.
func (s *ShardLog) Bytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.entries.bytes
}

// Behind returns the first entry from which on the log, with what other shards have written in between, is up to about so
// many bytes long until the entry at index: segments that hold nothing of this shard do not count, and entries that were
// carried forward count where they stand now. It is never beyond index, and 0 if there are no entries.
func (s *ShardLog) Behind(index uint64, bytes int64) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := &s.mu.entries
	if e.empty() || index <= e.first {
		return min(index, e.firstIndex())
	}
	end := int(min(index, e.lastIndex()) - e.first)
	segments := slices.Sorted(maps.Keys(e.shares)) // their numbers have gaps
	stands := func(i int) int64 {
		p := e.places.at(i)
		n, _ := slices.BinarySearch(segments, p.segment)
		return int64(n)*s.log.opts.SegmentSize + p.offset()
	}
	to := stands(end) - bytes
	return e.first + uint64(sort.Search(end, func(i int) bool { return stands(i) >= to }))
}

// countStep is how many entries are counted under the lock at a time.
const countStep = 4096

// BytesBelow returns the size of the live entries below index, the way Bytes counts.
func (s *ShardLog) BytesBelow(index uint64) (bytes int64) {
	for from := uint64(0); from < index; {
		s.mu.RLock()
		e := &s.mu.entries
		if from = max(from, e.firstIndex()); from == 0 {
			from = index
		}
		to := min(index, from+countStep, e.lastIndex()+1)
		for i := from; i < to; i++ {
			bytes += e.places.at(int(i - e.first)).size()
		}
		s.mu.RUnlock()
		if to <= from {
			break
		}
		from = to
	}
	return bytes
}

// buffers are what encoding and reading need, kept to be used again.
type buffers struct {
	bytes  []byte
	places []place
}

// standInType is the type that a stand-in reads as.
const standInType = uint8(raft.LogNoop)

// maxPooled bounds the buffer that is kept, in bytes.
const maxPooled = 2 * maxWrite

var pool = sync.Pool{New: func() any { return new(buffers) }}

func (b *buffers) free() {
	if cap(b.bytes) > maxPooled {
		b.bytes = nil
	}
	b.bytes, b.places = b.bytes[:0], b.places[:0]
	pool.Put(b)
}

// GetLog reads an entry, or returns raft.ErrLogNotFound.
func (s *ShardLog) GetLog(index uint64, log *raft.Log) error {
	p, segment, ok := s.pinned(index)
	if !ok {
		return raft.ErrLogNotFound
	}
	defer segment.pin.RUnlock()
	return readEntry(segment, p, s.id, index, log)
}

// pinned finds an entry and pins its segment, which the caller unpins.
func (s *ShardLog) pinned(index uint64) (p place, segment *segment, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p, segment, ok = s.mu.entries.find(index); ok {
		segment.pin.RLock()
	}
	return p, segment, ok
}

// GetHead is GetLog without the data of a command: index, term and type are what the record's header says. It costs a
// read of a few bytes, whatever the entry's size, and checks the header only.
func (s *ShardLog) GetHead(index uint64, log *raft.Log) error {
	p, segment, ok := s.pinned(index)
	if !ok {
		return raft.ErrLogNotFound
	}
	defer segment.pin.RUnlock()
	r, err := segment.readHead(p, s.id, index)
	if err != nil {
		return err
	}
	if r.kind == kindStandIn || r.raftType != byte(raft.LogCommand) {
		return readEntry(segment, p, s.id, index, log)
	}
	*log = raft.Log{Index: r.index, Term: r.term, Type: raft.LogType(r.raftType)}
	return nil
}

func readEntry(segment *segment, p place, shard, index uint64, log *raft.Log) error {
	b := pool.Get().(*buffers)
	defer b.free()
	r, buf, err := segment.read(p, shard, index, b.bytes)
	b.bytes = buf
	if err != nil {
		return err
	}
	if r.kind == kindStandIn {
		r.raftType = standInType
	}
	if err := decodeEntry(&r, log); err != nil {
		return segment.damage(p.offset(), err.Error())
	}
	return nil
}

// StoreLog stores an entry.
func (s *ShardLog) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs stores entries that follow the last one. When it returns nil, all of them are as safe as
// the policy promises; if it returns an error, none has been stored, or the log is dead.
func (s *ShardLog) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.admit(logs); err != nil {
		return err
	}
	b := pool.Get().(*buffers)
	defer b.free()
	if err := s.writeEntries(logs, b); err != nil {
		return fmt.Errorf("storing entries %d to %d of shard %d: %w", logs[0].Index, logs[len(logs)-1].Index, s.id, err)
	}
	return nil
}

// admit checks a batch before anything of it is written.
func (s *ShardLog) admit(logs []*raft.Log) error {
	for i, log := range logs {
		if i == 0 && !s.mu.entries.follows(log.Index) || i > 0 && log.Index != logs[i-1].Index+1 {
			before := s.mu.entries.lastIndex()
			if i > 0 {
				before = logs[i-1].Index
			}
			return fmt.Errorf("entry %d of shard %d after entry %d: %w", log.Index, s.id, before, ErrNotContiguous)
		}
		if len(log.Data)+len(log.Extensions) > MaxEntrySize {
			return fmt.Errorf("entry %d of shard %d with %d bytes: %w", log.Index, s.id, len(log.Data)+len(log.Extensions), ErrTooLarge)
		}
	}
	return nil
}

// writeEntries appends the batch, in one write if it is not very large, and lets readers see
// it once it is acknowledged.
func (s *ShardLog) writeEntries(logs []*raft.Log, b *buffers) error {
	var segments [1]*segment
	used := segments[:0] // the segment of each write; hardly ever more than one
	for i := 0; i < len(logs); {
		b.bytes = b.bytes[:0]
		from := len(b.places)
		for i < len(logs) && (len(b.bytes) == 0 || len(b.bytes)+encodedBound(logs[i]) <= maxWrite) {
			start := len(b.bytes)
			b.bytes = appendEntry(b.bytes, s.id, logs[i])
			b.places = append(b.places, newPlace(0, int64(start), int64(len(b.bytes)-start)))
			i++
		}
		w, err := s.log.append(b.bytes, len(b.places)-from, waitForRoom, i == len(logs))
		if err != nil {
			if from > 0 {
				err = s.log.fail(fmt.Errorf("the first part of a batch is written, the second cannot be: %w", err))
			}
			return err
		}
		for j := range b.places[from:] {
			p := &b.places[from+j]
			p.segment = w.segment.seq
			p.start += uint32(w.offset / alignment)
		}
		used = append(used, w.segment)
	}
	s.publish(logs[0].Index, b.places, used)
	return nil
}

// publish adds written entries to those that readers see. used holds their segments, in order.
func (s *ShardLog) publish(first uint64, places []place, used []*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range places {
		for used[0].seq != p.segment {
			used = used[1:]
		}
		s.mu.entries.push(first+uint64(i), used[0], p)
	}
}

// fail ends the log.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failLocked(err)
}

// DeleteRange deletes the entries from min to max, which must be a prefix or a suffix of the log, or all of it.
func (s *ShardLog) DeleteRange(min, max uint64) error {
	s.write.Lock()
	defer s.write.Unlock()
	e := &s.mu.entries
	switch first, last := e.firstIndex(), e.lastIndex(); {
	case e.empty() || min > max || max < first || min > last:
		return nil
	case max >= last:
		return s.truncate(min)
	case min <= first:
		return s.cut(max + 1)
	}
	return fmt.Errorf("deleting entries %d to %d of shard %d, which has %d to %d: %w",
		min, max, s.id, e.firstIndex(), e.lastIndex(), ErrNotContiguous)
}

// truncate drops the entries from index on.
func (s *ShardLog) truncate(index uint64) error {
	r := record{kind: kindTruncate, shard: s.id, index: index}
	if _, err := s.log.append(appendControl(nil, r), 0, useReserve, true); err != nil {
		return fmt.Errorf("truncating shard %d from entry %d: %w", s.id, index, err)
	}
	s.mu.Lock()
	out := s.mu.entries.truncateFrom(index, nil)
	s.mu.Unlock()
	s.log.release(out)
	return nil
}

// CutBelow drops the entries strictly below index, which must not be beyond the last entry. Old entries that remain
// and keep much more than themselves from being removed are carried forward. A cut is not synced: after a
// crash older entries may be there again.
func (s *ShardLog) CutBelow(index uint64) error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.mu.entries.empty() {
		return nil
	}
	if last := s.mu.entries.lastIndex(); index > last {
		return fmt.Errorf("cutting shard %d below entry %d, the last one is %d: %w", s.id, index, last, ErrNotContiguous)
	}
	return s.cut(index)
}

func (s *ShardLog) cut(index uint64) error {
	if index > s.mu.entries.firstIndex() {
		r := record{kind: kindCut, shard: s.id, index: index}
		if _, err := s.log.append(appendControl(nil, r), 0, useReserve, false); err != nil {
			return fmt.Errorf("cutting shard %d below entry %d: %w", s.id, index, err)
		}
		s.mu.Lock()
		out := s.mu.entries.cutBelow(index, nil)
		s.mu.Unlock()
		s.log.release(out)
	}
	if err := s.carry(); err != nil {
		return fmt.Errorf("carrying entries of shard %d forward: %w", s.id, err)
	}
	return nil
}

// Reset drops all entries and leaves a stand-in, which reads as a no-op entry with this index and term, so that
// the next entry can follow it. It is on stable storage on return, whatever the policy.
func (s *ShardLog) Reset(index, term uint64) error {
	if index == 0 {
		return fmt.Errorf("resetting shard %d to entry 0: %w", s.id, ErrNotContiguous)
	}
	s.write.Lock()
	defer s.write.Unlock()
	buf := appendControl(nil, record{kind: kindStandIn, shard: s.id, index: index, term: term})
	w, err := s.log.append(buf, 1, useReserve, true)
	if err == nil {
		err = s.log.Sync()
	}
	if err != nil {
		return fmt.Errorf("resetting shard %d to entry %d: %w", s.id, index, err)
	}
	s.mu.Lock()
	out := s.mu.entries.truncateFrom(0, nil)
	s.mu.entries.push(index, w.segment, newPlace(w.segment.seq, w.offset, int64(len(buf))))
	s.mu.Unlock()
	s.log.release(out)
	return nil
}
