package value

import (
	"math"
	"strconv"
)

// ParseDouble reads a number as C's strtod does, with nothing before or behind it: decimal or hexadecimal, or an
// infinity. It refuses NaN, and what overflows or vanishes.
func ParseDouble(text []byte) (f float64, ok bool) {
	f, fits, ok := parseDouble(text)
	return f, ok && fits
}

// NearestDouble is ParseDouble, but what overflows is an infinity and what vanishes is zero.
func NearestDouble(text []byte) (f float64, ok bool) {
	f, _, ok = parseDouble(text)
	return f, ok
}

// parseDouble is the double nearest to the number, and whether that is of its size.
func parseDouble(text []byte) (f float64, fits, ok bool) {
	digits := text
	negative := len(text) > 0 && text[0] == '-'
	if negative || len(text) > 0 && text[0] == '+' {
		digits = text[1:]
	}
	if f, ok := parseShortInt(digits); ok {
		if negative {
			f = -f
		}
		return f, true, true
	}
	switch {
	case isFold(digits, "inf"), isFold(digits, "infinity"):
		if negative {
			return math.Inf(-1), true, true
		}
		return math.Inf(1), true, true
	case len(digits) == 0 || !isDigit(digits[0], 10) && digits[0] != '.': // strconv has words of its own
		return 0, false, false
	}
	hex, exponent, zero := false, false, true
	for i, c := range digits {
		switch c |= 0x20; {
		case digits[i] == '_': // strconv takes it between digits
			return 0, false, false
		case i == 1 && c == 'x' && digits[0] == '0':
			hex = true
		case c == 'p' || c == 'e' && !hex:
			exponent = true
		case c != '.' && c != '0' && !exponent:
			zero = false
		}
	}
	if hex && !exponent { // strconv insists on one
		text = append(text[:len(text):len(text)], "p0"...)
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false, false
	}
	return f, err == nil && (f != 0 || zero), true
}

// parseShortInt reads up to 15 decimal digits, which a double holds exactly.
func parseShortInt(digits []byte) (f float64, ok bool) {
	if len(digits) == 0 || len(digits) > 15 {
		return 0, false
	}
	n := int64(0)
	for _, c := range digits {
		if !isDigit(c, 10) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return float64(n), true
}
