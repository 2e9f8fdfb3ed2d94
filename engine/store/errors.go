package store

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// ErrCorrupt is wrapped by every error about files that do not hold what was written to them.
var ErrCorrupt = errors.New("store is damaged")

// ErrClosed is returned by calls that come after Close.
var ErrClosed = errors.New("store is closed")

// advice ends every message about damage.
const advice = "take the folder away and restore the shard from a backup or a replica"

// errFailed is what Pebble's Fatalf becomes. It travels as a panic through Pebble's frames up to recovered.
type errFailed struct{ message string }

func (e *errFailed) Error() string {
	return "store can not be used any more, its state on disk is unknown until it is opened again: " + e.message
}

// explain turns an error of Pebble's into one that names the file and says what to do about damage.
func (s *Store) explain(doing string, err error) error {
	if err == nil || errors.Is(err, ErrCorrupt) {
		return err
	}
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		return fmt.Errorf("store: %s: %w: %s: %w; %s", doing, ErrCorrupt, info.Path, err, advice)
	}
	// A file whose length is not what the MANIFEST says has no error value of its own.
	if pebble.IsCorruptionError(err) || isNotExist(err) || strings.Contains(err.Error(), "object size mismatch") {
		return fmt.Errorf("store: %s: %w: %s: %w; %s", doing, ErrCorrupt, s.options.Dir, err, advice)
	}
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process") {
		return fmt.Errorf("store: %s: %s is in use, by another process or twice in this one: %w", doing, s.options.Dir, err)
	}
	return fmt.Errorf("store: %s: %s: %w", doing, s.options.Dir, err)
}

// recovered turns a panic of Pebble's into an error. Deferred around every call into Pebble.
func (s *Store) recovered(doing string, err *error) {
	r := recover()
	if r == nil {
		return
	}
	cause, ok := r.(error)
	var failed *errFailed
	switch {
	case !ok:
		cause = fmt.Errorf("%v", r)
	case errors.Is(cause, pebble.ErrClosed):
		*err = ErrClosed
		return
	case errors.As(cause, &failed):
		*err = fmt.Errorf("store: %s: %w", doing, failed)
		return
	}
	// Tables whose checksums are right are trusted by Pebble: what does not fit together ends in a panic.
	*err = fmt.Errorf("store: %s: %w: %s: %w; %s", doing, ErrCorrupt, s.options.Dir, cause, advice)
}

// await makes one of the calls that wait for Pebble's own goroutines. Should one of those end in Fatalf, there is nothing
// left to wait for: the call is left behind.
func (s *Store) await(doing string, call func() error) error {
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() { done <- err }()
		defer s.recovered(doing, &err)
		err = s.explain(doing, call())
	}()
	select {
	case err := <-done:
		return err
	case <-s.failing:
		return fmt.Errorf("store: %s: %w", doing, s.failed.Load())
	}
}

// fail makes every later call fail, and tells the owner.
func (s *Store) fail(message string) *errFailed {
	e := &errFailed{message: message}
	if s.failed.CompareAndSwap(nil, e) {
		s.options.Logger.Error("store failed: the process should end; the next start recovers",
			"folder", s.options.Dir, "error", message)
		close(s.failing)
		s.options.Fatal(e)
	}
	return s.failed.Load()
}

// failure is what made the store fail, or nil.
func (s *Store) failure() error {
	if e := s.failed.Load(); e != nil {
		return e
	}
	return nil
}

// usable says whether calls may still go to Pebble.
func (s *Store) usable() error {
	if e := s.failed.Load(); e != nil {
		return fmt.Errorf("store: %w", e)
	}
	if s.closed.Load() {
		return ErrClosed
	}
	return nil
}

// pebbleLogger is what Pebble logs to. Information is dropped: what an operator should know comes as events.
type pebbleLogger struct{ store *Store }

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.store.options.Logger.Error(fmt.Sprintf(format, args...), "folder", l.store.options.Dir)
}

// Fatalf reports what Pebble does not come back from: that the MANIFEST could not be written, above all.
func (l pebbleLogger) Fatalf(format string, args ...any) { l.store.fatal(fmt.Sprintf(format, args...)) }

// fatal does not return: Pebble would go on, and even remove tables that the MANIFEST may already name. If the owner's
// Fatal does return, a call of ours unwinds to recovered, with a panic; a goroutine of Pebble's own just ends, with
// its deferred calls, for a panic there would take the process down. Hence await.
func (s *Store) fatal(message string) {
	e := s.fail(message)
	if calledByStore() {
		panic(e)
	}
	runtime.Goexit()
}

// calledByStore looks for a method of Store, View or Iter below the frames of fatal.
func calledByStore() bool {
	var pcs [128]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.Contains(frame.Function, "engine/store.(*Store).") || strings.Contains(frame.Function, "engine/store.Open") ||
			strings.Contains(frame.Function, "engine/store.(*Iter).") || strings.Contains(frame.Function, "engine/store.(*View).") {
			return true
		}
		if !more {
			return false
		}
	}
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
