package value

import "math"

// MaxIntDigits is the length of the longest canonical 64-bit integer, the sign included.
const MaxIntDigits = 20

// ParseInt reads a canonical signed 64-bit integer: what strconv.FormatInt writes and nothing else. No leading
// zeros, no plus sign, no spaces, no "-0".
func ParseInt(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > MaxIntDigits {
		return 0, false
	}
	negative := b[0] == '-'
	if negative {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	if b[0] == '0' {
		return 0, len(b) == 1 && !negative
	}
	// At most 20 digits: the sum can pass 64 bits only with the last of them.
	var sum uint64
	for i, c := range b {
		d := uint64(c - '0')
		if d > 9 {
			return 0, false
		}
		if i >= 19 || sum > (math.MaxInt64+1)/10 {
			return 0, false
		}
		sum = sum*10 + d
	}
	if negative {
		return -int64(sum), sum <= math.MaxInt64+1 // -2^63 negates to itself
	}
	return int64(sum), sum <= math.MaxInt64
}

// AddInts adds and says whether the sum fits 64 bits.
func AddInts(a, b int64) (sum int64, fits bool) {
	sum = a + b
	return sum, (sum > a) == (b > 0)
}
