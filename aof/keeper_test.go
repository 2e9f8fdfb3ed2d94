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
	if rests != mostRests*(steps-1) || size != steps*fillStep {
		t.Errorf("%d rests, %d bytes are filled", rests, size)
	}
	l.mu.Lock()
	for _, c := range []struct {
		end, want int64
	}{{1000, mostRests}, {fillStep / 3, 3}, {fillStep, 1}, {fillStep + 1, 0}} {
		end := l.currentLocked().end
		l.currentLocked().end = c.end
		got := l.restsLocked(2 * fillStep)
		l.currentLocked().end = end
		if got != c.want {
			t.Errorf("%+v: %d rests", c, got)
		}
	}
	l.mu.Unlock()
	must(t, l.Close())
}

// Segments that may be retired neither wait for the end of filling nor make it hurry: each turn asks for both.
func TestFillingRestsWhileSegmentsRetire(t *testing.T) {
	const steps = 4
	var l *Log
	opened := make(chan struct{})
	rests, waiting := 0, 0
	o, _ := testOptions(vfs.NewMem())
	o.SegmentSize = steps * fillStep
	o.Rest = func() {
		<-opened
		l.mu.Lock()
		defer l.mu.Unlock()
		rests++
		if rests%mostRests == 1 {
			if l.mu.retire {
				waiting++
			}
			l.mu.retire = true
		}
	}
	l = mustOpen(t, o)
	close(opened)
	l.settle()
	if rests != mostRests*(steps-1) || waiting > 0 {
		t.Errorf("%d rests, at %d of which segments still wait to be retired", rests, waiting)
	}
	must(t, l.Close())
}

// A segment that nobody needs any more when the log turns is used again at once, instead of one that would have to be filled.
func TestTurningUsesWhatItRetires(t *testing.T) {
	o, _ := testOptions(vfs.NewMem())
	l := mustOpen(t, o)
	s := l.Shard(1)
	l.settle()
	must(t, s.StoreLogs(batch(1, 1, 1)))
	must(t, s.DeleteRange(1, 1))
	l.mu.Lock()
	first := l.currentLocked().seq
	if err := l.turnLocked(); err != nil {
		t.Error(err)
	}
	l.mu.Unlock()
	l.settle()
	l.mu.Lock()
	seq, spares, retired := l.mu.segments[0].seq, len(l.mu.spares), l.mu.segmentsRetired
	l.mu.Unlock()
	if seq != first+1 || retired != 1 || spares != 0 {
		t.Errorf("the log begins at segment %d, was at %d; %d retired, %d are spare", seq, first, retired, spares)
	}
	must(t, l.Close())
}
