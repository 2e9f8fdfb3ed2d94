package command

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// smallestNormal is the smallest positive number that a double holds with all its digits.
const smallestNormal = 0x1p-1022

// sortScore reads a number as C's strtod does, and says whether that takes all of the string up to a NUL and stays in
// range: white space may lead, hexadecimal and "inf" are numbers, "nan" is none, and the empty string is 0.
func sortScore(b []byte) (float64, bool) {
	b = untilNUL(b)
	if len(b) == 0 {
		return 0, true
	}
	s := string(bytes.TrimLeft(b, " \t\n\v\f\r"))
	if strings.Contains(s, "_") { // a separator to strconv only
		return 0, false
	}
	digits := strings.TrimLeft(s, "+-")
	hex := len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x'
	if hex && !strings.ContainsAny(digits, "pP") {
		s += "p0"
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) {
		return 0, false
	}
	// C reports what is too small for all its digits. Only hexadecimal can be exact there, within any length to speak of.
	if f == 0 && !zero(digits, hex) || !hex && f != 0 && math.Abs(f) < smallestNormal {
		return 0, false
	}
	return f, true
}

// zero says whether the digits before the exponent are all 0.
func zero(digits string, hex bool) bool {
	nonzero, exponent := "123456789", "eE"
	if hex {
		digits, nonzero, exponent = digits[2:], "123456789abcdefABCDEF", "pP"
	}
	if i := strings.IndexAny(digits, exponent); i >= 0 {
		digits = digits[:i]
	}
	return !strings.ContainsAny(digits, nonzero)
}
