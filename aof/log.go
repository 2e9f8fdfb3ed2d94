package aof

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Log is the log of a node. All methods may be called concurrently.
type Log struct {
	opts Options
	dir  vfs.File
	// fatal is Options.Fatal once the log is open: a failure to open is just returned.
	fatal func(error)

	shards struct {
		sync.RWMutex
		byID map[uint64]*ShardLog
	}

	stop       chan struct{}
	background sync.WaitGroup
	// hurry tells the keeper to stop filling the next segment: somebody waits for it.
	hurry atomic.Bool
	// policyChange serializes SetPolicy and ClearForgotten.
	policyChange sync.Mutex

	mu struct {
		sync.Mutex
		segments []*segment // in order; the last one is current
		next     *segment   // prepared to follow, or nil
		spares   []spare

		// Positions count the bytes of records that this process has written, over all segments.
		written int64
		synced  int64 // everything up to here is on stable storage
		vouched int64 // the last written record vouches up to here
		content int64 // where the last record ends that is no voucher
		atTick  int64 // written at the last tick

		syncing bool // somebody syncs the current segment without holding the lock
		closing bool
		failed  error // not nil once the log takes no more

		policy   SyncPolicy
		recorded SyncPolicy // as the log's records say
		forgot   bool

		retire     bool // the first segments may be needed by nobody
		keeping    bool // the keeper is at work without holding the lock
		prepareErr error
		retireErr  error

		writes, syncs   uint64
		lastSync        time.Duration
		syncTime        time.Duration
		slowestSync     time.Duration
		segmentsRetired uint64
	}
	// changed is signalled when a sync ends, a segment is prepared, or the log fails or closes.
	changed sync.Cond
	// work is signalled when the keeper may have something to do.
	work sync.Cond
}

// Open reads the log in the folder, or makes one, and starts a new segment.
func Open(opts Options) (*Log, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("options of the log: %w", err)
	}
	l := &Log{opts: opts, stop: make(chan struct{}), fatal: func(error) {}}
	l.changed.L, l.work.L = &l.mu, &l.mu
	l.shards.byID = make(map[uint64]*ShardLog)
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	l.fatal = opts.Fatal
	l.background.Go(l.keep)
	l.background.Go(l.tick)
	return l, nil
}

func (l *Log) open() error {
	fs := l.opts.FS
	if err := fs.MkdirAll(l.opts.Dir, 0o755); err != nil {
		return fmt.Errorf("making the log's folder: %w", err)
	}
	var err error
	if l.dir, err = fs.OpenDir(l.opts.Dir); err != nil {
		return fmt.Errorf("opening the log's folder: %w", err)
	}
	ld, err := load(fs, l.opts.Dir, openForAppending(fs))
	l.mu.segments = ld.segments
	if err != nil {
		return err
	}
	if len(ld.segments) == 0 {
		if err := l.syncParent(); err != nil {
			return err
		}
	} else if err := ld.segments[len(ld.segments)-1].file.Sync(); err != nil {
		// What was read may be in the system's cache only, and Raft will count on it.
		return fmt.Errorf("syncing the log's last segment: %w", err)
	}
	if err := l.collectSpares(ld); err != nil {
		return err
	}
	for id, e := range ld.shards {
		l.shards.byID[id] = newShardLog(l, id, *e)
	}
	l.mu.policy, l.mu.recorded = l.opts.Policy, l.opts.Policy
	l.mu.forgot = ld.mayHaveForgotten(l.opts.BootID)
	return l.beginFirst(ld)
}

// syncParent makes the folder itself last.
func (l *Log) syncParent() error {
	parent, err := l.opts.FS.OpenDir(l.opts.FS.PathDir(l.opts.Dir))
	if err != nil {
		return fmt.Errorf("opening the folder above the log's: %w", err)
	}
	if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
		return fmt.Errorf("syncing the folder above the log's: %w", err)
	}
	return nil
}

