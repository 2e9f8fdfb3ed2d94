package value

import (
	"bytes"
	"strings"
	"testing"
)

// Sums as x87 arithmetic gives them; the differential test of INCRBYFLOAT covers far more.
func TestLongDoubleSums(t *testing.T) {
	for _, c := range [][3]string{
		{"0.1", "0.2", "0.3"},
		{"3.0", "2", "5"},
		{"-0", "-0.0", "0"},
		{"-1e-20", "0", "0"},
		{"1", "1e-17", "1.00000000000000001"},
		{"1", "1e-19", "1"}, // half a unit of the last place is 5.4e-20
		{"18446744073709551615", "1", "18446744073709551616"},
		{"18446744073709551616", "1", "18446744073709551616"}, // 65 bits: to even
		{"18446744073709551616", "3", "18446744073709551620"},
		{"0x1.8p1", "-1", "2"},
		{"0x1p-2", ".75", "1"},
		{"1e20", "-1E+20", "0"},
	} {
		a, ok := ParseLongDouble([]byte(c[0]))
		b, ok2 := ParseLongDouble([]byte(c[1]))
		if !ok || !ok2 {
			t.Errorf("%s or %s is refused", c[0], c[1])
			continue
		}
		sum, ok := a.Add(b)
		if got := string(sum.AppendHuman(nil)); !ok || got != c[2] {
			t.Errorf("%s + %s = %s, %v; want %s", c[0], c[1], got, ok, c[2])
		}
	}
}

func TestLongDoubleLimits(t *testing.T) {
	for _, text := range []string{
		"1.18973149535723176503e4932", "0x1p16383", "0x1.8p-16446", "3.7e-4951", "inf", "-Infinity", "0e99999999999999",
		strings.Repeat("0", MaxLongDoubleText-1), "." + strings.Repeat("9", MaxLongDoubleText-2),
		strings.Repeat("9", 5000) + "e-5000", "0." + strings.Repeat("0", 4990) + "1e4000",
	} {
		if _, ok := ParseLongDouble([]byte(text)); !ok {
			t.Errorf("%.60s is refused", text)
		}
	}
	for _, text := range []string{
		"", ".", "-", "e1", "0x", "0xp1", "1e", "1p1", "nan", "NAN(1)", "1 ", " 1", "infinit", "1.18973149535723176506e4932",
		"0x1p16384", "0x1p-16446", "1e-5000", "1e999999999999999999999", "1e-999999999999999999999",
		strings.Repeat("9", 5000), strings.Repeat("0", MaxLongDoubleText),
	} {
		if d, ok := ParseLongDouble([]byte(text)); ok {
			t.Errorf("%.60s is read as %.60s", text, d.AppendHuman(nil))
		}
	}
	most, _ := ParseLongDouble([]byte("1.18e4932"))
	if sum, ok := most.Add(most); ok {
		t.Errorf("an overflow gives %.60s", sum.AppendHuman(nil))
	}
	infinite, _ := ParseLongDouble([]byte("-inf"))
	if _, ok := infinite.Add(most); ok {
		t.Error("a sum with an infinity is a number")
	}
}

// Whatever is read can be written, and what is written can be read again as the same digits.
func FuzzLongDouble(f *testing.F) {
	for _, text := range []string{"1.5", "-0x1.8p-3", "1e400", "inf", ".5e-17"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, ok := ParseLongDouble(text)
		if !ok {
			return
		}
		zero, _ := ParseLongDouble([]byte("0"))
		sum, ok := d.Add(zero)
		if !ok {
			return // an infinity
		}
		out := sum.AppendHuman(nil)
		again, ok := ParseLongDouble(out)
		if !ok {
			t.Fatalf("%q is written as %q, which is no number", text, out)
		}
		if back := again.AppendHuman(nil); !bytes.Equal(back, out) {
			t.Errorf("%q is written as %q and then as %q", text, out, back)
		}
	})
}

func BenchmarkLongDouble(b *testing.B) {
	by, _ := ParseLongDouble([]byte("0.1"))
	for b.Loop() {
		d, _ := ParseLongDouble([]byte("1234.5678"))
		sum, _ := d.Add(by)
		sum.AppendHuman(nil)
	}
}
