package aof

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// maxSpares is how many files are kept to be used again, besides the one that is prepared.
	maxSpares = 2
	// firstFill is how much of a new segment is filled with zeros at least, in bytes; the first segment after Open
	// has no more.
	firstFill = 1 << 20
	// fillStep is how much is written and synced at once, in bytes: what an append's sync may have to wait for.
	fillStep = 256 << 10
	// mostRests is how many rests there are between two steps at most.
	mostRests = 4
)

var zeros [fillStep]byte

// spare is a file to be used as a segment. Its bytes mean nothing.
type spare struct {
	name string
	file vfs.File
	size int64
}

// keep is the keeper: it retires old segments and prepares the next one until the log is closed or fails. Retiring comes
// first unless somebody waits for room: it is quick, and a file that is used again need not be filled.
func (l *Log) keep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.mu.closing && l.mu.failed == nil {
		switch {
		case l.mu.retire && !(l.hurry.Load() && l.shouldPrepareLocked()):
			l.mu.keeping = true
			l.retireLocked()
		case l.shouldPrepareLocked():
			l.mu.keeping = true
			seq := l.currentLocked().seq + 1
			l.mu.prepareErr = l.prepareLocked(seq, l.opts.SegmentSize)
			if l.mu.prepareErr != nil && !l.mu.closing {
				l.opts.Logger.Warn("the log cannot prepare its next segment; when the current one is full, writes will be refused. "+
					"Free space on the disk; this is tried again every second", "folder", l.opts.Dir, "error", l.mu.prepareErr)
			}
		default:
			l.work.Wait()
			continue
		}
		l.mu.keeping = false
		l.changed.Broadcast()
	}
}

func (l *Log) shouldPrepareLocked() bool { return l.mu.next == nil && l.mu.prepareErr == nil }

// prepareLocked sets next to a new segment with this number. The lock is released meanwhile.
func (l *Log) prepareLocked(seq uint32, size int64) error {
	if seq == 0 {
		return errors.New("the log has used up its segment numbers")
	}
	sp := spare{name: spareName(seq)}
	if n := len(l.mu.spares); n > 0 {
		sp = l.mu.spares[n-1]
		l.mu.spares = l.mu.spares[:n-1]
	}
	l.mu.Unlock()
	s, named, err := l.prepare(seq, sp, size)
	l.mu.Lock()
	if err != nil && named {
		// The folder could not be synced. A second sync may succeed without the name being there.
		return l.failLocked(err)
	}
	if err == nil {
		l.mu.next = s
	}
	return err
}

