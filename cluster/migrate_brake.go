package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrBusy: a shard takes no slots or no records now. Nothing was done; the migration waits, as long as it may.
var ErrBusy = errors.New("the shard takes no slots now")

// busy is an ErrBusy with its reason.
type busy struct{ reason string }

func (b busy) Error() string        { return b.reason }
func (b busy) Is(target error) bool { return target == ErrBusy }

// Busy is an error that wraps ErrBusy.
func Busy(format string, args ...any) error { return busy{fmt.Sprintf(format, args...)} }

// Receives says whether a shard with that many voters may be given a migration's slots. What it acknowledges has to be on as
// many nodes as what any shard does that is complete, as far as there are nodes; one that was added lately may have one replica
// yet. A migration that was decided does not wait.
func (d *Document) Receives(migration uint64, shard uint32, voters int) error {
	m, s := d.Migration(migration), d.Shard(shard)
	switch {
	case m == nil || s == nil:
		return Busy("migration %d is not known there", migration)
	case m.State != MigrationCopying:
		return nil
	}
	want := VotersOf(min(d.ReplicationFactor, len(d.upNodes())))
	if s.Pinned {
		want = VotersOf(len(s.Replicas))
	}
	if quorum := want/2 + 1; voters/2+1 < quorum {
		return Busy("shard %d has %d of %d voters", shard, voters, want)
	}
	return nil
}

// busyLook is how often a migration asks a shard again that is busy.
const busyLook = 100 * time.Millisecond

// Waits is what the migration waits for at the moment; empty: for nothing.
func (g *Migrator) Waits() string {
	if why := g.waits.Load(); why != nil {
		return *why
	}
	return ""
}

// await waits before a busy shard is asked again. It returns an error if the migration is not to wait.
func (r *migrationRun) await(ctx context.Context, cause error) error {
	if r.hurried {
		return cause
	}
	why := strings.ToValidUTF8(cause.Error(), "")
	r.g.waits.Store(&why)
	look := time.NewTimer(busyLook)
	defer look.Stop()
	select {
	case <-look.C:
		return r.wanted()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
