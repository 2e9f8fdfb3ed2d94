package value

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

func TestParseDouble(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		text string
		f    float64
		ok   bool
	}{
		{"0", 0, true}, {"-0", math.Copysign(0, -1), true}, {"+7", 7, true}, {"-12", -12, true}, {"007", 7, true},
		{"999999999999999", 999999999999999, true}, {"9007199254740993", 9007199254740992, true},
		{"1.", 1, true}, {".5", 0.5, true}, {"-.5e1", -5, true}, {"1E-3", 1e-3, true}, {"1e+3", 1000, true},
		{"inf", inf, true}, {"-INFINITY", -inf, true}, {"+Inf", inf, true},
		{"0x10", 16, true}, {"0X1.8P3", 12, true}, {"-0x.8", -0.5, true}, {"0x1p-1", 0.5, true}, {"0x1ep1", 60, true},
		{"0xe", 14, true}, {"0x0p99999999999", 0, true}, {"0e99999999999", 0, true}, {"4e-324", 5e-324, true},
		{"1.7976931348623157e308", math.MaxFloat64, true},
		{text: ""}, {text: "+"}, {text: "-"}, {text: "."}, {text: "e1"}, {text: "1e"}, {text: "1e+"}, {text: "+-1"}, {text: "--1"},
		{text: " 1"}, {text: "1 "}, {text: "1\x00"}, {text: "1_000"}, {text: "0x1_0"}, {text: "0x"}, {text: "0xp1"}, {text: "0x1p"},
		{text: "0b1"}, {text: "0o7"}, {text: "1p3"}, {text: "1e3.5"}, {text: "1..2"}, {text: "infin"}, {text: "in"}, {text: "nan"},
		{text: "-nan"}, {text: "nan(1)"}, {text: "1e400"}, {text: "-1e400"}, {text: "1e-400"}, {text: "0x1p-1080"}, {text: "0x1p1024"},
		{text: "1e99999999999999999999"}, {text: "1e-99999999999999999999"},
	} {
		f, ok := ParseDouble([]byte(c.text))
		if ok != c.ok || ok && math.Float64bits(f) != math.Float64bits(c.f) {
			t.Errorf("%q is %v %v, want %v %v", c.text, f, ok, c.f, c.ok)
		}
	}
	for text, want := range map[string]float64{"1e400": inf, "-1e400": -inf, "1e-400": 0, "0x1p1024": inf, "5": 5, "-inf": -inf} {
		if f, ok := NearestDouble([]byte(text)); !ok || f != want {
			t.Errorf("%q is nearest to %v %v, want %v", text, f, ok, want)
		}
	}
	for _, text := range []string{"", "x", "nan", "1_0", " 1"} {
		if f, ok := NearestDouble([]byte(text)); ok {
			t.Errorf("%q is taken for %v", text, f)
		}
	}
}

// TestParseDoubleReadsWhatIsWritten goes through numbers of all sizes in every notation.
func TestParseDoubleReadsWhatIsWritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		f := math.Float64frombits(rng.Uint64())
		if math.IsNaN(f) {
			continue
		}
		for _, format := range []byte("egx") {
			text := strconv.AppendFloat(nil, f, format, -1, 64)
			if got, ok := ParseDouble(text); !ok || math.Float64bits(got) != math.Float64bits(f) {
				t.Fatalf("%s is read as %v %v", text, got, ok)
			}
		}
	}
}

func FuzzParseDouble(f *testing.F) {
	for _, text := range []string{"1", "-1.5e3", "0x1p-3", "inf", "nan", "1_0", "0x", "+.5", "1e400"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := string(text)
		strict, ok := ParseDouble(text)
		nearest, ok2 := NearestDouble(text)
		if string(text) != before {
			t.Fatalf("%q was changed to %q", before, text)
		}
		if math.IsNaN(nearest) || ok && (!ok2 || math.Float64bits(strict) != math.Float64bits(nearest)) {
			t.Fatalf("%q is %v %v, nearest to %v %v", text, strict, ok, nearest, ok2)
		}
	})
}

func TestShortNumbersAreReadWithoutAllocations(t *testing.T) {
	texts := [][]byte{[]byte("12345"), []byte("-1.5"), []byte("1e10"), []byte("inf")}
	n := testing.AllocsPerRun(100, func() {
		for _, text := range texts {
			if _, ok := ParseDouble(text); !ok {
				t.Errorf("%q is not read", text)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
