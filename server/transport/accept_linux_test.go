package transport

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A listener that cannot accept for want of file descriptors neither spins nor stops for good.
func TestNoDescriptorsLeft(t *testing.T) {
	for _, kind := range []string{"epoll", "portable"} {
		t.Run(kind, func(t *testing.T) {
			var refused, ticks atomic.Int64
			h := newHouse(t, kind, func(_ *house, o *Options) {
				o.Loops = 1
				o.TickInterval = 5 * time.Millisecond
				o.OnTick = func(*Loop) { ticks.Add(1) }
				o.OnAcceptError = func(err error) {
					if !errors.Is(err, unix.EMFILE) {
						t.Error(err)
					}
					refused.Add(1)
				}
			})
			restore := leaveOneDescriptor(t)
			c := h.client() // takes the last one
			waitFor(t, "several refusals", func() bool { return refused.Load() > 3 })
			if got, most := refused.Load(), ticks.Load()+2; kind == "epoll" && got > most {
				t.Errorf("%d attempts in %d ticks", got, most)
			}
			restore()
			c.send("PING\r\n")
			c.expect("*1\r\n$4\r\nPING\r\n")
		})
	}
}

// leaveOneDescriptor makes the process run out of file descriptors after one more.
func leaveOneDescriptor(t *testing.T) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	lowestFree, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(lowestFree)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowestFree) + 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	restore = func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(restore)
	return restore
}
