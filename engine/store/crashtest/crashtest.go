// Package crashtest lets tests stop the machine at every operation on files, or have every one fail.
package crashtest

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Kept is how much of what was not synced a crash leaves on the disk, in percent: nothing, all, and parts drawn at random,
// in any order, blocks of files as well as names. A name that was removed is back unless its folder was synced. Under the
// race detector tests look at every tenth crash only: seven of them, so that all have a turn.
var Kept = []int{0, 100, 20, 50, 50, 80, 35}

// Crash is what is on the disk after one.
type Crash[S any] struct {
	FS            *vfs.MemFS
	Before, After S // what the test knew just before and just after the disk was copied
	What          string
}

// Crashes are those of one run.
type Crashes[S any] struct {
	disk  *vfs.MemFS
	state func() S
	mu    struct {
		sync.Mutex
		points uint64
		all    []Crash[S]
	}
}

// Watch returns a file system on disk which copies it before every operation that changes something. state is what the
// test knows at a moment.
func Watch[S any](disk *vfs.MemFS, state func() S) (vfs.FS, *Crashes[S]) {
	c := &Crashes[S]{disk: disk, state: state}
	return errorfs.Wrap(lockedLinks{disk, &c.mu.Mutex}, errorfs.InjectorFunc(c.copy)), c
}

// All lists the crashes.
func (c *Crashes[S]) All() []Crash[S] { return c.mu.all }

func (c *Crashes[S]) copy(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.points++
	for seed, kept := range Kept {
		before := c.state() // what is there by then is in the copy
		fs := Left(c.disk, kept, c.mu.points, uint64(seed))
		c.mu.all = append(c.mu.all, Crash[S]{fs, before, c.state(),
			fmt.Sprintf("crash %d.%d before %v of %s, %d%% kept", c.mu.points, seed, op.Kind, op.Path, kept)})
	}
	return nil
}

// Left is a disk after a crash that leaves so much of what was not synced.
func Left(disk *vfs.MemFS, kept int, seed, stream uint64) *vfs.MemFS {
	return disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: rand.New(rand.NewPCG(seed, stream))})
}

// lockedLinks keeps MemFS from dead-locking: its Link takes a read lock twice, and CrashClone wants to write in between.
type lockedLinks struct {
	*vfs.MemFS
	mu *sync.Mutex
}

// Link implements vfs.FS.
func (l lockedLinks) Link(from, to string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.MemFS.Link(from, to)
}

// FailAt returns a file system on disk whose n-th operation fails, from 0 on, reads included. what says which that was; ""
// if it has not come.
func FailAt(disk vfs.FS, n int) (fs vfs.FS, what func() string) {
	var mu sync.Mutex
	count, failed := 0, ""
	inject := func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if count++; count-1 != n {
			return nil
		}
		failed = fmt.Sprintf("error %d at %v of %s", n, op.Kind, op.Path)
		return errorfs.ErrInjected
	}
	return errorfs.Wrap(disk, errorfs.InjectorFunc(inject)), func() string {
		mu.Lock()
		defer mu.Unlock()
		return failed
	}
}
