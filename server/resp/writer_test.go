package resp

import (
	"math"
	"testing"
)

func TestWriterForms(t *testing.T) {
	for _, c := range []struct {
		name         string
		write        func(w *Writer)
		resp2, resp3 string
	}{
		{"bulk", func(w *Writer) { w.Bulk([]byte("a\r\nb")) }, "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"},
		{"empty bulk", func(w *Writer) { w.Bulk(nil) }, "$0\r\n\r\n", "$0\r\n\r\n"},
		{"error", func(w *Writer) { w.Error("ERR a\r\nb") }, "-ERR a  b\r\n", "-ERR a  b\r\n"},
		{"integer", func(w *Writer) { w.Int(math.MinInt64) }, ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"},
		{"double", func(w *Writer) { w.Double(3) }, "$1\r\n3\r\n", ",3\r\n"},
		{"fraction", func(w *Writer) { w.Double(0.1) }, "$19\r\n0.10000000000000001\r\n", ",0.10000000000000001\r\n"},
		{"infinite", func(w *Writer) { w.Double(math.Inf(-1)) }, "$4\r\n-inf\r\n", ",-inf\r\n"},
		{"no number", func(w *Writer) { w.Double(math.NaN()) }, "$3\r\nnan\r\n", ",nan\r\n"},
		{"null", func(w *Writer) { w.Null() }, "$-1\r\n", "_\r\n"},
		{"null array", func(w *Writer) { w.NullArray() }, "*-1\r\n", "_\r\n"},
		{"true", func(w *Writer) { w.Bool(true) }, ":1\r\n", "#t\r\n"},
		{"false", func(w *Writer) { w.Bool(false) }, ":0\r\n", "#f\r\n"},
		{"map", func(w *Writer) { w.Map(12) }, "*24\r\n", "%12\r\n"},
		{"pairs", func(w *Writer) { w.Pairs(2); w.Pair() }, "*4\r\n", "*2\r\n*2\r\n"},
		{"set", func(w *Writer) { w.Set(2) }, "*2\r\n", "~2\r\n"},
		{"push", func(w *Writer) { w.Push(2) }, "*2\r\n", ">2\r\n"},
		{"verbatim", func(w *Writer) { w.Verbatim("txt", "hi") }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
		{"big number", func(w *Writer) { w.BigNumber("12") }, "$2\r\n12\r\n", "(12\r\n"},
	} {
		two, three := Writer{}, Writer{RESP3: true}
		c.write(&two)
		c.write(&three)
		if string(two.Buf) != c.resp2 || string(three.Buf) != c.resp3 {
			t.Errorf("%s: %q, %q; want %q, %q", c.name, two.Buf, three.Buf, c.resp2, c.resp3)
		}
	}
}

func TestErrorCodes(t *testing.T) {
	var w Writer
	for msg, want := range map[string]string{
		"WRONGTYPE Operation against a key":     "WRONGTYPE",
		"ERR syntax error":                      "ERR",
		"nospace":                               "ERR",
		"Averylongfirstwordthatisnocodeatall x": "ERR",
	} {
		w.ResetErrors()
		if w.Error(msg); w.Errors() != 1 || w.ErrorCode() != want {
			t.Errorf("%q: %d, %q", msg, w.Errors(), w.ErrorCode())
		}
	}
}
