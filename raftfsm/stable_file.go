package raftfsm

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// StableFile is the stable store of a node: one file, synced with each write.
type StableFile struct {
	path string
	bolt *raftboltdb.BoltStore
}

// lockWait is how long another process may hold the file before the open fails.
const lockWait = 200 * time.Millisecond

// OpenStable opens the file, or creates it. A second process that has it open, and a file that is damaged, are errors.
func OpenStable(path string) (*StableFile, error) {
	f := &StableFile{path: path}
	err := guard(func() (err error) {
		f.bolt, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: lockWait}})
		return err
	})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, fmt.Errorf("open %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return f, nil
}

// Group is one group's part, to be asked for once per start of the group.
func (f *StableFile) Group(id uint32) raft.StableStore { return newGroupStable(f, id) }

// Close gives the file back.
func (f *StableFile) Close() error {
	if err := f.bolt.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.path, err)
	}
	return nil
}

func (f *StableFile) get(key []byte) (value []byte, err error) {
	err = guard(func() (err error) {
		value, err = f.bolt.Get(key)
		return err
	})
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, errNotFound
	}
	return value, err
}

func (f *StableFile) put(key, value []byte) error {
	if err := guard(func() error { return f.bolt.Set(key, value) }); err != nil {
		return fmt.Errorf("write to %s: %w", f.path, err)
	}
	return nil
}

// guard turns what a damaged file does to bbolt into an error: it panics at pages that make no sense, and, since it maps
// the file, a page that is missing is a memory fault.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrStable, r)
		}
	}()
	return do()
}
