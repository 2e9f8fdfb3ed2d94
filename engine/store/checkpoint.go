package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

var errCheckpointOver = errors.New("store: the checkpoint is over")

// Checkpoint builds the tables of one change of the store. Drops come first, then Set and Delete in the order of
// (position, key), then Commit or Abort. An error of any method is final: Abort is what is left. It belongs to one goroutine.
type Checkpoint struct {
	store   *Store
	tables  tables
	due     []dueRecord
	trim    bool
	trimTo  int64
	started bool // records have been written: too late for drops
	over    bool
	err     error
	stored  []byte // buffer for the stored key
}

// dueRecord is a DueKey in 24 bytes: a checkpoint holds one for each key with a time to live until it is committed.
type dueRecord struct {
	at        int64
	namespace uint32
	hashLow   uint32
	hashHigh  uint16
	slot      uint16
}

func (r dueRecord) compare(o dueRecord) int {
	if c := cmp.Compare(r.at, o.at); c != 0 {
		return c
	}
	if c := cmp.Compare(r.namespace, o.namespace); c != 0 {
		return c
	}
	if c := cmp.Compare(r.slot, o.slot); c != 0 {
		return c
	}
	if c := cmp.Compare(r.hashHigh, o.hashHigh); c != 0 {
		return c
	}
	return cmp.Compare(r.hashLow, o.hashLow)
}

// NewCheckpoint starts the next checkpoint. It fails while another one is open.
func (s *Store) NewCheckpoint() (*Checkpoint, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	if err := s.hold(func(h *holds) error {
		if h.checkpoint {
			return errors.New("store: another checkpoint is open")
		}
		h.checkpoint = true
		return nil
	}); err != nil {
		return nil, err
	}
	c := &Checkpoint{store: s, tables: tables{
		fs: s.fs, dir: s.ingestDir, size: uint64(s.options.TableSize), options: s.writerOptions,
	}}
	if err := s.fs.MkdirAll(s.ingestDir, 0o755); err != nil {
		c.end()
		return nil, fmt.Errorf("store: %w", err)
	}
	return c, nil
}

// DropNamespace removes all that the store has in a name space. Set in the same checkpoint survives: it is as if drops
// came first. Must come before the first Set or Delete.
func (c *Checkpoint) DropNamespace(ns uint32) { c.drop(InNamespace(ns)) }

// DropSlot removes all that the store has in one slot of a name space, as DropNamespace does.
func (c *Checkpoint) DropSlot(ns uint32, slot uint16) { c.drop(InSlot(ns, slot)) }

// DropRun removes what the store has between two hashes of one slot, the second excluded, as DropNamespace does.
func (c *Checkpoint) DropRun(ns uint32, slot uint16, from, to uint64) {
	c.drop(InRun(ns, slot, from, to))
}

func (c *Checkpoint) drop(r Range) {
	if c.started && c.err == nil {
		c.err = errors.New("store: a drop after the first record of a checkpoint")
	}
	c.tables.drops.add(r)
}

// TrimDue removes the index records with a deadline <= until that earlier checkpoints wrote; those of this one stay.
// May come at any time before Commit.
func (c *Checkpoint) TrimDue(until int64) {
	if !c.trim || until > c.trimTo {
		c.trim, c.trimTo = true, until
	}
}

// Set stores a key's record. With expire != 0 (Unix milliseconds) it also goes into the deadline index. Key and value
// are copied.
func (c *Checkpoint) Set(p Position, key, value []byte, expire int64) error {
	if err := c.begin(p); err != nil {
		return err
	}
	if expire != 0 {
		c.due = append(c.due, dueRecord{at: expire, namespace: p.Namespace, slot: p.Slot,
			hashHigh: uint16(p.Hash >> 32), hashLow: uint32(p.Hash)})
	}
	c.stored = appendRecordKey(c.stored[:0], p, key)
	return c.note(c.tables.set(c.stored, value))
}

// Delete removes a key's record, if there is one.
func (c *Checkpoint) Delete(p Position, key []byte) error {
	if err := c.begin(p); err != nil {
		return err
	}
	c.stored = appendRecordKey(c.stored[:0], p, key)
	return c.note(c.tables.remove(c.stored))
}

// begin checks what every record needs, and settles the drops before the first.
func (c *Checkpoint) begin(p Position) error {
	switch {
	case c.over:
		return errCheckpointOver
	case c.err != nil:
		return c.err
	case p.Hash > maxNodeHash || p.Hash > maxHash && p.Namespace&Nodes == 0:
		return c.note(fmt.Errorf("store: hash %x has too many bits for name space %x", p.Hash, p.Namespace))
	}
	c.start()
	return nil
}

func (c *Checkpoint) start() {
	if !c.started {
		c.started = true
		c.tables.drops.settle()
	}
}

func (c *Checkpoint) note(err error) error {
	if err != nil && c.err == nil {
		c.err = err
	}
	return err
}

// Commit writes what is left, syncs, and brings everything in at once. When it returns nil the checkpoint is durable
// and visible. When it fails, the store is as before, unless Options.Fatal was called. The checkpoint is over either way.
func (c *Checkpoint) Commit(m Meta) error {
	if c.over {
		return errCheckpointOver
	}
	err := c.err
	if err == nil {
		err = c.commit(m)
	}
	if err != nil {
		return errors.Join(err, c.Abort())
	}
	c.end()
	return nil
}

func (c *Checkpoint) commit(m Meta) error {
	s := c.store
	if err := s.usable(); err != nil {
		return err
	}
	if old, ok := s.Meta(); ok && m.Index < old.Index {
		return fmt.Errorf("store: checkpoint at index %d, the store has %d", m.Index, old.Index)
	}
	c.start()
	if err := c.writeDue(); err != nil {
		return err
	}
	if err := c.tables.set(metaKey, appendMeta(nil, m)); err != nil {
		return err
	}
	if err := c.tables.finish(); err != nil {
		return err
	}
	if err := s.ingest(c.tables.paths); err != nil {
		return err
	}
	c.tables.paths = nil // they are Pebble's now
	return s.committed(m)
}

// writeDue writes the deadline index's records, which sort behind all keys.
func (c *Checkpoint) writeDue() error {
	if c.trim {
		c.tables.drops.add(dueRange(c.trimTo))
	}
	slices.SortFunc(c.due, dueRecord.compare)
	c.due = slices.Compact(c.due) // keys whose hashes collide share a record
	for _, r := range c.due {
		c.stored = appendDue(c.stored[:0], DueKey{At: r.at, Position: Position{Namespace: r.namespace, Slot: r.slot,
			Hash: uint64(r.hashHigh)<<32 | uint64(r.hashLow)}})
		if err := c.tables.set(c.stored, nil); err != nil {
			return err
		}
	}
	c.due = nil
	return nil
}

// Abort removes the tables. After Commit it does nothing, so it may be deferred.
func (c *Checkpoint) Abort() error {
	if c.over {
		return nil
	}
	err := c.tables.discard()
	c.end()
	return err
}

func (c *Checkpoint) end() {
	c.over = true
	c.due = nil
	_ = c.store.hold(func(h *holds) error { h.checkpoint = false; return nil })
}

// ingest hands the tables to Pebble: one version edit, so all of them or none, and they hold the meta record.
func (s *Store) ingest(paths []string) error {
	return s.await("ingest", func() error { return s.db.Ingest(context.Background(), paths) })
}
