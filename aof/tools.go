package aof

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// The tools read a folder and change nothing. They are for the folder of a stopped node: one that runs
// may take files away while they are read.

// Check verifies the whole log and writes what it found. It returns the first damage.
func Check(fs vfs.FS, dir string, w io.Writer) error {
	ld, err := load(fs, dir, openForReading(fs))
	defer ld.close()
	out := &report{w: w}
	for i, s := range ld.segments {
		if s.end == 0 {
			out.printf("%s: incarnation %016x, not read to its end\n", fs.PathBase(s.path), s.incarnation)
			continue
		}
		note := ""
		if i == len(ld.segments)-1 && !ld.closed {
			note = ", not closed in order: what was behind this was not yet on stable storage, and is not used"
		}
		out.printf("%s: incarnation %016x, records up to offset %d%s\n", fs.PathBase(s.path), s.incarnation, s.end, note)
	}
	if err != nil {
		out.printf("DAMAGED: %v\n", err)
		return errors.Join(err, out.err)
	}
	for _, id := range slices.Sorted(maps.Keys(ld.shards)) {
		e := ld.shards[id]
		out.printf("shard %d: entries %d to %d, %d bytes\n", id, e.firstIndex(), e.lastIndex(), e.bytes)
		// The records have been read, but not decompressed.
		if err := ld.each(id, func(*raft.Log) error { return nil }); err != nil {
			out.printf("DAMAGED: %v\n", err)
			return errors.Join(err, out.err)
		}
	}
	out.printf("%d records in %d segments check out\n", ld.records, len(ld.segments))
	return out.err
}

// Records calls fn for every live entry, shard by shard in order of their numbers, each in order of index.
// Entries at the end may never have been committed. A stand-in is a no-op.
func Records(fs vfs.FS, dir string, fn func(shard uint64, log *raft.Log) error) error {
	ld, err := load(fs, dir, openForReading(fs))
	defer ld.close()
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(ld.shards)) {
		if err := ld.each(id, func(log *raft.Log) error { return fn(id, log) }); err != nil {
			return err
		}
	}
	return nil
}

// each calls fn for the shard's live entries in order.
func (ld *loaded) each(id uint64, fn func(log *raft.Log) error) error {
	e := ld.shards[id]
	for i := range e.places.n {
		index := e.first + uint64(i)
		p, segment, _ := e.find(index)
		var log raft.Log
		if err := readEntry(segment, p, id, index, &log); err != nil {
			return err
		}
		if err := fn(&log); err != nil {
			return fmt.Errorf("entry %d of shard %d: %w", index, id, err)
		}
	}
	return nil
}

// Cat writes a line for every live entry: shard, index, term, type, time, size, and what decode makes of a command.
// If decode is nil, commands are not shown.
func Cat(fs vfs.FS, dir string, w io.Writer, decode func(shard uint64, log *raft.Log) (string, error)) error {
	return Records(fs, dir, func(shard uint64, log *raft.Log) error {
		text := ""
		if decode != nil && log.Type == raft.LogCommand {
			decoded, err := decode(shard, log)
			if err != nil {
				return fmt.Errorf("decoding: %w", err)
			}
			text = " " + decoded
		}
		at := "-"
		if !log.AppendedAt.IsZero() {
			at = log.AppendedAt.UTC().Format(time.RFC3339Nano)
		}
		_, err := fmt.Fprintf(w, "shard=%d index=%d term=%d type=%s time=%s bytes=%d%s\n",
			shard, log.Index, log.Term, log.Type, at, len(log.Data), text)
		return err
	})
}

// report remembers the first error of writing to w.
type report struct {
	w   io.Writer
	err error
}

func (r *report) printf(format string, args ...any) {
	if r.err == nil {
		_, r.err = fmt.Fprintf(r.w, format, args...)
	}
}
