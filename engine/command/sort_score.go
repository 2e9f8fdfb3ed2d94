package command

import (
	"bytes"
	"math"

	"github.com/larder-db/larder/engine/value"
)

// smallestNormal is the smallest positive number that a double holds with all its digits.
const smallestNormal = 0x1p-1022

// sortScore reads a number as C's strtod does, and says whether that takes all of the string up to a NUL and stays in
// range: white space may lead, "nan" is no number, and the empty string is 0.
func sortScore(b []byte) (float64, bool) {
	b = untilNUL(b)
	if len(b) == 0 {
		return 0, true
	}
	b = bytes.TrimLeft(b, " \t\n\v\f\r")
	f, ok := value.ParseDouble(b)
	// C also reports what is too small for all its digits. Only hexadecimal can be exact there, within any length to
	// speak of.
	if f != 0 && math.Abs(f) < smallestNormal && !bytes.ContainsAny(b, "xX") {
		return 0, false
	}
	return f, ok
}
