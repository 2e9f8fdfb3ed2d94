package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/store"
)

// Pinned is a shard's last completed checkpoint, held as it is while checkpoints go on.
type Pinned struct {
	header Header
	view   *store.View
}

// Pin holds what the engine's store has. Cluster and shard are for the header.
func Pin(e *engine.Engine, cluster string, shard uint32) (*Pinned, error) {
	view, err := e.Store().View()
	if err != nil {
		return nil, err
	}
	m, ok := view.Meta()
	if !ok || m.Index == 0 {
		return nil, errors.Join(errors.New("snapshot: the shard has no checkpoint"), view.Close())
	}
	seed, err := engine.Seed(m.State)
	if err != nil {
		return nil, errors.Join(err, view.Close())
	}
	return &Pinned{view: view, header: Header{
		Cluster: cluster, Shard: shard, Seed: seed, Index: m.Index, Term: m.Term,
		Configuration: m.Configuration, ConfigurationIndex: m.ConfigurationIndex, State: m.State,
	}}, nil
}

// Header says what it is of.
func (p *Pinned) Header() Header { return p.header }

// Write writes the whole snapshot.
func (p *Pinned) Write(to io.Writer) (Totals, error) {
	w, err := NewWriter(to, p.header)
	if err != nil {
		return Totals{}, err
	}
	if err := p.view.Records(w.Add); err != nil {
		return Totals{}, err
	}
	return w.Close()
}

// Close lets the checkpoint go.
func (p *Pinned) Close() error { return p.view.Close() }

// Staged is a snapshot that has been read and checked, beside what a shard holds.
type Staged struct {
	header      Header
	engine      *engine.Engine
	replacement *store.Replacement
}

// Stage reads a snapshot of this shard, all of it, and keeps it aside. If it fails nothing is left.
func Stage(e *engine.Engine, cluster string, shard uint32, from io.Reader) (_ *Staged, err error) {
	r, err := NewReader(from)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := r.Header()
	if h.Cluster != cluster || h.Shard != shard {
		return nil, fmt.Errorf("snapshot of shard %d of cluster %q, this is shard %d of %q", h.Shard, h.Cluster, shard, cluster)
	}
	if seed, err := engine.Seed(h.State); err != nil || seed != h.Seed {
		return nil, errors.Join(fmt.Errorf("%w: its state is not of the header's seed", ErrCorrupt), err)
	}
	x, err := e.Store().NewReplacement()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.Abort())
		}
	}()
	for {
		key, value, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := x.Add(key, value); err != nil {
			return nil, err
		}
	}
	err = x.Finish(store.Meta{
		Index: h.Index, Term: h.Term, Configuration: h.Configuration, ConfigurationIndex: h.ConfigurationIndex, State: h.State,
	})
	if err != nil {
		return nil, err
	}
	return &Staged{header: h, engine: e, replacement: x}, nil
}

// Header says what it is of.
func (s *Staged) Header() Header { return s.header }

// Install puts it in the place of what the shard holds: see engine.Install.
func (s *Staged) Install(ctx context.Context) error { return s.engine.Install(ctx, s.replacement) }

// Discard removes it. After Install it does nothing, so it may be deferred.
func (s *Staged) Discard() error { return s.replacement.Abort() }
