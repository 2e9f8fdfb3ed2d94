package store

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Defaults of Options.
const (
	DefaultTableSize = 32 << 20
	DefaultCacheSize = 8 << 20
)

// Options says where a store is and what it may use.
type Options struct {
	// FS is the file system; default: the operating system's.
	FS vfs.FS
	// Dir is the store's folder; it is made if it is not there.
	Dir string
	// Cache is the node's block cache. Without one, the store has DefaultCacheSize bytes of its own.
	Cache *Cache
	// Logger hears of compactions that failed and the like; default: slog.Default().
	Logger *slog.Logger
	// Fatal is called when the state on disk can no longer be known (the MANIFEST could not be written). The process
	// should end: a sync is never tried twice. If Fatal returns, every later call on the store fails. Default: log only.
	// It is called with Pebble's locks held: it must not call the store.
	Fatal func(error)
	// TableSize is the length at which a checkpoint starts its next table, bytes.
	TableSize int64
	// MaxSublevels is how many sublevels of level 0 make the store Busy.
	MaxSublevels int
	// HoldCompactions keeps compactions from running until AllowCompactions: a start that replays the log has better uses
	// for the processor.
	HoldCompactions bool
	// Yield is called every few dozen microseconds by whoever builds tables, compactions and checkpoints: a place to let
	// others run. Default: runtime.Gosched.
	Yield func()
}

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		o.Fatal = func(error) {}
	}
	if o.Yield == nil {
		o.Yield = runtime.Gosched
	}
	if o.TableSize == 0 {
		o.TableSize = DefaultTableSize
	}
	if o.MaxSublevels == 0 {
		o.MaxSublevels = 12
	}
}

// Validate reports every fault at once.
func (o *Options) Validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("store: Dir is empty"))
	}
	if o.TableSize < 4<<10 {
		errs = append(errs, fmt.Errorf("store: TableSize is %d bytes, at least 4096 are needed", o.TableSize))
	}
	if o.MaxSublevels < 1 {
		errs = append(errs, fmt.Errorf("store: MaxSublevels is %d, at least 1 is needed", o.MaxSublevels))
	}
	return errors.Join(errs...)
}

// Cache is a block cache, shared by all stores of a node. Its memory is outside the Go heap.
type Cache struct {
	blocks *pebble.Cache
}

// NewCache makes a block cache of that many bytes. Close it after the stores that use it.
func NewCache(bytes int64) *Cache { return &Cache{blocks: pebble.NewCache(bytes)} }

// Close gives up the owner's hold on the memory.
func (c *Cache) Close() { c.blocks.Unref() }
