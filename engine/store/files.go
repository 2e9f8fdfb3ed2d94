package store

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// files is the file system as Pebble sees it. It adds five things.
//
// Nothing is removed before Open has checked that the MANIFEST is whole: Pebble reads a MANIFEST up to the first bad
// record, takes every table that it has not heard of by then for a leftover, and removes it.
//
// Who writes a table lets other goroutines run between blocks: compactions and checkpoints are long stretches of
// computing, and on few cores a client would wait for the scheduler's time slice (10 ms) to end. So does a compaction that
// reads: what is deleted it may read by the million without a write.
//
// The name of a new MANIFEST is durable before the marker that points to it is made. Pebble makes both durable with one sync
// of the folder, and a machine that stops before it might keep the later name and lose the earlier: there would be no store to
// open. Journals of ext4, xfs and btrfs keep the order of names, and the MANIFEST has been synced itself by then; others
// need not.
//
// A folder that can not be synced is fatal. Pebble would panic, in part of the cases and on goroutines of its own.
//
// Once the store has failed nothing is written any more. Pebble's state in memory may be behind the MANIFEST then: another
// version edit on top of it (one that removes a table for the second time, say) would make a MANIFEST that can not be read.
type files struct {
	vfs.FS
	yield func()               // called before each write of a table, and each read of a compaction
	fatal func(message string) // does not return
	over  func() error         // why nothing may be written any more, or nil
	mu    struct {
		sync.Mutex
		checked bool     // Open has decided
		keep    bool     // what it decided: nothing is removed, ever
		waiting []string // to be removed if it decides so
	}
}

func newFiles(fs vfs.FS, fatal func(string), over func() error, yield func()) *files {
	return &files{FS: fs, fatal: fatal, over: over, yield: yield}
}

// decide ends the wait: what Pebble wanted to remove goes, or is kept.
func (f *files) decide(keep bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	waiting := f.mu.waiting
	f.mu.checked, f.mu.keep, f.mu.waiting = true, keep, nil
	if keep {
		return nil
	}
	for _, name := range waiting {
		if err := f.FS.Remove(name); err != nil && !isNotExist(err) {
			return err
		}
	}
	return nil
}

// Remove puts off what must not be decided yet.
func (f *files) Remove(name string) error {
	f.mu.Lock()
	if !f.mu.checked {
		f.mu.waiting = append(f.mu.waiting, name)
	}
	wait := !f.mu.checked || f.mu.keep
	f.mu.Unlock()
	if wait {
		return nil
	}
	return f.FS.Remove(name)
}

// manifestMarker begins the names of the files that say which MANIFEST is the current one.
const manifestMarker = "marker.manifest."

// Create makes a file whose writer yields.
func (f *files) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(f.PathBase(name), manifestMarker) {
		if err := f.syncFolder(f.PathDir(name)); err != nil {
			return nil, err
		}
	}
	file, err := f.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	return writtenFile{file, f}, nil
}

// Open opens a file. Sequential reads are those of compactions, see Store.pebbleOptions.
func (f *files) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	if err != nil || !slices.Contains(opts, vfs.SequentialReadsOption) {
		return file, err
	}
	return compactedFile{file, f.yield}, nil
}

func (f *files) syncFolder(name string) error {
	dir, err := f.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// OpenDir opens a folder for syncing.
func (f *files) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return folder{file, name, f.fatal}, nil
}

// Unwrap is for vfs.Root.
func (f *files) Unwrap() vfs.FS { return f.FS }

type writtenFile struct {
	vfs.File
	files *files
}

func (f writtenFile) Write(p []byte) (int, error) {
	if err := f.files.over(); err != nil {
		return 0, err
	}
	f.files.yield()
	return f.File.Write(p)
}

type compactedFile struct {
	vfs.File
	yield func()
}

func (f compactedFile) ReadAt(p []byte, offset int64) (int, error) {
	f.yield()
	return f.File.ReadAt(p, offset)
}

type folder struct {
	vfs.File
	name  string
	fatal func(message string)
}

func (f folder) Sync() error {
	if err := f.File.Sync(); err != nil {
		f.fatal("sync folder " + f.name + ": " + err.Error())
	}
	return nil
}
