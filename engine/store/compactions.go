package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactions is Pebble's compaction scheduler: one compaction at a time, and none before Open is through, for an Open
// that fails late frees what a compaction uses. It needs no goroutine and no clock: a compaction that was refused is
// remembered by Pebble and asked for when there is room.
type compactions struct {
	db    pebble.DBForCompaction // set before all other calls
	yield func()                 // likewise
	mu    struct {
		sync.Mutex
		open    bool // between allow and Unregister
		running bool
		refused bool // somebody was turned away while grant looked for work
		grants  sync.WaitGroup
	}
}

// allow ends the wait for Open.
func (c *compactions) allow() {
	c.mu.Lock()
	c.mu.open = true
	c.mu.Unlock()
	c.grant()
}

// grant starts a compaction that waits, if there is room.
func (c *compactions) grant() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.mu.open && !c.mu.running {
		c.mu.running, c.mu.refused = true, false
		c.mu.grants.Add(1)
		c.mu.Unlock() // Pebble's locks come before ours
		waiting, _ := c.db.GetWaitingCompaction()
		started := waiting && c.db.Schedule(c)
		c.mu.Lock()
		c.mu.grants.Done()
		if started {
			return
		}
		c.mu.running = false
		if !c.mu.refused {
			return
		}
	}
}

// Register is called once, in Open.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) { c.db = db }

// Unregister returns when no compaction will be started any more.
func (c *compactions) Unregister() {
	c.mu.Lock()
	c.mu.open = false
	c.mu.Unlock()
	c.mu.grants.Wait()
}

// TrySchedule asks for leave to compact.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.open || c.mu.running {
		c.mu.refused = true
		return false, nil
	}
	c.mu.running = true
	return true, c
}

// UpdateGetAllowedWithoutPermission does nothing: one is what is allowed.
func (c *compactions) UpdateGetAllowedWithoutPermission() {}

// Started, MeasureCPU, CumulativeStats and Done hear of a compaction that runs.
func (c *compactions) Started() {}

// MeasureCPU is called at every block or so.
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats is called now and then: a place to let others run.
func (c *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) { c.yield() }

// Done ends a compaction.
func (c *compactions) Done() {
	c.mu.Lock()
	c.mu.running = false
	c.mu.Unlock()
	c.grant()
}
