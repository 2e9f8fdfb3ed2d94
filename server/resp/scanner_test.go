package resp

import (
	"slices"
	"strings"
	"testing"
)

var scannedReplies = []string{
	"+OK\r\n", "-ERR no 12\r\n", ":-5\r\n", "$-1\r\n", "$0\r\n\r\n", "$3\r\na\r\n\r\n", "*0\r\n", "*-1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(123\r\n",
	"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n", "~1\r\n$2\r\n*1\r\n", "=5\r\ntxt:a\r\n", "!9\r\nNOTLEADER\r\n", "*3\r\n*0\r\n%0\r\n$-1\r\n",
}

func TestReplyScannerFindsTheEnds(t *testing.T) {
	all := strings.Join(scannedReplies, "")
	var want []int
	for at, i := 0, 0; i < len(scannedReplies); i++ {
		at += len(scannedReplies[i])
		want = append(want, at)
	}
	for step := 1; step <= len(all); step++ {
		var s ReplyScanner
		var got []int
		for at := 0; at < len(all); at += step {
			ends, err := s.Feed([]byte(all[at:min(at+step, len(all))]), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range ends {
				got = append(got, at+e)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("in steps of %d: %v, want %v", step, got, want)
		}
	}
}

func FuzzReplyScanner(f *testing.F) {
	for _, r := range scannedReplies {
		f.Add([]byte(r), 1)
	}
	f.Add([]byte("x\r\n"), 2)
	f.Add([]byte(strings.Repeat("*1\r\n", 2000)), 3)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		var whole, parts ReplyScanner
		want, err := whole.Feed(b, nil)
		cut = min(max(cut, 0), len(b))
		got, err1 := parts.Feed(b[:cut], nil)
		rest, err2 := parts.Feed(b[cut:], nil)
		for _, e := range rest {
			got = append(got, cut+e)
		}
		if !slices.Equal(got, want) || (err == nil) != (err1 == nil && err2 == nil) {
			t.Fatalf("%v %v, in two parts %v %v %v", want, err, got, err1, err2)
		}
	})
}
