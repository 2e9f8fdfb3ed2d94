package store

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// bytesPerSync spreads the writing of a table over the time it is built, so that the sync at its end is short.
const bytesPerSync = 512 << 10

// tables writes one ordered run of records, cut into tables of about size bytes. Every table is synced when it is
// closed: an ingestion makes durable that it happened, not what the tables hold.
type tables struct {
	fs      vfs.FS
	dir     string
	size    uint64
	options sstable.WriterOptions
	drops   drops

	paths  []string
	writer *sstable.Writer
	last   []byte // the stored key that was written last
}

// set and remove write a record; stored keys must ascend strictly.
func (t *tables) set(stored, value []byte) error {
	if err := t.advance(stored); err != nil {
		return err
	}
	return t.writer.Set(stored, value)
}

func (t *tables) remove(stored []byte) error {
	if err := t.advance(stored); err != nil {
		return err
	}
	return t.writer.Delete(stored)
}

func (t *tables) advance(stored []byte) error {
	if bytes.Compare(stored, t.last) <= 0 {
		return fmt.Errorf("store: records out of order: %x after %x", stored, t.last)
	}
	t.last = append(t.last[:0], stored...)
	if t.writer != nil && t.writer.Raw().EstimatedSize() >= t.size {
		if err := t.closeTable(stored); err != nil {
			return err
		}
	}
	if t.writer != nil {
		return nil
	}
	path := t.fs.PathJoin(t.dir, fmt.Sprintf("%06d.sst", len(t.paths)))
	f, err := t.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("store: make a table: %w", err)
	}
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: bytesPerSync})
	t.paths = append(t.paths, path)
	t.writer = sstable.NewWriter(objstorageprovider.NewFileWritable(f), t.options)
	return nil
}

// closeTable ends the open table before bound: all range deletions below bound are its own.
func (t *tables) closeTable(bound []byte) error {
	w := t.writer
	t.writer = nil
	err := t.drops.cut(bound, w.DeleteRange)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("store: write %s: %w", t.paths[len(t.paths)-1], err)
	}
	return nil
}

// finish closes the last table, which takes the range deletions that are left.
func (t *tables) finish() error { return t.closeTable([]byte{kindAbove}) }

// discard closes what is open and removes the files.
func (t *tables) discard() error {
	if t.writer != nil {
		_ = t.writer.Close() // the file goes
		t.writer = nil
	}
	var first error
	for _, path := range t.paths {
		if err := t.fs.Remove(path); err != nil && !isNotExist(err) && first == nil {
			first = fmt.Errorf("store: remove a table of a checkpoint given up: %w", err)
		}
	}
	t.paths = nil
	return first
}
