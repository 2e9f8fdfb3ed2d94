package aof

import (
	"errors"
	"fmt"
	"time"
)

const (
	// controlReserve is kept free at a segment's end for records that let space be freed when the disk
	// is full, in bytes.
	controlReserve = 4096
	// maxWrite bounds one write of several entries, in bytes; a single entry may be larger.
	maxWrite = 4 << 20
)

// room says what an append does when the current segment is full and no other is prepared.
type room uint8

const (
	waitForRoom room = iota // for entries
	useReserve              // for small records; waits once the reserve is used up too
	onlyIfRoom              // for small records; never waits, returns errNoRoom
)

// ErrNoRoom says that entries were not written, none of them, since no further segment can be made.
var ErrNoRoom = errors.New("the log has no room")

var (
	errNoRoom = errors.New("no room in the segment")
	errTurned = errors.New("the log has turned to another segment")
)

// written says where an append has put its records.
type written struct {
	segment  *segment
	offset   int64 // in the segment
	position int64 // behind the last byte
}

// append writes finished records, entries of which are entries, as one write. If acknowledge is set it
// returns only when the policy in force allows to acknowledge them.
func (l *Log) append(buf []byte, entries int, how room, acknowledge bool) (written, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, err := l.appendLocked(buf, entries, how)
	if err == nil && acknowledge && l.mu.policy == Always {
		err = l.awaitSyncLocked(w.position)
	}
	return w, err
}

// appendIn appends like append, unacknowledged, but only to the segment with this number.
func (l *Log) appendIn(seq uint32, buf []byte, entries int) (written, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.makeRoomLocked(int64(len(buf)), waitForRoom); err != nil {
		return written{}, err
	}
	if l.currentLocked().seq != seq {
		return written{}, errTurned
	}
	return l.appendLocked(buf, entries, waitForRoom)
}

// appendLocked may release the lock while it waits for room, but not after it has made the records' place.
func (l *Log) appendLocked(buf []byte, entries int, how room) (written, error) {
	if err := l.makeRoomLocked(int64(len(buf)), how); err != nil {
		return written{}, err
	}
	s := l.currentLocked()
	w := written{segment: s, offset: s.end}
	if err := l.writeLocked(buf); err != nil {
		return written{}, err
	}
	s.live += entries
	l.mu.content = l.mu.written
	w.position = l.mu.written
	return w, nil
}

func (l *Log) currentLocked() *segment { return l.mu.segments[len(l.mu.segments)-1] }

// writeLocked seals the records and writes them at the end of the current segment.
func (l *Log) writeLocked(buf []byte) error {
	s := l.currentLocked()
	vouched := max(l.mu.synced-s.base, segmentHeaderSize)
	seal(buf, s.end, s.incarnation, vouched)
	if _, err := s.file.WriteAt(buf, s.end); err != nil {
		return l.failLocked(fmt.Errorf("writing %s at offset %d: %w", s.path, s.end, err))
	}
	s.end += int64(len(buf))
	l.mu.written += int64(len(buf))
	l.mu.vouched = l.mu.synced
	l.mu.writes++
	return nil
}

// makeRoomLocked returns when the current segment has room, turning to the next one if needed. What is
// larger than any segment goes to the beginning of a new one, which grows.
func (l *Log) makeRoomLocked(need int64, how room) error {
	for {
		if l.mu.failed != nil {
			return l.mu.failed
		}
		if l.mu.closing && how != onlyIfRoom {
			return ErrClosed
		}
		s := l.currentLocked()
		limit := s.size
		if how == waitForRoom {
			limit -= controlReserve
		}
		if s.end+need <= limit || (s.fresh() && how == waitForRoom) {
			return nil
		}
		switch {
		case l.mu.next == nil && how == onlyIfRoom:
			return errNoRoom
		case l.mu.syncing:
			l.changed.Wait()
		case l.mu.next != nil:
			if err := l.turnLocked(); err != nil {
				return err
			}
		case l.mu.prepareErr != nil:
			err := l.mu.prepareErr
			l.mu.prepareErr = nil
			l.work.Signal()
			return fmt.Errorf("%w: %w", ErrNoRoom, err)
		default:
			l.hurry.Store(true)
			l.changed.Wait()
		}
	}
}

// fresh returns whether the segment has nothing but its beginning.
func (s *segment) fresh() bool {
	return s.end <= segmentHeaderSize+recordSize(beginningFixedSize+maxBootIDLength)
}

