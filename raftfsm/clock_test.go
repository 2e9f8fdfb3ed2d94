package raftfsm

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSlew(t *testing.T) {
	const s = int64(time.Second)
	for _, c := range []struct {
		name      string
		now, wall int64
		passed    time.Duration
		want      int64
	}{
		{"undisturbed", 100 * s, 110 * s, 10 * time.Second, 110 * s},
		{"a little ahead", 100 * s, 110*s + s/2, 10 * time.Second, 110*s + s/2},
		{"an hour ahead", 100 * s, 3710 * s, 10 * time.Second, 115 * s},
		{"caught up", 100 * s, 103 * s, 4 * time.Second / 2, 103 * s},
		{"catches up but does not overtake", 100 * s, 112 * s, 10 * time.Second, 112 * s},
		{"an hour back", 4000 * s, 410 * s, 10 * time.Second, 4005 * s},
		{"a little back", 100 * s, 107 * s, 10 * time.Second, 107 * s},
		{"no time passed, wall went back", 100 * s, 50 * s, 0, 100 * s},
		{"readings in the wrong order", 100 * s, 99 * s, -time.Second, 100 * s},
	} {
		if got := slew(c.now, c.wall, c.passed); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, time.Duration(got), time.Duration(c.want))
		}
	}
}

func TestSlewNeverGoesBackNorTooFast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := rapid.Int64Range(0, 1<<61).Draw(t, "now")
		wall := now + rapid.Int64Range(-1<<45, 1<<45).Draw(t, "ahead")
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			passed := time.Duration(rapid.Int64Range(0, 1<<35).Draw(t, "passed"))
			wall += int64(passed) + rapid.SampledFrom([]int64{0, 0, 0, -1 << 40, 1 << 40, 1 << 20}).Draw(t, "leap")
			next := slew(now, wall, passed)
			if next < now || next-now > int64(passed)+max(int64(passed)/2, int64(followAtOnce)) {
				t.Fatalf("from %d to %d in %d", now, next, passed)
			}
			if next > wall && next-now > int64(passed)/2+1 {
				t.Fatalf("ahead of the wall clock and still faster than half: %d to %d in %d", now, next, passed)
			}
			now = next
		}
	})
}

func TestClockIsNotBehindWhatWasApplied(t *testing.T) {
	at := time.UnixMilli(1_000_000)
	c := newSlewedClock(func() time.Time { return at })
	if now, _ := c.read(0); now != 1_000_000 {
		t.Fatal(now)
	}
	if now, _ := c.read(5_000_000); now != 5_000_000 {
		t.Fatal(now)
	}
	at = at.Add(10 * time.Second)
	now, since := c.read(0)
	if now != 5_005_000 || since != 10*time.Second {
		t.Fatal(now, since)
	}
}
