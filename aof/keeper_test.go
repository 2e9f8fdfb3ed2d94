package aof

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The next segment is filled in steps with rests between them, as long as the current one has much room; it is filled
// all the same.
func TestFillingRests(t *testing.T) {
	const steps = 4
	rests := 0
	o, _ := testOptions(vfs.NewMem())
	o.SegmentSize = steps * fillStep
	o.Rest = func() { rests++ }
	l := mustOpen(t, o)
	l.mu.Lock()
	for l.mu.next == nil {
		l.changed.Wait()
	}
	size := l.mu.next.size
	l.mu.Unlock()
	if rests != steps-1 || size != steps*fillStep {
		t.Errorf("%d rests, %d bytes are filled", rests, size)
	}
	l.mu.Lock()
	for _, c := range []struct {
		end    int64
		retire bool
		want   bool
	}{{1000, false, true}, {fillStep, false, true}, {fillStep + 1, false, false}, {1000, true, false}} {
		end, retire := l.currentLocked().end, l.mu.retire
		l.currentLocked().end, l.mu.retire = c.end, c.retire
		got := l.wellAheadLocked(2 * fillStep)
		l.currentLocked().end, l.mu.retire = end, retire
		if got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	l.mu.Unlock()
	must(t, l.Close())
}
