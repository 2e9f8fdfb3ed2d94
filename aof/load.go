package aof

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxUnbegun is how many segments without a record an unclean stop may leave: the one that was being begun
// and the one prepared behind it.
const maxUnbegun = 2

// loaded is what a folder's files say.
type loaded struct {
	fs  vfs.FS
	dir string

	segments []*segment // of the log, in order; the last one is the tail
	shards   map[uint64]*entries
	unbegun  []uint32 // segments behind the tail that hold nothing, the last one first
	dead     []uint32 // segments before the log's start, left behind by an unclean stop
	spares   []string

	last    beginning // of the tail, as changed by later records: policy, start, forgot
	closed  bool      // the log was closed in order
	records int
}

// opener opens a file of the log, for reading or for reading and writing.
type opener func(path string) (vfs.File, error)

// load reads the whole log in a folder. It changes nothing. The caller closes what it leaves open in
// segments, also after an error.
func load(fs vfs.FS, dir string, open opener) (*loaded, error) {
	ld := &loaded{fs: fs, dir: dir, shards: make(map[uint64]*entries)}
	names, err := fs.List(dir)
	if err != nil {
		return ld, fmt.Errorf("listing the log's folder %s: %w", dir, err)
	}
	var numbers []uint32
	for _, name := range names {
		if seq, ok := parseSegmentName(name); ok {
			numbers = append(numbers, seq)
		} else if strings.HasPrefix(name, sparePrefix) {
			ld.spares = append(ld.spares, name)
		}
	}
	slices.Sort(numbers)
	slices.Sort(ld.spares)
	numbers, err = ld.findTail(numbers, open)
	if err == nil {
		err = ld.checkUnbegun()
	}
	if err != nil || len(ld.segments) == 0 {
		return ld, err
	}
	if err := ld.readTailState(); err != nil {
		return ld, err
	}
	if err := ld.openRest(numbers, open); err != nil {
		return ld, err
	}
	return ld, ld.replay()
}

// close closes the files. It is for readers, so what Close returns does not matter.
func (ld *loaded) close() {
	for _, s := range ld.segments {
		s.file.Close()
	}
}

