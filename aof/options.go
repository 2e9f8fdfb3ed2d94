package aof

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// SyncPolicy says when entries reach stable storage.
type SyncPolicy uint8

const (
	// Always syncs before an entry is acknowledged.
	Always SyncPolicy = iota
	// EverySec syncs once a second in the background.
	EverySec
	// No leaves it to the operating system, except at the end of a segment, at Sync and at Close.
	No
)

// String returns the policy as the configuration spells it.
func (p SyncPolicy) String() string {
	switch p {
	case Always:
		return "always"
	case EverySec:
		return "everysec"
	case No:
		return "no"
	}
	return fmt.Sprintf("SyncPolicy(%d)", uint8(p))
}

const (
	defaultSegmentSize = 64 << 20
	minSegmentSize     = 16 << 10
	maxSegmentSize     = 1 << 30
	maxBootIDLength    = 128
)

// Options are what Open needs. The zero value of every field but Dir is usable.
type Options struct {
	FS  vfs.FS // default: the operating system's
	Dir string
	// Policy at the start; SetPolicy changes it later.
	Policy SyncPolicy
	// SegmentSize in bytes, 16 KiB to 1 GiB, default 64 MiB. A segment that is needed before it is
	// completely filled with zeros is used as far as it is.
	SegmentSize int64
	// Random draws incarnations; default: the system's random source.
	Random func() uint64
	// Fatal is called once, when a write or a sync fails. The log is dead from then on. By default the
	// process ends with a line in the log.
	Fatal func(error)
	// Logger, default slog.Default().
	Logger *slog.Logger
	// BootID names the current run of the machine; by default the system is asked. If it is unknown,
	// every unclean stop counts as a loss of power.
	BootID string
	// Now measures how long syncs take; default time.Now.
	Now func() time.Time
	// Synced, if set, is told how long each sync took. The log's lock is held: it must be quick.
	Synced func(took time.Duration)
	// Rest, if set, is called between steps of filling a segment that is not needed for long.
	Rest func()
	// Ticks drives EverySec and the vouchers of an idle log; default: once a second.
	Ticks <-chan time.Time
}

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
	}
	if o.Random == nil {
		o.Random = systemRandom
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		logger := o.Logger
		o.Fatal = func(err error) {
			logger.Error("the log could not be written or synced; stopping, so that nothing is acknowledged that may be lost. "+
				"Check the disk, then start again", "error", err)
			os.Exit(1)
		}
	}
	if o.BootID == "" {
		o.BootID = systemBootID()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Validate reports every fault of the options.
func (o *Options) Validate() error {
	var faults []error
	if o.Dir == "" {
		faults = append(faults, errors.New("the log's folder is not set"))
	}
	if o.Policy > No {
		faults = append(faults, fmt.Errorf("unknown sync policy %d", o.Policy))
	}
	if o.SegmentSize < minSegmentSize || o.SegmentSize > maxSegmentSize || o.SegmentSize%alignment != 0 {
		faults = append(faults, fmt.Errorf("segment size %d is not a multiple of %d between %d and %d",
			o.SegmentSize, alignment, minSegmentSize, maxSegmentSize))
	}
	if len(o.BootID) > maxBootIDLength {
		faults = append(faults, fmt.Errorf("the boot ID has %d bytes, more than %d", len(o.BootID), maxBootIDLength))
	}
	return errors.Join(faults...)
}

// systemRandom never fails: crypto/rand ends the process if the system has no random source.
func systemRandom() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