// prepare makes a segment of a spare file: filled up to size, or as far as it got when somebody is
// waiting for it; then headed, synced and named. If it fails, named says whether the file already has its name.
func (l *Log) prepare(seq uint32, sp spare, size int64) (s *segment, named bool, err error) {
	fs := l.opts.FS
	from := fs.PathJoin(l.opts.Dir, sp.name)
	if sp.file == nil {
		if sp.file, err = fs.OpenReadWrite(from, vfs.WriteCategoryUnspecified); err != nil {
			return nil, false, fmt.Errorf("making a segment: %w", err)
		}
	}
	s = &segment{
		seq:         seq,
		incarnation: l.opts.Random(),
		path:        fs.PathJoin(l.opts.Dir, segmentName(seq)),
		file:        sp.file,
		end:         segmentHeaderSize,
	}
	err = l.fill(s, sp.size, size)
	if err == nil {
		_, err = s.file.WriteAt(s.encodeHeader(), 0)
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil {
		err = fs.Rename(from, s.path)
	}
	if err != nil {
		// What is left under the spare's name is removed here or, if that fails too, collected by the next Open.
		return nil, false, fmt.Errorf("preparing segment %s: %w", s.path, errors.Join(err, s.file.Close(), fs.Remove(from)))
	}
	if err := l.dir.Sync(); err != nil {
		return nil, true, fmt.Errorf("syncing the log's folder for segment %s: %w", s.path, errors.Join(err, s.file.Close()))
	}
	return s, false, nil
}

// fill extends the segment's file with zeros, in steps that are synced, so that the syncs of
// appends never wait for much of it. It rests between steps while it is well ahead of them: the disk and the
// processors are theirs, and there is time until the segment is needed.
func (l *Log) fill(s *segment, have, want int64) error {
	enough := min(firstFill, want)
	for have < want && (have < enough || !l.hurry.Load()) {
		step := min(want-have, fillStep)
		if _, err := s.file.WriteAt(zeros[:step], have); err != nil {
			return err
		}
		if err := s.file.SyncData(); err != nil {
			return err
		}
		if have += step; have < want {
			l.betweenSteps(have)
		}
	}
	s.size = have
	return nil
}

// betweenSteps of filling, so many bytes of which are done, the keeper does what else waits for it, and rests: so it is ahead
// of the appends without taking much more of the disk than they do. Replicas, which may share one, all do it at the same time.
func (l *Log) betweenSteps(filled int64) {
	l.mu.Lock()
	if l.mu.retire && !l.mu.closing && l.mu.failed == nil {
		l.retireLocked()
	}
	rests := l.restsLocked(filled)
	l.mu.Unlock()
	for ; rests > 0 && l.opts.Rest != nil && !l.hurry.Load(); rests-- {
		l.opts.Rest()
	}
}

// restsLocked is how often to rest: the more, the further so many bytes of the next segment are ahead of what the current
// one holds; not at all if they are not twice as many.
func (l *Log) restsLocked(filled int64) int64 {
	if len(l.mu.segments) == 0 {
		return 0
	}
	return min(filled/(2*l.currentLocked().end), mostRests)
}

// retireLocked drops the segments from the front that hold no live entry. It first makes the log's
// new start last (L5). The lock is released meanwhile.
func (l *Log) retireLocked() {
	l.mu.retire = false
	last := len(l.mu.segments) - 1
	k := 0
	for k < last && l.mu.segments[k].live == 0 {
		k++
	}
	if k == 0 {
		return
	}
	start := l.mu.segments[k].seq
	w, err := l.appendLocked(appendControl(nil, record{kind: kindStart, index: uint64(start)}), 0, onlyIfRoom)
	if err != nil {
		return // no room: the next turn asks again; or the log has failed
	}
	// Taken out before the lock is released, so that a segment begun meanwhile names the new start too.
	dead := slices.Clone(l.mu.segments[:k])
	l.mu.segments = slices.Delete(l.mu.segments, 0, k)
	var errs []error
	if err := l.awaitSyncLocked(w.position); err != nil {
		for _, s := range dead {
			errs = append(errs, s.file.Close())
		}
		l.mu.retireErr = errors.Join(errs...)
		return
	}
	keep := max(0, maxSpares-len(l.mu.spares))
	l.mu.Unlock()
	var spares []spare
	for _, s := range dead {
		sp, err := l.takeAway(s, len(spares) < keep)
		if err != nil {
			errs = append(errs, err)
		} else if sp.file != nil {
			spares = append(spares, sp)
		}
	}
	l.mu.Lock()
	l.mu.spares = append(l.mu.spares, spares...)
	l.mu.segmentsRetired += uint64(k)
	if l.mu.retireErr = errors.Join(errs...); l.mu.retireErr != nil {
		l.opts.Logger.Warn("old segments of the log could not be removed; the next start tries again",
			"folder", l.opts.Dir, "error", l.mu.retireErr)
	}
	l.mu.prepareErr = nil // there may be space now
}

// takeAway waits for the segment's readers, then makes it a spare or removes it.
func (l *Log) takeAway(s *segment, keep bool) (spare, error) {
	s.pin.Lock()
	file := s.file
	s.file = nil
	s.pin.Unlock()
	size := max(s.size, s.end)
	if keep && size <= 2*l.opts.SegmentSize {
		sp := spare{name: spareName(s.seq), file: file, size: size}
		if err := l.opts.FS.Rename(s.path, l.opts.FS.PathJoin(l.opts.Dir, sp.name)); err != nil {
			return spare{}, errors.Join(fmt.Errorf("setting %s aside: %w", s.path, err), file.Close())
		}
		return sp, nil
	}
	if err := errors.Join(file.Close(), l.opts.FS.Remove(s.path)); err != nil {
		return spare{}, fmt.Errorf("removing %s: %w", s.path, err)
	}
	return spare{}, nil
}

// collectSpares sorts out, at open, the files that hold nothing of the log: a few become spares, the rest
// is removed. A segment that was prepared or torn at its beginning must not be begun under its old
// incarnation, so it loses its name too.
func (l *Log) collectSpares(ld *loaded) error {
	fs, dir := l.opts.FS, l.opts.Dir
	names := ld.spares
	// The last unbegun segment goes first: a stop in between must not look like a missing segment.
	for _, seq := range slices.Concat(ld.unbegun, ld.dead) {
		name := spareName(seq)
		if err := fs.Rename(fs.PathJoin(dir, segmentName(seq)), fs.PathJoin(dir, name)); err != nil {
			return fmt.Errorf("setting segment %d aside: %w", seq, err)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(ld.unbegun) > 0 {
		if err := l.dir.Sync(); err != nil {
			return fmt.Errorf("syncing the log's folder: %w", err)
		}
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			return fmt.Errorf("size of %s: %w", path, err)
		}
		if len(l.mu.spares) == maxSpares || info.Size() > 2*l.opts.SegmentSize || info.Size() == 0 {
			if err := fs.Remove(path); err != nil && !oserror.IsNotExist(err) {
				return fmt.Errorf("removing %s: %w", path, err)
			}
			continue
		}
		file, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			return fmt.Errorf("opening %s: %w", path, err)
		}
		l.mu.spares = append(l.mu.spares, spare{name: name, file: file, size: info.Size()})
	}
	return nil
}
