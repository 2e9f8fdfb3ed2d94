package server

import (
	"bytes"
	"strconv"
	"time"

	"github.com/larder-db/larder/engine/command"
)

// loopFigures is what a loop counts beside its commands' statistics. It belongs to the loop's goroutine.
type loopFigures struct {
	hits, misses uint64 // reads of one key that found it, and that did not
	rate         rate
}

// rateSamples is over how many ticks the rate of commands is taken.
const rateSamples = 16

// rate remembers how many calls there were at the last ticks.
type rate struct {
	at    [rateSamples]time.Time
	calls [rateSamples]uint64
	next  int
}

func (r *rate) sample(now time.Time, calls uint64) {
	r.at[r.next], r.calls[r.next] = now, calls
	r.next = (r.next + 1) % rateSamples
}

// perSecond is the rate between the oldest sample and the newest.
func (r *rate) perSecond() float64 {
	newest := (r.next + rateSamples - 1) % rateSamples
	oldest := r.next
	if r.at[oldest].IsZero() {
		oldest = 0
	}
	span := r.at[newest].Sub(r.at[oldest])
	if span <= 0 || r.calls[newest] < r.calls[oldest] { // CONFIG RESETSTAT may have come between
		return 0
	}
	return float64(r.calls[newest]-r.calls[oldest]) / span.Seconds()
}

// calls is how many commands the loop has taken.
func (l *loop) calls() (n uint64) {
	for i := range l.stats {
		n += l.stats[i].calls
	}
	return n
}

// looksUp says whether a row reads one key, so that its reply tells a hit from a miss.
func looksUp(row *command.Command) bool {
	return row.Flags&command.ReadOnly != 0 && len(row.Keys) == 1 && row.Keys[0].First > 0 && row.Keys[0].First == row.Keys[0].Last
}

// lookedUp counts the reply of a read that looks a key up: a null is a miss, anything else a hit.
func (l *loop) lookedUp(reply []byte) {
	if bytes.HasPrefix(reply, []byte("$-")) || bytes.HasPrefix(reply, []byte("_")) {
		l.figures.misses++
		return
	}
	l.figures.hits++
}

// integerReply is the number in an integer reply, 0 if it is another.
func integerReply(reply []byte) int64 {
	if len(reply) < 4 || reply[0] != ':' {
		return 0
	}
	n, err := strconv.ParseInt(string(reply[1:len(reply)-2]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
