package value

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// lcsTable is the textbook's table of lengths.
func lcsTable(a, b []byte) [][]int {
	table := make([][]int, len(a)+1)
	table[0] = make([]int, len(b)+1)
	for i := range a {
		table[i+1] = make([]int, len(b)+1)
		for j := range b {
			if a[i] == b[j] {
				table[i+1][j+1] = table[i][j] + 1
			} else {
				table[i+1][j+1] = max(table[i][j+1], table[i+1][j])
			}
		}
	}
	return table
}

func TestLCSAgainstTheTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	random := func(most, letters int) []byte {
		b := make([]byte, r.IntN(most))
		for i := range b {
			b[i] = byte(r.IntN(letters))
		}
		return b
	}
	for range 1000 {
		letters := []int{1, 2, 4, 26, 256}[r.IntN(5)]
		a, b := random([]int{3, 70, 200}[r.IntN(3)], letters), random([]int{3, 70, 200}[r.IntN(3)], letters)
		table := lcsTable(a, b)
		want := table[len(a)][len(b)]
		l := FindLCS(a, b)
		if l.Length() != want || LCSLength(a, b) != want {
			t.Fatalf("%q, %q: length %d and %d, want %d", a, b, l.Length(), LCSLength(a, b), want)
		}
		// Back through the table, preferring the second string on a draw.
		var path []byte
		for i, j := len(a), len(b); i > 0 && j > 0; {
			switch {
			case a[i-1] == b[j-1]:
				path = append(path, a[i-1])
				i, j = i-1, j-1
			case table[i-1][j] > table[i][j-1]:
				i--
			default:
				j--
			}
		}
		for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
			path[i], path[j] = path[j], path[i]
		}
		if got := l.Sequence(); !bytes.Equal(got, path) {
			t.Fatalf("%q, %q: %q, want %q", a, b, got, path)
		}
		total := 0
		l.Matches(func(m Match) {
			total += m.Len
			if !bytes.Equal(a[m.A:m.A+m.Len], b[m.B:m.B+m.Len]) {
				t.Fatalf("%q, %q: %+v is no match", a, b, m)
			}
		})
		if total != want {
			t.Fatalf("%q, %q: matches of %d bytes, want %d", a, b, total, want)
		}
	}
}

// The table of a very long string and a very short one must not be padded to whole words.
func TestLCSLopsided(t *testing.T) {
	long, short := bytes.Repeat([]byte("ab"), 1<<19), []byte("b")
	for _, l := range []*LCS{FindLCS(long, short), FindLCS(short, long)} {
		if l.Length() != 1 || string(l.Sequence()) != "b" {
			t.Errorf("length %d, %q", l.Length(), l.Sequence())
		}
		if n := len(l.steps.words) * 8; n > 1<<17 {
			t.Errorf("the table takes %d bytes for a million cells", n)
		}
	}
}

func BenchmarkLCS(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	s := make([][]byte, 2)
	for i := range s {
		s[i] = make([]byte, 10_000)
		for j := range s[i] {
			s[i][j] = byte('a' + r.IntN(4))
		}
	}
	for b.Loop() {
		FindLCS(s[0], s[1]).Sequence()
	}
}
