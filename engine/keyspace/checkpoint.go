package keyspace

import (
	"errors"
	"maps"
	"sync/atomic"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/store"
	"github.com/larder-db/larder/engine/value"
)

// Checkpoint moves the store forward to the moment at which it was begun. Exactly one of Commit and Cancel ends it.
type Checkpoint struct {
	ks      *Keyspace
	walk    *front.Walk
	turn    turn
	dropped []uint32
	gone    []deadCollection          // what it removes from the store
	dead    map[collectionID]struct{} // collections whose nodes it passes over
	trim    int64
	over    bool
	Pace    func() // called between bounded steps of work; nil: none

	interrupted atomic.Bool
}

const (
	walkStep   = 256 // entries copied per step under the shared lock
	settleStep = 256 // entries settled per step under the exclusive lock
)

// ErrCheckpointing reports that a checkpoint is under way already.
var ErrCheckpointing = errors.New("a checkpoint is under way")

// ErrInterrupted is what Commit fails with after Interrupt.
var ErrInterrupted = errors.New("the checkpoint was interrupted")

// BeginCheckpoint turns the dirty epoch: what has changed so far is the checkpoint's. It is called with Apply at rest
// and takes microseconds.
func (ks *Keyspace) BeginCheckpoint() (*Checkpoint, error) {
	if !ks.checkpointing.CompareAndSwap(false, true) {
		return nil, ErrCheckpointing
	}
	ks.mu.Lock()
	defer ks.mu.Unlock()
	c := &Checkpoint{ks: ks, walk: ks.front.BeginCheckpoint(), turn: ks.turnLocked(), dropped: ks.mu.dropped, trim: ks.due.trimmable()}
	c.gone, c.dead = ks.mu.toDrop, maps.Clone(ks.mu.dead)
	ks.mu.dropped, ks.mu.toDrop = nil, nil
	return c, nil
}

// Commit writes everything and makes it durable as the state at index, in one step. If it fails, the store is what it
// was and all that was dirty is dirty again.
func (c *Checkpoint) Commit(index, term uint64, configuration []byte, configurationIndex uint64) error {
	if c.over {
		return errors.New("the checkpoint is over")
	}
	spaces, counts := c.walk.Counts()
	m := store.Meta{Index: index, Term: term, Configuration: configuration, ConfigurationIndex: configurationIndex, State: c.turn.encode(spaces, counts)}
	err := c.write(m)
	if err == nil {
		c.ks.stored.Store(c.turn.keys)
	}
	c.end(err == nil)
	return err
}

// Interrupt makes a Commit that is under way, or comes later, fail within one step of its walk. A Commit that is past its
// walk succeeds. It may be called by any goroutine.
func (c *Checkpoint) Interrupt() { c.interrupted.Store(true) }

// Cancel gives the dirty epoch back. After Commit it does nothing.
func (c *Checkpoint) Cancel() {
	if !c.over {
		c.end(false)
	}
}

func (c *Checkpoint) write(m store.Meta) (err error) {
	out, err := c.ks.store.NewCheckpoint()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Abort())
		}
	}()
	for _, ns := range c.dropped {
		out.DropNamespace(ns)
		out.DropNamespace(ns | store.Nodes)
	}
	for _, d := range c.gone {
		out.DropRun(d.space.Number, d.slot, d.number<<value.NodeBits, (d.number+1)<<value.NodeBits)
	}
	if c.trim > 0 {
		out.TrimDue(c.trim)
	}
	batch := records{dead: c.dead}
	for more := true; more; {
		if c.interrupted.Load() {
			return ErrInterrupted
		}
		batch.reset()
		c.ks.mu.RLock()
		_, _, more = c.walk.Step(walkStep, batch.add)
		err = c.walk.Err()
		c.ks.mu.RUnlock()
		if err != nil {
			return err
		}
		if err := batch.write(out); err != nil {
			return err
		}
		c.rest()
	}
	return out.Commit(m)
}

func (c *Checkpoint) rest() {
	if c.Pace != nil {
		c.Pace()
	}
}

// end settles the front's entries and lets the next checkpoint begin. It rests between its steps as the walk does: who takes
// the lock again and again leaves little of it to Apply. Who interrupts it waits for the end.
func (c *Checkpoint) end(durable bool) {
	c.over = true
	ks := c.ks
	for more := true; more; {
		ks.mu.Lock()
		if !durable {
			ks.mu.dropped = append(c.dropped, ks.mu.dropped...)
			ks.mu.toDrop = append(c.gone, ks.mu.toDrop...)
			c.dropped, c.gone = nil, nil
		}
		more = c.walk.Settle(durable, settleStep)
		ks.mu.Unlock()
		if more && !c.interrupted.Load() {
			c.rest()
		}
	}
	if durable {
		ks.bury(c.gone)
		ks.due.reset()
	}
	ks.checkpointing.Store(false)
}

// Checkpointing says whether a checkpoint is under way.
func (ks *Keyspace) Checkpointing() bool { return ks.checkpointing.Load() }

// records are copies of what one step of a walk met.
type records struct {
	list []copiedRecord
	buf  []byte
	dead map[collectionID]struct{}
}

type copiedRecord struct {
	position  store.Position
	key, end  int // in buf: the key begins at key, the record stands between it and end
	keyLen    int
	tombstone bool
	expire    int64
}

func (r *records) reset() { r.list, r.buf = r.list[:0], r.buf[:0] }

func (r *records) add(x front.Record) {
	if x.Space&store.Nodes != 0 && len(r.dead) > 0 {
		if _, dead := r.dead[collectionID{x.Space, x.Slot, x.Hash >> value.NodeBits}]; dead {
			return
		}
	}
	at := len(r.buf)
	r.buf = append(r.buf, x.Key...)
	if !x.Tombstone {
		r.buf = appendRecord(r.buf, x.Item)
	}
	r.list = append(r.list, copiedRecord{
		position: store.Position{Namespace: x.Space, Slot: x.Slot, Hash: x.Hash},
		key:      at, keyLen: len(x.Key), end: len(r.buf),
		tombstone: x.Tombstone, expire: x.Expire,
	})
}

func (r *records) write(out *store.Checkpoint) error {
	for _, x := range r.list {
		key, record := r.buf[x.key:x.key+x.keyLen], r.buf[x.key+x.keyLen:x.end]
		var err error
		if x.tombstone {
			err = out.Delete(x.position, key)
		} else {
			err = out.Set(x.position, key, record, x.expire)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
