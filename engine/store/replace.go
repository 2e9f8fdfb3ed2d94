package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// stagingFolder holds the tables of a replacement that is being built. Like ingestFolder, it is on the store's file system.
const stagingFolder = "staging"

// ErrReplacing is returned by View while a replacement waits for the views that are open.
var ErrReplacing = errors.New("store: it is about to be replaced")

// Replacement is a whole other store, built beside this one out of the records of a View (of another replica's store, say),
// which takes the place of everything that this one holds in one version edit. Until Commit nothing of it shows, and
// checkpoints go on; one that is never committed leaves nothing behind. It belongs to one goroutine.
//
//	Add …, Finish, Shut, Commit; or Abort at any point
type Replacement struct {
	store    *Store
	tables   tables
	meta     Meta
	finished bool
	over     bool
}

// NewReplacement begins a replacement. It fails while another one is under way.
func (s *Store) NewReplacement() (*Replacement, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	if err := s.hold(func(h *holds) error {
		if h.replacement {
			return errors.New("store: another replacement is under way")
		}
		h.replacement = true
		return nil
	}); err != nil {
		return nil, err
	}
	r := &Replacement{store: s, tables: tables{
		fs: s.fs, dir: s.stagingDir, size: uint64(s.options.TableSize), options: s.writerOptions,
	}}
	if err := s.fs.MkdirAll(s.stagingDir, 0o755); err != nil {
		r.end()
		return nil, fmt.Errorf("store: %w", err)
	}
	return r, nil
}

// Add takes the next record as View.Records gave it: stored keys ascend strictly. Key and value are copied.
func (r *Replacement) Add(stored, value []byte) error {
	if r.over || r.finished {
		return errors.New("store: a record after the end of a replacement")
	}
	if err := checkRecord(stored, value); err != nil {
		return err
	}
	return r.tables.set(stored, value)
}

// checkRecord refuses what can not be a record of a store.
func checkRecord(stored, value []byte) error {
	ok := false
	switch {
	case len(stored) == 0:
	case stored[0] == kindKeys:
		ok = wellFormed(stored) && (isNode(stored) || stored[slotSize] == tagKey)
	case stored[0] == kindDue:
		ok = len(stored) == dueSize && len(value) == 0
	}
	if !ok {
		return fmt.Errorf("%w: %x", errKey, stored[:min(len(stored), dueSize)])
	}
	return nil
}

// Finish writes what is left and syncs. m is the meta record of the store that the records come from.
func (r *Replacement) Finish(m Meta) error {
	if r.over || r.finished {
		return errors.New("store: the replacement is finished")
	}
	if err := r.tables.set(metaKey, appendMeta(nil, m)); err != nil {
		return err
	}
	if err := r.tables.finish(); err != nil {
		return err
	}
	r.meta, r.finished = m, true
	return nil
}

// Meta is what Finish was given.
func (r *Replacement) Meta() Meta { return r.meta }

// Shut has new views refused and waits until those that are open have been closed: what is replaced would vanish from
// under them. If it fails, views are let in again.
func (r *Replacement) Shut(ctx context.Context) error {
	s := r.store
	for {
		var closed chan struct{}
		_ = s.hold(func(h *holds) error {
			h.shut = true
			if h.views > 0 {
				closed = make(chan struct{})
				h.viewsClosed = closed
			}
			return nil
		})
		if closed == nil {
			return nil
		}
		select {
		case <-closed:
		case <-ctx.Done():
			_ = s.hold(func(h *holds) error { h.shut, h.viewsClosed = false, nil; return nil })
			return fmt.Errorf("store: wait for the open views: %w", context.Cause(ctx))
		}
	}
}

// Commit puts the replacement in the store's place, after Finish and Shut. When it returns nil the replacement is durable
// and all that is visible. When it fails, the store is as before, unless Options.Fatal was called. The replacement is over
// either way.
func (r *Replacement) Commit() error {
	if r.over {
		return errors.New("store: the replacement is over")
	}
	err := r.commit()
	if err != nil {
		return errors.Join(err, r.Abort())
	}
	r.end()
	return nil
}

func (r *Replacement) commit() error {
	s := r.store
	if err := s.usable(); err != nil {
		return err
	}
	if !r.finished {
		return errors.New("store: the replacement has no end")
	}
	if old, ok := s.Meta(); ok && r.meta.Index < old.Index {
		return fmt.Errorf("store: replacement at index %d, the store has %d", r.meta.Index, old.Index)
	}
	if err := s.hold(func(h *holds) error {
		if !h.shut || h.views > 0 || h.checkpoint {
			return fmt.Errorf("store: replace: %d views are open, a checkpoint: %t", h.views, h.checkpoint)
		}
		return nil
	}); err != nil {
		return err
	}
	everything := pebble.KeyRange{Start: []byte{0}, End: []byte{kindAbove}}
	if err := s.await("replace", func() error {
		_, err := s.db.IngestAndExcise(context.Background(), r.tables.paths, nil, nil, everything)
		return err
	}); err != nil {
		return err
	}
	r.tables.paths = nil // they are Pebble's now
	return s.committed(r.meta)
}

// Abort removes the tables. After Commit it does nothing, so it may be deferred.
func (r *Replacement) Abort() error {
	if r.over {
		return nil
	}
	err := r.tables.discard()
	r.end()
	return err
}

func (r *Replacement) end() {
	r.over = true
	_ = r.store.hold(func(h *holds) error { h.replacement, h.shut = false, false; return nil })
}
