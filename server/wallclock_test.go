package server

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestWallClockShiftsAndSkews(t *testing.T) {
	at := time.Unix(1000, 0)
	var c wallClock
	if got := c.offset(at); got != 0 {
		t.Errorf("untouched: %v", got)
	}
	c.set(at, -time.Hour, 500)
	for passed, want := range map[time.Duration]time.Duration{
		0:                -time.Hour,
		time.Second:      -time.Hour + 500*time.Microsecond,
		20 * time.Minute: -time.Hour + 600*time.Millisecond,
	} {
		if got := c.offset(at.Add(passed)); got != want {
			t.Errorf("after %v: %v, want %v", passed, got, want)
		}
	}
}

// TestDebugClock: the data's time follows a small shift at once, and a leap only gradually.
func TestDebugClock(t *testing.T) {
	t.Parallel()
	c := start(t, "enable-debug-command yes").dial()
	left := func() int {
		reply := c.do("PTTL", "k")
		n, err := strconv.Atoi(strings.TrimSpace(reply[1:]))
		if err != nil {
			t.Fatalf("PTTL: %q", reply)
		}
		return n
	}
	wants := func(reply string, args ...string) {
		t.Helper()
		if got := c.do(args...); got != reply {
			t.Errorf("%v: %q, want %q", args, got, reply)
		}
	}
	c.do("SET", "k", "v", "PX", "1000000")
	wants("+OK\r\n", "DEBUG", "LARDER-CLOCK", "900")
	if n := left(); n > 1000000-900 {
		t.Errorf("900 ms ahead, %d ms are left", n)
	}
	wants("+OK\r\n", "DEBUG", "LARDER-CLOCK", "3600000", "-200")
	if n := left(); n < 0 {
		t.Errorf("an hour ahead, and the key is gone at once: %d", n)
	}
	const bad = "-ERR value is not an integer or out of range\r\n"
	wants(bad, "DEBUG", "LARDER-CLOCK", "x")
	wants(bad, "DEBUG", "LARDER-CLOCK", "0", "1000001")
	wants(bad, "DEBUG", "LARDER-CLOCK", "99999999999")
}
