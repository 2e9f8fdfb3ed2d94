package value

import "math/bits"

// LCS finds a longest common subsequence of two strings, bit-parallel over the second one (Crochemore, Iliopoulos,
// Pinzon, Reid, "A fast and practical bit-vector algorithm for the longest common subsequence problem", 2001): row i
// of the table of lengths is kept as its steps, bit j of the row being one where the length grows from column j to
// j+1. 64 cells cost four instructions, and the way back needs these steps alone: one bit per cell.
type LCS struct {
	a, b   []byte
	length int
	steps  bitRows // empty if only the length was asked for
}

// Match is a run of equal bytes: a[A:A+Len] and b[B:B+Len].
type Match struct {
	A, B, Len int
}

// LCSLength is the length of a longest common subsequence.
func LCSLength(a, b []byte) int {
	l := LCS{a: a, b: b}
	l.run(false)
	return l.length
}

// FindLCS calculates the table of a and b: it takes len(a)·len(b) bits of memory, and keeps both strings.
func FindLCS(a, b []byte) *LCS {
	l := &LCS{a: a, b: b}
	l.run(true)
	return l
}

// Length is the length of the subsequence.
func (l *LCS) Length() int { return l.length }

// Sequence is the subsequence itself: of several longest ones, the one that Redis finds.
func (l *LCS) Sequence() []byte {
	out := make([]byte, l.length)
	at := l.length
	l.Matches(func(m Match) {
		at -= m.Len
		copy(out[at:], l.a[m.A:m.A+m.Len])
	})
	return out
}

// Matches calls visit for each run of equal bytes that the subsequence consists of, from the last to the first.
func (l *LCS) Matches(visit func(Match)) {
	i, j := len(l.a), len(l.b)
	for i > 0 && j > 0 {
		run := 0
		for i > 0 && j > 0 && l.a[i-1] == l.b[j-1] {
			i, j, run = i-1, j-1, run+1
		}
		switch {
		case run > 0:
			visit(Match{A: i, B: j, Len: run})
		case l.steps.at(i-1, j-1):
			i-- // the length here is more than to the left, so it comes from above
		default:
			j--
		}
	}
}

// run fills the table row by row. A row's complement v (a zero is a step) follows from the one above by
// v' = (v + (v AND m)) OR (v AND NOT m), where m marks the places of the row's byte in b.
func (l *LCS) run(keep bool) {
	if len(l.a) == 0 || len(l.b) == 0 {
		return
	}
	words := (len(l.b) + 63) / 64
	places, of := placesOf(l.a, l.b, words)
	if keep {
		l.steps = newBitRows(len(l.a), len(l.b))
	}
	row := make([]uint64, words)
	for i := range row {
		row[i] = ^uint64(0)
	}
	for _, c := range l.a {
		m := places[int(of[c])*words:][:words]
		var carry uint64
		for w, v := range row {
			var sum uint64
			sum, carry = bits.Add64(v, v&m[w], carry)
			row[w] = sum | v&^m[w]
		}
		if keep {
			l.steps.appendComplement(row)
		}
	}
	row[words-1] |= ^uint64(0) << (uint(len(l.b)-1)&63 + 1) // what is behind the end is no step
	for _, v := range row {
		l.length += bits.OnesCount64(^v)
	}
}

// placesOf marks, for each byte value that occurs in a, where it stands in b: bitmaps of so many words, back to back;
// of gives the number of a byte's bitmap.
func placesOf(a, b []byte, words int) (places []uint64, of [256]int16) {
	for i := range of {
		of[i] = -1
	}
	var n int16
	for _, c := range a {
		if of[c] < 0 {
			of[c] = n
			n++
		}
	}
	places = make([]uint64, int(n)*words)
	for j, c := range b {
		if of[c] >= 0 {
			places[int(of[c])*words+j/64] |= 1 << (uint(j) & 63)
		}
	}
	return places, of
}

// bitRows is a matrix of bits, its rows back to back without padding, filled row by row.
type bitRows struct {
	words []uint64
	width int
	end   uint // bits written
}

func newBitRows(rows, width int) bitRows {
	return bitRows{words: make([]uint64, (rows*width+63)/64), width: width}
}

func (r *bitRows) at(row, column int) bool {
	n := uint(row*r.width + column)
	return r.words[n>>6]>>(n&63)&1 == 1
}

// appendComplement writes the next row, of which row holds the complement.
func (r *bitRows) appendComplement(row []uint64) {
	left := uint(r.width)
	for _, v := range row {
		n := min(left, 64)
		steps := ^v << (64 - n) >> (64 - n)
		at, shift := r.end>>6, r.end&63
		r.words[at] |= steps << shift
		if shift+n > 64 {
			r.words[at+1] |= steps >> (64 - shift)
		}
		r.end += n
		left -= n
	}
}
