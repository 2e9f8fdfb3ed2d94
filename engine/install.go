package engine

import (
	"context"
	"fmt"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/store"
)

// Install goes over to another replica's state, which r has been given completely (Finish). Nobody reads or applies
// meanwhile; long reads under way are waited for until ctx ends, new ones are refused. Who holds the engine goes on with
// the new state. No Apply and no checkpoint may be under way.
//
// If it fails the engine is as before, unless Durable has changed: then the state is not usable, and the process has to end.
func (e *Engine) Install(ctx context.Context, r *store.Replacement) error {
	m := r.Meta()
	if err := keyspace.CheckState(m.State); err != nil {
		return fmt.Errorf("install the state at %d: %w", m.Index, err)
	}
	if at := e.applied.Load(); m.Index < at {
		return fmt.Errorf("install the state at %d: entry %d has been applied", m.Index, at)
	}
	if err := r.Shut(ctx); err != nil {
		return fmt.Errorf("install the state at %d: %w", m.Index, err)
	}
	err := e.keys.Replace(func() error {
		if err := r.Commit(); err != nil {
			return err
		}
		e.applied.Store(m.Index)
		e.saved.store(e.done.load())
		return nil
	})
	if err != nil {
		return fmt.Errorf("install the state at %d: %w", m.Index, err)
	}
	return nil
}

// Seed is the hash seed that a checkpoint's state has.
func Seed(state []byte) (uint64, error) { return keyspace.StateSeed(state) }
