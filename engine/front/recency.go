package front

import "math/bits"

// The recency word of an entry tells of its use, for LRU and LFU policies alike:
//
//	bits 8–31  time of the last use, seconds modulo 2^24 (194 days)
//	bits 0–7   how often it is used, on a logarithmic scale
//
// It is local and no part of the state. Readers under the shared lock load and store it whole: of two uses at the same
// moment one may go uncounted.

// NewFrequency is the counter of a key that was just made, so that it does not go before it had its chance.
const NewFrequency = 5

const (
	secondsShift  = 8
	secondsMask   = 1<<24 - 1
	mostFrequency = 1<<8 - 1
)

// FreshUse is the recency word of what is used for the first time at now, seconds.
func FreshUse(now uint32) uint32 { return now<<secondsShift | NewFrequency }

// UsedAt is the recency word with the time of its last use set to now; the counter stays.
func UsedAt(use, now uint32) uint32 { return now<<secondsShift | use&mostFrequency }

// WithFrequency is the recency word of what is used at now so often.
func WithFrequency(now uint32, frequency uint8) uint32 { return now<<secondsShift | uint32(frequency) }

// Idle is how long ago the last use was at now, seconds; 194 days at most.
func Idle(use, now uint32) uint32 { return (now - use>>secondsShift) & secondsMask }

// LFU says how the counter of uses grows and falls. The formulas are those of redis.conf's lfu-log-factor and
// lfu-decay-time.
type LFU struct {
	LogFactor    uint32 // a counter c > 5 grows with probability 1/((c-5)*LogFactor+1)
	DecayMinutes uint32 // without a use it falls by one for so many minutes; 0: never
}

// Frequency is the counter at now, for what has not been used since.
func (p LFU) Frequency(use, now uint32) uint8 {
	n := use & mostFrequency
	if p.DecayMinutes == 0 {
		return uint8(n)
	}
	minutes := (Idle(use, now) + 59 - now%60) / 60 // full minutes on the clock that have begun since
	return uint8(n - min(n, minutes/p.DecayMinutes))
}

// Used is the recency word after a use at now. draw is a random number.
func (p LFU) Used(use, now uint32, draw uint64) uint32 {
	n := uint32(p.Frequency(use, now))
	if n < mostFrequency {
		above := max(n, NewFrequency) - NewFrequency
		// draw * x stays below 2^64 with probability 1/x.
		if carry, _ := bits.Mul64(draw, uint64(above)*uint64(p.LogFactor)+1); carry == 0 {
			n++
		}
	}
	return now<<secondsShift | n
}
