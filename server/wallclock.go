package server

import (
	"strconv"
	"sync"
	"time"

	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/resp"
)

// wallClock is what the shards take for the machine's wall clock. DEBUG LARDER-CLOCK moves it, as an operator or a
// broken time service would move the machine's: real time, which is the monotonic reading, goes on undisturbed.
type wallClock struct {
	mu struct {
		sync.Mutex
		shift time.Duration // at the moment of since
		skew  int64         // parts in a million by which it runs fast
		since time.Time
	}
}

// offset is how far the clock is ahead of the machine's at the moment t.
func (c *wallClock) offset(t time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.shift + time.Duration(float64(t.Sub(c.mu.since))*float64(c.mu.skew)/1e6)
}

// set moves the clock ahead of the machine's by shift, and lets it run fast by skew parts in a million from t on.
func (c *wallClock) set(t time.Time, shift time.Duration, skew int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.shift, c.mu.skew, c.mu.since = shift, skew, t
}

// Bounds of DEBUG LARDER-CLOCK: a year, and twice as fast or standing still.
const (
	longestShift = int64(365 * 24 * time.Hour / time.Millisecond)
	greatestSkew = 1_000_000
)

// debugClock is DEBUG LARDER-CLOCK shift-ms [skew-ppm].
func debugClock(s *session, args [][]byte, w *resp.Writer) {
	if len(args) > 4 {
		debugUnknown(args, w)
		return
	}
	bounds, numbers := [2]int64{longestShift, greatestSkew}, [2]int64{}
	for i, arg := range args[2:] {
		n, err := strconv.ParseInt(string(arg), 10, 64)
		if err != nil || n > bounds[i] || n < -bounds[i] {
			w.Error("ERR value is not an integer or out of range")
			return
		}
		numbers[i] = n
	}
	s.server.node.wall.set(time.Now(), time.Duration(numbers[0])*time.Millisecond, numbers[1])
	w.Simple(reply.OK)
}