func (ld *loaded) open(seq uint32, open opener) (*segment, error) {
	s := &segment{seq: seq, path: ld.fs.PathJoin(ld.dir, segmentName(seq))}
	var err error
	if s.file, err = open(s.path); err != nil {
		return nil, fmt.Errorf("opening the log's segment %s: %w", s.path, err)
	}
	if err := s.readHeader(); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// findTail looks from the end for the last segment that was begun, and returns the numbers before it.
func (ld *loaded) findTail(numbers []uint32, open opener) ([]uint32, error) {
	for i := len(numbers) - 1; i >= 0; i-- {
		s, err := ld.open(numbers[i], open)
		if err != nil {
			return nil, err
		}
		ld.segments = []*segment{s}
		sc, err := newScanner(s)
		if err != nil {
			return nil, err
		}
		first, begun, err := sc.beginning()
		if err != nil {
			return nil, err
		}
		if begun {
			ld.last = first
			return numbers[:i], nil
		}
		if len(ld.unbegun) == maxUnbegun {
			return nil, s.damage(segmentHeaderSize, "the segment has no first record")
		}
		ld.unbegun = append(ld.unbegun, s.seq)
		ld.segments = nil
		if err := s.file.Close(); err != nil {
			return nil, fmt.Errorf("closing %s: %w", s.path, err)
		}
	}
	return nil, nil
}

// checkUnbegun returns an error unless the segments that hold nothing follow the tail, or are the log's first.
func (ld *loaded) checkUnbegun() error {
	next := uint32(1)
	if len(ld.segments) > 0 {
		next = ld.segments[0].seq + 1
	}
	for _, seq := range slices.Backward(ld.unbegun) {
		if seq != next {
			return &DamageError{
				Path:   ld.fs.PathJoin(ld.dir, segmentName(next)),
				Detail: fmt.Sprintf("the segment is missing, but %s is there", segmentName(seq)),
			}
		}
		next++
	}
	return nil
}

// readTailState reads the tail once to learn where it ends and where the log starts: only then is it
// known which other segments must be there.
func (ld *loaded) readTailState() error {
	tail := ld.segments[0]
	sc, err := newScanner(tail)
	if err != nil {
		return err
	}
	tail.end, err = sc.tail(func(offset int64, r *record) error {
		ld.closed = r.kind == kindClosed
		switch r.kind {
		case kindStart:
			if r.index < uint64(ld.last.start) || r.index > uint64(tail.seq) {
				return tail.damage(offset, fmt.Sprintf("the log cannot start at segment %d", r.index))
			}
			ld.last.start = uint32(r.index)
		case kindState:
			if r.index > uint64(No) || r.term > 1 {
				return tail.damage(offset, "an unknown state of the log")
			}
			ld.last.policy, ld.last.forgot = SyncPolicy(r.index), r.term == 1
		}
		return nil
	})
	if err == nil && ld.last.start > tail.seq {
		return tail.damage(segmentHeaderSize, fmt.Sprintf("the log cannot start at segment %d", ld.last.start))
	}
	return err
}

// openRest opens the segments from the log's start to the tail, and learns from each one's successor where it ends.
func (ld *loaded) openRest(numbers []uint32, open opener) error {
	next, successor := ld.segments[0], ld.last
	for i := len(numbers) - 1; i >= 0; i-- {
		if numbers[i] < ld.last.start {
			ld.dead = append(ld.dead, numbers[i])
			continue
		}
		if numbers[i] != next.seq-1 {
			return ld.missing(next.seq - 1)
		}
		s, err := ld.open(numbers[i], open)
		if err != nil {
			return err
		}
		ld.segments = slices.Insert(ld.segments, 0, s)
		if s.incarnation != successor.prevIncarnation {
			return s.damage(16, fmt.Sprintf("this is not the segment that %s follows", next.path))
		}
		s.end = successor.prevEnd
		sc, err := newScanner(s)
		if err != nil {
			return err
		}
		first, begun, err := sc.beginning()
		if err != nil {
			return err
		}
		if !begun {
			return s.damage(segmentHeaderSize, "the segment has no first record")
		}
		next, successor = s, first
	}
	if next.seq != ld.last.start {
		return ld.missing(next.seq - 1)
	}
	return nil
}

func (ld *loaded) missing(seq uint32) error {
	return &DamageError{
		Path:   ld.fs.PathJoin(ld.dir, segmentName(seq)),
		Detail: fmt.Sprintf("the segment is missing, and the log needs all from %s on", segmentName(ld.last.start)),
	}
}

// replay builds the shards' entries from all records.
func (ld *loaded) replay() error {
	for _, s := range ld.segments {
		sc, err := newScanner(s)
		if err != nil {
			return err
		}
		err = sc.all(s.end, func(offset int64, r *record) error {
			ld.records++
			switch r.kind {
			case kindEntry, kindCarried, kindStandIn, kindTruncate, kindCut:
				return ld.shard(r.shard).replay(s, offset, r)
			case kindBegin:
				if offset != segmentHeaderSize {
					return s.damage(offset, "a second beginning of the segment")
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, e := range ld.shards {
		for _, sh := range e.shares {
			sh.segment.live += sh.live
		}
	}
	return nil
}

func (ld *loaded) shard(id uint64) *entries {
	e := ld.shards[id]
	if e == nil {
		fresh := newEntries()
		e = &fresh
		ld.shards[id] = e
	}
	return e
}

// mayHaveForgotten returns whether the log may lack entries that the node has promised: it did not sync
// before it promised, was not closed, and the machine has been started anew since.
func (ld *loaded) mayHaveForgotten(bootID string) bool {
	if len(ld.segments) == 0 {
		return false
	}
	sameBoot := bootID != "" && bootID == ld.last.bootID
	return ld.last.forgot || (ld.last.policy != Always && !ld.closed && !sameBoot)
}

// openForReading is the opener of the tools.
func openForReading(fs vfs.FS) opener {
	return func(path string) (vfs.File, error) { return fs.Open(path) }
}

// openForAppending is the opener of the log itself: old segments may become new ones.
func openForAppending(fs vfs.FS) opener {
	return func(path string) (vfs.File, error) {
		return fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	}
}