// beginFirst prepares this run's first segment, filled only a little so that opening takes no time, and
// writes its beginning: from here on, what was cut off stays cut off.
func (l *Log) beginFirst(ld *loaded) error {
	seq, start := uint32(1), uint32(1)
	if n := len(ld.segments); n > 0 {
		tail := ld.segments[n-1]
		seq, start = tail.seq+1, ld.segments[0].seq
		if seq == 0 {
			return errors.New("the log has used up its segment numbers")
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.prepareLocked(seq, min(firstFill, l.opts.SegmentSize)); err != nil {
		return err
	}
	if err := l.beginNextLocked(start); err != nil {
		return err
	}
	return l.awaitSyncLocked(l.mu.written)
}

// Shard returns the log of a shard. It need not have entries yet.
func (l *Log) Shard(id uint64) *ShardLog {
	l.shards.RLock()
	s := l.shards.byID[id]
	l.shards.RUnlock()
	if s != nil {
		return s
	}
	l.shards.Lock()
	defer l.shards.Unlock()
	if s = l.shards.byID[id]; s == nil {
		s = newShardLog(l, id, newEntries())
		l.shards.byID[id] = s
	}
	return s
}

// Shards returns the shards that the log knows, those without entries included, in order.
func (l *Log) Shards() []uint64 {
	l.shards.RLock()
	defer l.shards.RUnlock()
	ids := make([]uint64, 0, len(l.shards.byID))
	for id := range l.shards.byID {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Close syncs everything, marks the log as closed in order, waits for the background and closes the files.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.mu.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	l.mu.closing = true
	l.hurry.Store(true)
	l.changed.Broadcast()
	l.work.Signal()
	l.mu.Unlock()
	close(l.stop)
	l.background.Wait()

	l.mu.Lock()
	err := l.writeClosedLocked()
	for l.mu.syncing {
		l.changed.Wait()
	}
	if l.mu.failed == nil {
		l.mu.failed = ErrClosed
	}
	l.mu.Unlock()
	return errors.Join(err, l.closeFiles())
}

// writeClosedLocked leaves the mark of a clean stop. Without room for it, as on a full disk, there is none.
func (l *Log) writeClosedLocked() error {
	if l.mu.failed != nil {
		return l.mu.failed
	}
	if err := l.awaitSyncLocked(l.mu.written); err != nil {
		return err
	}
	_, err := l.appendLocked(appendControl(nil, record{kind: kindClosed}), 0, onlyIfRoom)
	if errors.Is(err, errNoRoom) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.awaitSyncLocked(l.mu.written)
}

func (l *Log) closeFiles() error {
	l.mu.Lock()
	all := slices.Clone(l.mu.segments)
	if l.mu.next != nil {
		all = append(all, l.mu.next)
	}
	spares := l.mu.spares
	l.mu.spares = nil
	l.mu.Unlock()
	var errs []error
	for _, s := range all {
		s.pin.Lock()
		if s.file != nil {
			errs = append(errs, s.file.Close())
			s.file = nil
		}
		s.pin.Unlock()
	}
	for _, sp := range spares {
		errs = append(errs, sp.file.Close())
	}
	if l.dir != nil {
		errs = append(errs, l.dir.Close())
	}
	return errors.Join(errs...)
}

// Stats are figures about the log since it was opened.
type Stats struct {
	Segments        int   // of the log, without spares and the one prepared
	Spares          int   // files kept to be used again, the one prepared included
	Bytes           int64 // on disk, all files
	Shards          int
	Writes          uint64 // system calls that appended records
	Written         int64  // bytes of records
	Unsynced        int64  // of these, not yet on stable storage
	Syncs           uint64
	SyncTime        time.Duration // of all of them
	LastSync        time.Duration
	SlowestSync     time.Duration
	SegmentsRetired uint64
	// PrepareErr says why the next segment could not be prepared, for want of space for instance: when the
	// current one is full, entries will be refused. It is tried again once a second.
	PrepareErr error
	// RetireErr says why a segment that nobody needs is still there.
	RetireErr error
}

// Stats returns the log's figures.
func (l *Log) Stats() Stats {
	l.shards.RLock()
	shards := len(l.shards.byID)
	l.shards.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	st := Stats{
		Segments:        len(l.mu.segments),
		Spares:          len(l.mu.spares),
		Shards:          shards,
		Writes:          l.mu.writes,
		Written:         l.mu.written,
		Unsynced:        l.mu.written - l.mu.synced,
		Syncs:           l.mu.syncs,
		SyncTime:        l.mu.syncTime,
		LastSync:        l.mu.lastSync,
		SlowestSync:     l.mu.slowestSync,
		SegmentsRetired: l.mu.segmentsRetired,
		PrepareErr:      l.mu.prepareErr,
		RetireErr:       l.mu.retireErr,
	}
	for _, s := range l.mu.segments {
		st.Bytes += s.onDisk()
	}
	for _, sp := range l.mu.spares {
		st.Bytes += sp.size
	}
	if l.mu.next != nil {
		st.Spares++
		st.Bytes += l.mu.next.onDisk()
	}
	return st
}

// onDisk is the size of the segment's file in bytes. The caller holds Log.mu.
func (s *segment) onDisk() int64 { return max(s.size, s.end) }

// Pinned returns the shards whose oldest entries keep more than bound bytes of files in the log, the current
// segment included. Their owners should take a checkpoint and then call CutBelow, even if
// the checkpoint found nothing new: that carries what is left of a quiet shard forward.
func (l *Log) Pinned(bound int64) []uint64 {
	l.mu.Lock()
	var total int64
	var needed uint32 // older segments are beyond the bound
	for i := len(l.mu.segments) - 1; i >= 0; i-- {
		s := l.mu.segments[i]
		if total += s.onDisk(); total > bound {
			needed = s.seq + 1
			break
		}
	}
	l.mu.Unlock()
	var pinned []uint64
	for _, id := range l.Shards() {
		s := l.Shard(id)
		s.mu.RLock()
		if oldest := s.mu.entries.oldest(); oldest != nil && oldest.seq < needed {
			pinned = append(pinned, id)
		}
		s.mu.RUnlock()
	}
	return pinned
}
