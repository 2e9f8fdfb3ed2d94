package server

import (
	"math/bits"
	"time"

	"github.com/larder-db/larder/engine/command"
)

// How long commands take is measured with one reading of the clock for each, taken when it ends: the end of one is the
// beginning of the next, within a batch that is applied and within a run of reads. A reading costs some 25 ns, where a
// pipelined command costs two microseconds or more in all. What is measured is the work: neither waiting for the lock,
// nor for the log, nor for a worker's place. Of a read that a loop answers, taking the command from the socket's bytes is
// part; a cold read's time is the worker's, with the disk.

// origin is where readings of the clock count from.
var origin = time.Now()

// reading is the monotonic clock. It costs half of what time.Now does.
func reading() time.Duration { return time.Since(origin) }

// commandStat counts one command's calls on one loop.
type commandStat struct {
	calls, failed, rejected uint64
	spent                   time.Duration // by those that were timed
	histogram               [timeClasses]uint64
}

// Classes of durations: the i-th holds those below 2^(firstClass+i) ns that are in no class before it; the last, all
// that are longer.
const (
	timeClasses = 21
	firstClass  = 10 // a microsecond
)

// classOf is the class of a duration.
func classOf(took time.Duration) int {
	return min(max(bits.Len64(uint64(took))-firstClass, 0), timeClasses-1)
}

// classEnd is where a class ends, in microseconds, as LATENCY HISTOGRAM names it.
func classEnd(class int) int64 { return 1 << (firstClass + class) / 1000 }

// took adds the duration of one call.
func (c *commandStat) took(d time.Duration) {
	d = max(d, 0)
	c.spent += d
	c.histogram[classOf(d)]++
}

// timed is how many calls have a duration.
func (c *commandStat) timed() (n uint64) {
	for _, in := range c.histogram {
		n += in
	}
	return n
}

func (c *commandStat) add(d *commandStat) {
	c.calls += d.calls
	c.failed += d.failed
	c.rejected += d.rejected
	c.spent += d.spent
	for i, n := range d.histogram {
		c.histogram[i] += n
	}
}

// lap returns the time since the clock was read last on the loop.
func (l *loop) lap() time.Duration {
	now := reading()
	took := now - l.lapped
	l.lapped = now
	return took
}

// took notes how long a command of the session took, for INFO, SLOWLOG and LATENCY. It runs on the session's loop, while
// args are good; args may be nil where they are not.
func (s *session) took(e *entry, args [][]byte, d time.Duration) {
	s.loop.stats[e.id].took(d)
	if args != nil && s.server.isSlow(d) {
		s.server.slow.note(s, e, args, d)
	}
	event := eventCommand
	if e.row.Flags&command.Fast != 0 {
		event = eventFastCommand
	}
	s.server.node.delayed(event, d)
}
