package store

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// ingestFolder holds the tables of the checkpoint that is being built. It must be on the store's file system: an
// ingestion links.
const ingestFolder = "ingest"

// floorMarker names the index below which the store can not be, once a checkpoint has said so. It is no second truth,
// only a check: a MANIFEST that lost its tail looks like an older store.
const floorMarker = "checkpoint"

// Store is one shard's sorted levels. All methods may be called concurrently, but only one checkpoint is open at a
// time, and Close comes last.
type Store struct {
	options       Options
	fs            *files
	db            *pebble.DB
	ownCache      *Cache
	writerOptions sstable.WriterOptions
	ingestDir     string
	stagingDir    string
	floor         *atomicfs.Marker
	compactions   compactions
	meta          atomic.Pointer[Meta]
	failed        atomic.Pointer[errFailed]
	failing       chan struct{} // closed once failed is set
	closed        atomic.Bool

	mu struct {
		sync.Mutex
		holds holds
	}
}

// holds are what keeps a store from being closed or replaced.
type holds struct {
	views       int
	checkpoint  bool
	replacement bool
	shut        bool          // a replacement is about to be committed: no new views
	viewsClosed chan struct{} // if set, closed with the last view
}

// hold changes the holds under their lock.
func (s *Store) hold(change func(*holds) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return change(&s.mu.holds)
}

// Open opens the store in o.Dir, or makes an empty one, and removes what a crashed checkpoint or replacement left behind.
func Open(o Options) (_ *Store, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Store{options: o, failing: make(chan struct{})}
	s.ingestDir, s.stagingDir = o.FS.PathJoin(o.Dir, ingestFolder), o.FS.PathJoin(o.Dir, stagingFolder)
	s.fs = newFiles(o.FS, s.fatal, s.failure, o.Yield)
	s.compactions.yield = o.Yield
	cache := o.Cache
	if cache == nil {
		s.ownCache = NewCache(DefaultCacheSize)
		cache = s.ownCache
	}
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	defer s.recovered("open", &err)
	settings := s.pebbleOptions(cache)
	var db *pebble.DB
	if err := s.await("open", func() (err error) { db, err = pebble.Open(o.Dir, settings); return err }); err != nil {
		return nil, err
	}
	s.db = db
	settings.EnsureDefaults()
	s.writerOptions = settings.MakeWriterOptions(0, formatVersion.MaxTableFormat())
	s.writerOptions.DisableValueBlocks = true
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := s.fs.decide(false); err != nil {
		return nil, s.explain("open", err)
	}
	for _, dir := range []string{s.ingestDir, s.stagingDir} {
		if err := o.FS.RemoveAll(dir); err != nil && !isNotExist(err) {
			return nil, fmt.Errorf("store: open: %w", err)
		}
	}
	if !s.options.HoldCompactions {
		s.compactions.allow()
	}
	return s, nil
}

// check reads the meta record and compares it with the floor.
func (s *Store) check() error {
	marker, value, err := atomicfs.LocateMarker(s.fs, s.options.Dir, floorMarker)
	if err != nil {
		return s.explain("open", err)
	}
	s.floor = marker
	meta, ok, err := s.readMeta(s.db)
	if err != nil {
		return err
	}
	if value != "" {
		floor, err := strconv.ParseUint(value, 16, 64)
		if err != nil {
			return fmt.Errorf("store: open: %w: %s: marker of index %q; %s", ErrCorrupt, s.options.Dir, value, advice)
		}
		if !ok || meta.Index < floor {
			return fmt.Errorf("store: open: %w: %s: the MANIFEST has lost its end: it leads to index %d, but a checkpoint at %d was completed; %s",
				ErrCorrupt, s.options.Dir, meta.Index, floor, advice)
		}
	}
	if ok {
		s.meta.Store(&meta)
	}
	if err := marker.RemoveObsolete(); err != nil {
		return s.explain("open", err)
	}
	return nil
}

// abandon gives everything back after a failed Open. Nothing is removed from the folder.
func (s *Store) abandon() {
	_ = s.fs.decide(true) // it keeps everything: there is nothing that can fail
	if s.db != nil {
		_ = s.await("close", s.db.Close) // the error that made us give up is the one that counts
	}
	if s.failed.Load() != nil {
		return // Pebble's goroutines may still use what is left
	}
	if s.floor != nil {
		_ = s.floor.Close()
	}
	if s.ownCache != nil {
		s.ownCache.Close()
	}
}

// readMeta reads the meta record as r sees it.
func (s *Store) readMeta(r pebble.Reader) (m Meta, ok bool, err error) {
	b, closer, err := r.Get(metaKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return Meta{}, false, nil
	}
	if err != nil {
		return Meta{}, false, s.explain("read", err)
	}
	defer closer.Close()
	if m, err = decodeMeta(b); err != nil {
		return Meta{}, false, fmt.Errorf("store: %s: %w", s.options.Dir, err)
	}
	return m, true, nil
}

// Meta is that of the last completed checkpoint; ok is false if there was none yet. Its slices must not be changed.
func (s *Store) Meta() (m Meta, ok bool) {
	if p := s.meta.Load(); p != nil {
		return *p, true
	}
	return Meta{}, false
}

// committed makes a checkpoint that is in the levels the one that readers see, and raises the floor. That it can not
// raise the floor means that the disk is failing: as with the MANIFEST, nothing is tried twice.
func (s *Store) committed(m Meta) (err error) {
	m.Configuration = append([]byte(nil), m.Configuration...)
	m.State = append([]byte(nil), m.State...)
	s.meta.Store(&m)
	defer s.recovered("mark the checkpoint", &err)
	if err := s.floor.Move(strconv.FormatUint(m.Index, 16)); err != nil {
		return s.fail(fmt.Sprintf("mark index %d: %v", m.Index, err))
	}
	return nil
}

// Close closes the store. It fails, and leaves the store open, while a view, a checkpoint or a replacement is open. No other call may
// be under way. A store that has failed lets go of its memory only with the process.
func (s *Store) Close() (err error) {
	if err := s.hold(func(h *holds) error {
		if h.views > 0 || h.checkpoint || h.replacement {
			return fmt.Errorf("store: close: %d views are open, a checkpoint: %t, a replacement: %t",
				h.views, h.checkpoint, h.replacement)
		}
		return nil
	}); err != nil {
		return err
	}
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	err = s.await("close", s.db.Close)
	if s.failed.Load() != nil {
		return err
	}
	if floorErr := s.floor.Close(); err == nil {
		err = s.explain("close", floorErr)
	}
	if s.ownCache != nil {
		s.ownCache.Close()
	}
	return err
}

// AllowCompactions ends what Options.HoldCompactions began.
func (s *Store) AllowCompactions() { s.compactions.allow() }
