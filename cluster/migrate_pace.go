package cluster

import (
	"context"
	"time"
)

// A migration moves millions of records beside clients, who are to notice as little as possible. What it puts into a log
// is applied by every replica, on machines that answer clients too; and it is never in a hurry but while slots are frozen.
// So it rests after each entry as long as that took, and longer once entries take longer than they did: then somebody else
// needs what it uses. While a checkpoint is taken it all but stands still.
const (
	slowEntry = 2                      // times what is usual: somebody waits
	slowRest  = 4                      // times what a slow entry took
	mostRest  = 100 * time.Millisecond // at a time
	usualRise = 64                     // what counts as usual rises by this part with each entry
)

// pacer says how long to rest.
type pacer struct {
	usual time.Duration // what an entry takes while nobody is in its way, as far as that was seen
}

// rest is how long to rest after an entry; busy: the node has other work in the background.
func (p *pacer) rest(took time.Duration, busy bool) time.Duration {
	if p.usual += p.usual/usualRise + 1; p.usual > took || p.usual == 1 {
		p.usual = took
	}
	switch {
	case busy:
		return mostRest
	case took > slowEntry*p.usual:
		return min(slowRest*took, mostRest)
	}
	return min(took, mostRest)
}

// paced does something that takes an entry, and rests.
func (r *migrationRun) paced(ctx context.Context, do func() error) error {
	begun := r.g.opts.Clock()
	if err := do(); err != nil || r.m.State == MigrationOwned { // frozen slots are copied anew without a rest
		return err
	}
	rest := time.NewTimer(r.pacer.rest(r.g.opts.Clock().Sub(begun), r.g.opts.Busy()))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done(): // whoever goes on meets it
	}
	return nil
}
