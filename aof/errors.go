package aof

import (
	"errors"
	"fmt"
)

var (
	// ErrDamaged is what every report of damage wraps; see DamageError.
	ErrDamaged = errors.New("the log is damaged")
	// ErrDead is returned by every call after a write or a sync has failed.
	ErrDead = errors.New("the log has failed and takes no more entries")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("the log is closed")
	// ErrNotContiguous is returned for entries that do not follow the shard's last one, and for the
	// deletion of a range inside the log.
	ErrNotContiguous = errors.New("the log would have a gap")
	// ErrTooLarge is returned for an entry above MaxEntrySize.
	ErrTooLarge = errors.New("the entry is too large for the log")
)

// DamageError says where the log's files contradict what was once synced.
type DamageError struct {
	Path   string
	Offset int64 // bytes from the start of the file
	Detail string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: %s; run `larder aof check` on the folder for a full report",
		e.Path, e.Offset, e.Detail)
}

// Unwrap makes errors.Is(err, ErrDamaged) true.
func (e *DamageError) Unwrap() error { return ErrDamaged }
