package server

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/resp"
)

// jam is what DEBUG LARDER-DISK does to a node's disk: for a while, what is written to the log and to the stable file does
// not come to an end, as on a disk that has stopped answering. Nothing fails, and nothing that is on the disk is lost.
type jam struct {
	until atomic.Int64 // since began; 0: there has been none
}

// jamPause is how soon a writer notices that the jam is over.
const jamPause = 5 * time.Millisecond

// pass waits while the disk is jammed.
func (j *jam) pass() {
	for until := j.until.Load(); until > 0 && time.Duration(until) > time.Since(began); until = j.until.Load() {
		time.Sleep(jamPause)
	}
}

// set jams the disk for so long; 0 ends it.
func (j *jam) set(d time.Duration) { j.until.Store(int64(time.Since(began) + d)) }

// longestJam bounds DEBUG LARDER-DISK, milliseconds: so long may a stop have to wait.
const longestJam = 60_000

// debugDisk is DEBUG LARDER-DISK milliseconds.
func debugDisk(s *session, args [][]byte, w *resp.Writer) {
	ms, err := strconv.ParseInt(string(args[2]), 10, 64)
	if err != nil || ms < 0 || ms > longestJam {
		w.Error("ERR value is not an integer or out of range")
		return
	}
	s.server.node.jam.set(time.Duration(ms) * time.Millisecond)
	w.Simple(reply.OK)
}

// jammedFS is the log's file system.
type jammedFS struct {
	vfs.FS
	jam *jam
}

// Unwrap implements vfs.FS.
func (fs jammedFS) Unwrap() vfs.FS { return fs.FS }

// OpenReadWrite implements vfs.FS: it opens what the log is written to.
func (fs jammedFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.FS.OpenReadWrite(name, category, opts...)
	if err != nil {
		return nil, err
	}
	return jammedFile{f, fs.jam}, nil
}

// jammedFile is a file of the log.
type jammedFile struct {
	vfs.File
	jam *jam
}

// WriteAt implements vfs.File.
func (f jammedFile) WriteAt(b []byte, offset int64) (int, error) {
	f.jam.pass()
	return f.File.WriteAt(b, offset)
}

// Sync implements vfs.File.
func (f jammedFile) Sync() error {
	f.jam.pass()
	return f.File.Sync()
}

// SyncData implements vfs.File.
func (f jammedFile) SyncData() error {
	f.jam.pass()
	return f.File.SyncData()
}

// jammedStable is a group's stable store.
type jammedStable struct {
	raft.StableStore
	jam *jam
}

// Set implements raft.StableStore.
func (s jammedStable) Set(key, value []byte) error {
	s.jam.pass()
	return s.StableStore.Set(key, value)
}

// SetUint64 implements raft.StableStore.
func (s jammedStable) SetUint64(key []byte, v uint64) error {
	s.jam.pass()
	return s.StableStore.SetUint64(key, v)
}
