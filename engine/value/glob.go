package value

// Glob says whether s matches pattern, in Redis's dialect: * is any run of bytes, ? any one byte, [abc], [a-z] and
// [^x] one byte of a class, and a backslash takes the next byte literally. Malformed patterns have a meaning too: a
// class that is not closed reaches to the pattern's end, and a backslash at the end is itself.
//
// Every element but * takes exactly one byte, so a mismatch need only be retried from the last * on. The work is
// therefore bounded by len(pattern) × len(s), whatever the number of stars.
func Glob(pattern, s []byte) bool {
	if len(s) == 0 {
		return len(pattern) == 0 // not even a star: so Redis has it
	}
	p, at := 0, 0
	star, starAt := -1, 0 // where the pattern goes on behind the last star, and from where in s that is tried
	for at < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p = skipStars(pattern, p)
			if p == len(pattern) {
				return true
			}
			star, starAt = p, at
			continue
		}
		if p < len(pattern) {
			if next, ok := globByte(pattern, p, s[at]); ok {
				p = next
				at++
				continue
			}
		}
		if star < 0 {
			return false
		}
		starAt++
		p, at = star, starAt
	}
	return skipStars(pattern, p) == len(pattern)
}

func skipStars(pattern []byte, p int) int {
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p
}

// globByte matches c against the element of pattern at p, which is not a star, and returns where the next begins.
func globByte(pattern []byte, p int, c byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return globClass(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == c
}

// globClass matches c against the class whose content begins at p.
func globClass(pattern []byte, p int, c byte) (next int, ok bool) {
	negated := p < len(pattern) && pattern[p] == '^'
	if negated {
		p++
	}
	found := false
	for p < len(pattern) && pattern[p] != ']' {
		switch {
		case pattern[p] == '\\' && p+1 < len(pattern):
			found = found || pattern[p+1] == c
			p += 2
		case p+2 < len(pattern) && pattern[p+1] == '-':
			found = found || inRange(c, pattern[p], pattern[p+2])
			p += 3
		default:
			found = found || pattern[p] == c
			p++
		}
	}
	if p < len(pattern) {
		p++ // the bracket
	}
	return p, found != negated
}

// inRange says whether c lies between two bytes given in either order. The bytes are signed, as they are in Redis on
// the processors that most people run it on, which shows in ranges that leave ASCII.
func inRange(c, a, b byte) bool {
	lo, hi, x := int8(a), int8(b), int8(c)
	if lo > hi {
		lo, hi = hi, lo
	}
	return lo <= x && x <= hi
}
