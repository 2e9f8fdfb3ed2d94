package raftfsm

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
)

// fsm is what Raft applies committed entries to. All methods but StoreConfiguration run on Raft's FSM goroutine, so it
// needs no lock.
type fsm struct {
	engine   Engine
	group    uint32
	node     uint64
	inFlight *inFlight
	gate     *gate
	landed   func(engine.Footprint) // called for each of our own entries once it is applied
	sync     func() error
	fatal    func(error)

	applied uint64 // entries up to here are in the state already
	replay  uint64 // entries up to here were in the log at open: StoreLogs did not see them
	broken  bool   // an Apply failed: nothing more is applied

	checkpoints *checkpointGate
	pace        *applyPacer // nil: entries are applied as fast as can be

	responses []any // all nil; one slice for all batches

	configured atomic.Pointer[configured]
}

var (
	_ raft.BatchingFSM        = (*fsm)(nil)
	_ raft.ConfigurationStore = (*fsm)(nil)
)

func newFSM(o *Options, f *inFlight, g *gate, lastAtOpen uint64) *fsm {
	durable, _, _, _, _ := o.Engine.Durable()
	return &fsm{
		engine:   o.Engine,
		group:    o.Group,
		node:     o.Node,
		inFlight: f,
		gate:     g,
		sync:     o.Sync,
		fatal:    o.Fatal,
		landed:   func(engine.Footprint) {},
		applied:  max(durable, o.Engine.AppliedIndex()),
		replay:   lastAtOpen,

		checkpoints: &checkpointGate{},
	}
}

// ApplyBatch applies committed entries in their order. Configuration entries arrive here too; they are Raft's own
// business, and reach the store with the next checkpoint.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	for _, l := range logs {
		if l.Type == raft.LogCommand && l.Index > f.applied && l.Index <= f.replay {
			f.engine.Prefetch(l.Data) // look ahead: the fills of the whole batch run while its first entries are applied
		}
	}
	if own := f.own(logs); own > 0 {
		f.gate.arrived(own) // the next round is stored while this one is applied
	}
	for _, l := range logs {
		switch l.Type {
		case raft.LogCommand:
			if f.pace.paced() {
				f.pace.apply(func() {
					f.engine.Warm(l.Data, f.pace.step)
					f.apply(l)
				})
			} else {
				f.apply(l)
			}
		case raft.LogConfiguration:
			f.configure(l)
		}
	}
	if len(f.responses) < len(logs) {
		f.responses = make([]any, 2*len(logs))
	}
	return f.responses[:len(logs)]
}

// own counts the entries that this start of this node proposed.
func (f *fsm) own(logs []*raft.Log) (n int) {
	for _, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		if h, _, err := engine.DecodeHeader(l.Data); err == nil && f.isOwn(h) {
			n++
		}
	}
	return n
}

func (f *fsm) isOwn(h engine.Header) bool {
	return h.Origin.Node == f.node && h.Origin.Group == f.group
}

// Apply applies one entry.
func (f *fsm) Apply(l *raft.Log) any {
	f.apply(l)
	return nil
}

// StoreConfiguration has nothing to do: see ApplyBatch. Raft passes configurations on only if the method is there.
func (f *fsm) StoreConfiguration(uint64, raft.Configuration) {}

func (f *fsm) apply(l *raft.Log) {
	if l.Index <= f.applied {
		return
	}
	h, _, err := engine.DecodeHeader(l.Data)
	var p *Proposal
	var touches engine.Footprint
	var own bool
	if err == nil && f.isOwn(h) {
		p, touches, own = f.inFlight.take(h.Origin.Batch)
	}
	if err == nil && !f.broken {
		err = f.engine.Apply(l.Index, l.Term, l.Data, batchOf(p))
	}
	if err != nil && !f.broken {
		f.broken = true
		f.fatal(applyError(f.group, l, err))
	}
	if f.broken {
		err = fmt.Errorf("%w: this replica has stopped applying", ErrIndeterminate)
	} else {
		f.applied = l.Index
	}
	if own {
		f.landed(touches)
	}
	if p != nil {
		p.Done(p, err)
	}
}

func batchOf(p *Proposal) *engine.Batch {
	if p == nil {
		return nil
	}
	return p.Batch
}

// applyError says what an operator can do about an entry that could not be applied.
func applyError(group uint32, l *raft.Log, err error) error {
	if errors.Is(err, engine.ErrFeatureLevel) {
		return fmt.Errorf("shard %d, entry %d: a newer release wrote this entry; install that release (or a later one) "+
			"on this node and start it again, its data is untouched: %w", group, l.Index, err)
	}
	return fmt.Errorf("shard %d: apply entry %d of term %d: %w", group, l.Index, l.Term, err)
}

// Snapshot begins a checkpoint. Apply is at rest meanwhile.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.broken {
		return nil, fmt.Errorf("shard %d has stopped applying", f.group)
	}
	c, err := f.checkpoints.enter(f.engine.BeginCheckpoint)
	if err != nil {
		return nil, fmt.Errorf("begin a checkpoint: %w", err)
	}
	durable, _, _, _, _ := f.engine.Durable()
	return &begunCheckpoint{checkpoint: c, sync: f.sync, durable: durable, applied: f.applied}, nil
}

// Restore is never called: the store is the state, and a snapshot from another node replaces the store beneath a stopped
// Raft.
func (f *fsm) Restore(from io.ReadCloser) error {
	return errors.Join(errors.New("the shard's state does not come from Raft snapshots"), from.Close())
}
