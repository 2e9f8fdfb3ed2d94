package raftfsm

import (
	"sync"
	"time"
)

// slewedClock is the shard's clock: entries are stamped with it, and reads judge times to live by it. It never goes
// back. While the machine runs undisturbed it is the wall clock. When the wall clock leaps, it slews:
//
//   - ahead by up to a second: it follows at once;
//   - ahead by more: it runs at one and a half times real time until it has caught up, so that an hour's leap does not
//     let an hour's times to live end in one moment;
//   - back, or behind an applied stamp (an earlier leader's clock was fast): it runs at half of real time until the wall
//     clock has caught up, so that time never stands still for a time to live.
//
// Real time is the monotonic reading of the clock that is handed in; where there is none, leaps cannot be told from
// time that passed.
type slewedClock struct {
	source func() time.Time
	shift  func(time.Time) time.Duration // of the wall clock only; may be nil

	mu struct {
		sync.Mutex
		started bool
		origin  time.Time     // the first reading
		real    time.Duration // monotonic time since origin, at the last reading
		now     int64         // Unix nanoseconds
	}
}

// followAtOnce is the greatest leap ahead that is not slewed.
const followAtOnce = time.Second

func newSlewedClock(source func() time.Time) *slewedClock { return &slewedClock{source: source} }

// read returns the clock in Unix milliseconds, at least floor, and the real time since the first reading.
func (c *slewedClock) read(floor int64) (now int64, since time.Duration) {
	t := c.source()
	wall := t.UnixNano()
	if c.shift != nil {
		wall += int64(c.shift(t))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.started {
		c.mu.started, c.mu.origin, c.mu.now = true, t, wall
	}
	c.mu.now = slew(c.mu.now, wall, t.Sub(c.mu.origin)-c.mu.real)
	c.mu.real = max(c.mu.real, t.Sub(c.mu.origin)) // readings of two goroutines may arrive in the wrong order
	c.mu.now = max(c.mu.now, floor*int64(time.Millisecond))
	return c.mu.now / int64(time.Millisecond), c.mu.real
}

// slew moves the clock on by the real time that has passed, towards the wall clock. All but passed are Unix nanoseconds.
func slew(now, wall int64, passed time.Duration) int64 {
	passed = max(passed, 0)
	switch ahead := wall - now - int64(passed); {
	case ahead > int64(followAtOnce):
		return min(wall, now+int64(passed)+int64(passed)/2)
	case ahead >= 0:
		return wall
	default:
		return max(wall, now+int64(passed)/2)
	}
}
