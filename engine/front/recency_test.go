package front

import (
	"math/rand/v2"
	"testing"
)

// TestCounterOfUsesGrowsAsRedisSays goes by the table in redis.conf: the counter after so many uses, by lfu-log-factor.
func TestCounterOfUsesGrowsAsRedisSays(t *testing.T) {
	for _, c := range []struct {
		factor uint32
		uses   int
		want   float64
	}{
		{0, 100, 104}, {0, 1000, 255}, {1, 100, 18}, {1, 1000, 49}, {1, 100_000, 255},
		{10, 100, 10}, {10, 1000, 18}, {10, 100_000, 142}, {100, 100, 8}, {100, 1000, 11}, {100, 100_000, 49},
	} {
		const runs = 20
		rng := rand.New(rand.NewPCG(uint64(c.factor), uint64(c.uses)))
		sum := 0.0
		for range runs {
			p, use := LFU{LogFactor: c.factor, DecayMinutes: 1}, FreshUse(1000)
			for range c.uses {
				use = p.Used(use, 1000, rng.Uint64())
			}
			sum += float64(p.Frequency(use, 1000))
		}
		if got := sum / runs; got < c.want*0.9-1 || got > c.want*1.1+1 {
			t.Errorf("factor %d, %d uses: the counter is %.1f, Redis's %v", c.factor, c.uses, got, c.want)
		}
	}
}

// TestCounterOfUsesFalls by one for every so many minutes on the clock that have begun since the last use.
func TestCounterOfUsesFalls(t *testing.T) {
	for _, c := range []struct {
		used, now, decay uint32
		from, want       uint8
	}{
		{0, 59, 1, 10, 10}, {0, 60, 1, 10, 9}, {59, 60, 1, 10, 9}, {60, 119, 1, 10, 10}, {59, 121, 1, 10, 8},
		{0, 600, 1, 10, 0}, {0, 6000, 1, 10, 0}, {0, 600, 3, 10, 7}, {0, 6000, 0, 10, 10}, {0, 119, 2, 10, 10}, {0, 120, 2, 10, 9},
		{1<<24 - 1, 1 << 24, 1, 10, 10}, // 16777216 s are 279620 minutes and 16 s: the clock's field begins anew
		{1<<24 - 17, 1 << 24, 1, 10, 9}, // across a full minute
	} {
		p := LFU{LogFactor: 10, DecayMinutes: c.decay}
		if got := p.Frequency(WithFrequency(c.used, c.from), c.now); got != c.want {
			t.Errorf("used at %d, %d at %d with %d minutes: %d, want %d", c.used, c.from, c.now, c.decay, got, c.want)
		}
		minutes := c.now/60 - c.used/60 // Redis's formula
		if c.decay > 0 {
			if want := uint32(c.from) - min(uint32(c.from), minutes/c.decay); want != uint32(c.want) {
				t.Errorf("used at %d, %d at %d with %d minutes: Redis has %d", c.used, c.from, c.now, c.decay, want)
			}
		}
	}
}

func TestIdle(t *testing.T) {
	for _, c := range []struct{ used, now, want uint32 }{
		{0, 0, 0}, {5, 9, 4}, {1<<24 - 2, 1<<24 + 3, 5}, {0, 1<<24 + 1, 1}, {1<<32 - 1, 4, 5},
	} {
		for _, use := range []uint32{FreshUse(c.used), UsedAt(77, c.used), WithFrequency(c.used, 255), LFU{}.Used(0, c.used, 1)} {
			if got := Idle(use, c.now); got != c.want {
				t.Errorf("used at %d, idle %d at %d, want %d", c.used, got, c.now, c.want)
			}
		}
	}
	if use := UsedAt(WithFrequency(3, 200), 9); (LFU{}).Frequency(use, 9) != 200 {
		t.Error("a use that is not counted changed the counter")
	}
}
