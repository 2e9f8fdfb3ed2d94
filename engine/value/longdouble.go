package value

import (
	"bytes"
	"math"
	"math/big"
)

// LongDouble is a floating point number as Redis on x86-64 calculates INCRBYFLOAT with: the 80-bit format of the x87,
// with 64 bits of mantissa, rounded to nearest even. It is done in software, so that every architecture gets the
// same digits. Denormal numbers keep their whole mantissa here: they are too small to show in what Human writes.
type LongDouble struct{ f *big.Float }

const (
	longDoubleMantissa = 64
	longDoubleMaxExp   = 16384  // numbers are below 2^16384
	longDoubleMinExp   = -16446 // anything up to 2^-16446 rounds to zero

	// MaxLongDoubleText is the length, in bytes, that a number's text must stay below.
	MaxLongDoubleText = 5 * 1024

	// A decimal exponent beyond this is out of range, or zero, whatever the up to 5119 digits before it say.
	maxDecimalExp = 20000
)

// ParseLongDouble reads a number as C's strtold does, with nothing before or behind it: decimal or hexadecimal, or an
// infinity. It refuses NaN, and what overflows or vanishes.
func ParseLongDouble(text []byte) (LongDouble, bool) {
	if len(text) == 0 || len(text) >= MaxLongDoubleText {
		return LongDouble{}, false
	}
	negative := text[0] == '-'
	if negative || text[0] == '+' {
		text = text[1:]
	}
	var f *big.Float
	switch {
	case isFold(text, "inf"), isFold(text, "infinity"):
		return LongDouble{new(big.Float).SetPrec(longDoubleMantissa).SetInf(negative)}, true
	case len(text) > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X'):
		f = parseScaled(text[2:], 16)
	default:
		f = parseScaled(text, 10)
	}
	if f == nil || !inLongDouble(f) {
		return LongDouble{}, false
	}
	if negative {
		f.Neg(f)
	}
	return LongDouble{f}, true
}

// parseScaled reads digits with at most one point and an optional exponent (decimal: powers of ten behind an e;
// hexadecimal: powers of two behind a p) and rounds the exact number once. It returns nil for anything else.
func parseScaled(text []byte, base int) *big.Float {
	digits := make([]byte, 0, len(text))
	point, scale, i := false, 0, 0
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' && !point {
			point = true
			continue
		}
		if !isDigit(c, base) {
			break
		}
		digits = append(digits, c)
		if point {
			scale--
		}
	}
	if len(digits) == 0 {
		return nil
	}
	exponent := 0
	if i < len(text) {
		var ok bool
		if exponent, ok = parseExponent(text[i:], base); !ok {
			return nil
		}
	}
	mantissa, ok := new(big.Int).SetString(string(digits), base)
	if !ok {
		return nil
	}
	f := new(big.Float).SetPrec(longDoubleMantissa)
	if mantissa.Sign() == 0 {
		return f
	}
	if base == 16 {
		f.SetInt(mantissa)
		return f.SetMantExp(f, exponent+4*scale)
	}
	return scaleDecimal(f, mantissa, exponent+scale)
}

// scaleDecimal sets f to mantissa · 10^exponent. Both operands are exact, so that there is one rounding.
func scaleDecimal(f *big.Float, mantissa *big.Int, exponent int) *big.Float {
	if exponent > maxDecimalExp {
		return f.SetInf(false)
	}
	if exponent < -maxDecimalExp {
		return f.SetMantExp(big.NewFloat(1), 2*longDoubleMinExp)
	}
	power := big.NewInt(int64(max(exponent, -exponent)))
	power.Exp(big.NewInt(10), power, nil)
	if exponent >= 0 {
		return f.SetInt(mantissa.Mul(mantissa, power))
	}
	return f.Quo(new(big.Float).SetInt(mantissa), new(big.Float).SetInt(power))
}

// parseExponent reads the exponent's letter, an optional sign and at least one digit. Absurd ones are cut to a value
// that is out of range as surely, since a number's text is far shorter.
func parseExponent(text []byte, base int) (int, bool) {
	letter := byte('e')
	if base == 16 {
		letter = 'p'
	}
	if text[0]|0x20 != letter {
		return 0, false
	}
	text = text[1:]
	negative := len(text) > 0 && text[0] == '-'
	if negative || len(text) > 0 && text[0] == '+' {
		text = text[1:]
	}
	if len(text) == 0 {
		return 0, false
	}
	n := 0
	for _, c := range text {
		if !isDigit(c, 10) {
			return 0, false
		}
		n = min(n*10+int(c-'0'), math.MaxInt32/4)
	}
	if negative {
		n = -n
	}
	return n, true
}

// inLongDouble says whether f is zero or a finite number that the format can hold.
func inLongDouble(f *big.Float) bool {
	if f.IsInf() {
		return false
	}
	if f.Sign() == 0 {
		return true
	}
	exp := f.MantExp(nil) // f is in [2^(exp-1), 2^exp)
	if exp > longDoubleMaxExp || exp <= longDoubleMinExp {
		return false
	}
	// 2^-16446 itself lies half way between zero and the least number, and goes to zero, the even one.
	return exp > longDoubleMinExp+1 || f.MinPrec() > 1
}

// IsInf says whether the number is an infinity.
func (d LongDouble) IsInf() bool { return d.f.IsInf() }

// Add is the sum, and whether it is a finite number.
func (d LongDouble) Add(e LongDouble) (LongDouble, bool) {
	if d.f.IsInf() || e.f.IsInf() {
		return LongDouble{}, false
	}
	sum := new(big.Float).SetPrec(longDoubleMantissa).Add(d.f, e.f)
	if sum.Sign() != 0 && sum.MantExp(nil) > longDoubleMaxExp {
		return LongDouble{}, false
	}
	return LongDouble{sum}, true
}

// AppendHuman appends the number in plain decimal notation with up to 17 digits behind the point, trailing zeros
// removed, as Redis stores the result of INCRBYFLOAT.
func (d LongDouble) AppendHuman(b []byte) []byte {
	from := len(b)
	b = d.f.Append(b, 'f', 17)
	b = bytes.TrimRight(b, "0")
	b = bytes.TrimSuffix(b, []byte{'.'})
	if string(b[from:]) == "-0" {
		return append(b[:from], '0')
	}
	return b
}

func isDigit(c byte, base int) bool {
	return '0' <= c && c <= '9' || base == 16 && ('a' <= c|0x20 && c|0x20 <= 'f')
}

// isFold says whether text is the lower-case ASCII word, in either case.
func isFold(text []byte, word string) bool {
	if len(text) != len(word) {
		return false
	}
	for i := range text {
		if text[i]|0x20 != word[i] {
			return false
		}
	}
	return true
}