// turnLocked goes on to the next segment. The old one is synced first (L3), with the lock held: once per
// segment, everybody waits. Nobody else may be syncing it, or the system might report a failure to them only.
func (l *Log) turnLocked() error {
	if err := l.syncCurrentLocked(); err != nil {
		return err
	}
	l.mu.retire = true // the old segment may never have had an entry
	return l.beginNextLocked(l.mu.segments[0].seq)
}

// syncCurrentLocked syncs the current segment without giving up the lock.
func (l *Log) syncCurrentLocked() error {
	s := l.currentLocked()
	began := l.opts.Now()
	if err := s.file.SyncData(); err != nil {
		return l.failLocked(fmt.Errorf("syncing %s: %w", s.path, err))
	}
	l.countSyncLocked(l.mu.written, l.opts.Now().Sub(began))
	return nil
}

func (l *Log) countSyncLocked(position int64, took time.Duration) {
	l.mu.syncs++
	l.mu.syncTime += took
	l.mu.lastSync = took
	l.mu.slowestSync = max(l.mu.slowestSync, took)
	if l.opts.Synced != nil {
		l.opts.Synced(took)
	}
	l.mu.synced = position
	l.changed.Broadcast()
}

// beginNextLocked makes the prepared segment the current one and writes its first record, unsynced.
func (l *Log) beginNextLocked(start uint32) error {
	b := beginning{start: start, policy: l.mu.recorded, forgot: l.mu.forgot, bootID: l.opts.BootID}
	if n := len(l.mu.segments); n > 0 {
		b.prevIncarnation, b.prevEnd = l.mu.segments[n-1].incarnation, l.mu.segments[n-1].end
	}
	s := l.mu.next
	s.base = l.mu.written - segmentHeaderSize
	s.end = segmentHeaderSize
	l.mu.segments = append(l.mu.segments, s)
	l.mu.next = nil
	l.hurry.Store(false)
	if err := l.writeLocked(appendBeginning(nil, &b)); err != nil {
		return err
	}
	l.mu.content = l.mu.written
	l.work.Signal()
	return nil
}

// awaitSyncLocked returns when everything up to position is on stable storage. The first to come syncs
// for all who have written so far; those who come meanwhile are served by the next sync.
func (l *Log) awaitSyncLocked(position int64) error {
	for l.mu.synced < position {
		if l.mu.failed != nil {
			return l.mu.failed
		}
		if l.mu.syncing {
			l.changed.Wait()
			continue
		}
		l.mu.syncing = true
		target, s := l.mu.written, l.currentLocked()
		l.mu.Unlock()
		began := l.opts.Now()
		err := s.file.SyncData()
		took := l.opts.Now().Sub(began)
		l.mu.Lock()
		l.mu.syncing = false
		if err != nil {
			l.changed.Broadcast()
			return l.failLocked(fmt.Errorf("syncing %s: %w", s.path, err))
		}
		l.countSyncLocked(target, took)
	}
	return nil
}

// failLocked ends the log and tells the owner, with the lock released.
func (l *Log) failLocked(err error) error {
	if l.mu.failed != nil {
		return l.mu.failed
	}
	l.mu.failed = fmt.Errorf("%w: %w", ErrDead, err)
	failed := l.mu.failed
	l.hurry.Store(true)
	l.changed.Broadcast()
	l.work.Signal()
	l.mu.Unlock()
	defer l.mu.Lock()
	l.fatal(failed)
	return failed
}

// Sync returns when everything that has been appended so far is on stable storage, whatever the policy.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.failed != nil {
		return l.mu.failed
	}
	return l.awaitSyncLocked(l.mu.written)
}

// release takes entries out of their segments' accounts and lets the keeper look for segments to retire.
func (l *Log) release(out []freed) {
	if len(out) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range out {
		f.segment.live -= f.count
	}
	if first := l.mu.segments[0]; first.live == 0 && first != l.currentLocked() {
		l.mu.retire = true
		l.work.Signal()
	}
}

// bytesBefore returns the size of the files from a segment up to the current one, without it, and the
// number of the current one.
func (l *Log) bytesBefore(oldest uint32) (bytes int64, current uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.mu.segments[:len(l.mu.segments)-1] {
		if s.seq >= oldest {
			bytes += s.onDisk()
		}
	}
	return bytes, l.currentLocked().seq
}
