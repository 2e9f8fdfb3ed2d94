package value

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestParseIntTakesCanonicalIntegersOnly(t *testing.T) {
	for _, text := range []string{
		"", "-", "+1", "01", "00", "-0", "-01", " 1", "1 ", "1.0", "1e3", "0x1", "1_0", "--1", "1-", "\x001", "١",
		"9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616",
		"99999999999999999999", "-99999999999999999999", "100000000000000000000000",
	} {
		if n, ok := ParseInt([]byte(text)); ok {
			t.Errorf("%q read as %d", text, n)
		}
	}
	for _, n := range []int64{0, 1, -1, 9, 10, -10, math.MaxInt64, math.MaxInt64 - 1, math.MinInt64, math.MinInt64 + 1} {
		checkParseInt(t, n)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		checkParseInt(t, int64(r.Uint64())>>r.IntN(64))
	}
}

func checkParseInt(t *testing.T, n int64) {
	t.Helper()
	if got, ok := ParseInt(strconv.AppendInt(nil, n, 10)); !ok || got != n {
		t.Errorf("%d read as %d, %v", n, got, ok)
	}
}

func FuzzParseInt(f *testing.F) {
	f.Add([]byte("-9223372036854775808"))
	f.Add([]byte("9223372036854775808"))
	f.Fuzz(func(t *testing.T, text []byte) {
		want, err := strconv.ParseInt(string(text), 10, 64)
		canonical := err == nil && strconv.FormatInt(want, 10) == string(text)
		if got, ok := ParseInt(text); ok != canonical || ok && got != want {
			t.Errorf("%q read as %d, %v", text, got, ok)
		}
	})
}

func TestAddInts(t *testing.T) {
	edges := []int64{
		0, 1, -1, 2, -2, 1 << 62, -1 << 62, math.MaxInt64, math.MaxInt64 - 1, math.MinInt64, math.MinInt64 + 1,
	}
	for _, a := range edges {
		for _, b := range edges {
			want := new(big.Int).Add(big.NewInt(a), big.NewInt(b))
			if sum, fits := AddInts(a, b); fits != want.IsInt64() || sum != a+b {
				t.Errorf("%d + %d = %d, %v", a, b, sum, fits)
			}
		}
	}
}
