package rdb

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/larder-db/larder/engine/value"
)

// seal puts a right footer behind a body.
func seal(body []byte, version uint16) []byte {
	b := binary.LittleEndian.AppendUint16(append([]byte(nil), body...), version)
	return binary.LittleEndian.AppendUint64(b, checksum(b))
}

func TestChecksumOfTheDigits(t *testing.T) {
	if got := checksum([]byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("CRC-64 of the check string is %x", got)
	}
}

func TestLengthsReadBack(t *testing.T) {
	for _, n := range []uint64{0, 1, 63, 64, 16383, 16384, math.MaxUint32, math.MaxUint32 + 1, math.MaxUint64} {
		r := reader{b: appendLength(nil, n)}
		if got, special, err := r.length(); got != n || special || err != nil || len(r.b) != 0 {
			t.Errorf("length %d reads back as %d, %v, %v", n, got, special, err)
		}
	}
}

func TestFooterIsChecked(t *testing.T) {
	good := []byte{typeString, 1, 'x'}
	if _, err := ParseDump(seal(good, MaxVersion)); err != nil {
		t.Errorf("version %d: %v", MaxVersion, err)
	}
	bad := map[string][]byte{
		"empty":       nil,
		"short":       make([]byte, footer-1),
		"too new":     seal(good, MaxVersion+1),
		"bad version": seal(good, math.MaxUint16),
	}
	flipped := seal(good, Version)
	flipped[2] ^= 1
	bad["flipped"] = flipped
	for name, p := range bad {
		if _, err := ParseDump(p); !errors.Is(err, ErrFooter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// malformed are bodies that no object reads from.
var malformed = map[string][]byte{
	"nothing":            {},
	"type alone":         {typeString},
	"other type":         {15, 0},
	"short string":       {typeString, 5, 'a'},
	"half length":        {typeString, len14},
	"half long length":   {typeString, len32, 0, 0},
	"reserved length":    {typeString, 0x82, 0, 0, 0, 1},
	"unknown form":       {typeString, lenSpecial | 4},
	"half integer":       {typeString, lenSpecial | formInt32, 1, 2, 3},
	"huge string":        {typeString, len64, 0x7f, 255, 255, 255, 255, 255, 255, 255, 'a'},
	"negative length":    {typeString, len64, 255, 255, 255, 255, 255, 255, 255, 255, 'a'},
	"lying compression":  {typeString, lenSpecial | formLZF, 2, len32, 0x1f, 255, 255, 255, 0, 'a'},
	"huge packed length": {typeString, lenSpecial | formLZF, len64, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 'a'},
	"copy from before":   {typeString, lenSpecial | formLZF, 4, 4, 0, 'a', 1 << 5, 1},
	"half copy":          {typeString, lenSpecial | formLZF, 3, 4, 0, 'a', 1 << 5},
	"half long copy":     {typeString, lenSpecial | formLZF, 4, 20, 0, 'a', 7 << 5, 1},
	"half literals":      {typeString, lenSpecial | formLZF, 2, 4, 3, 'a'},
	"too little":         {typeString, lenSpecial | formLZF, 2, 2, 0, 'a'},
	"too much":           {typeString, lenSpecial | formLZF, 3, 1, 1, 'a', 'b'},
	"empty compression":  {typeString, lenSpecial | formLZF, lenSpecial, 1, 0, 'a'},
}

func TestMalformedObjectsAreRefused(t *testing.T) {
	for name, body := range malformed {
		if _, err := ParseDump(seal(body, Version)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLiesAllocateNothing gives payloads that announce half a gigabyte and measures what they cost.
func TestLiesAllocateNothing(t *testing.T) {
	for name, body := range malformed {
		p := seal(body, Version)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ParseDump(p)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

func TestOtherKindsAreRefused(t *testing.T) {
	if _, err := AppendDump(nil, Object{Kind: value.Stream}); !errors.Is(err, ErrKind) {
		t.Errorf("a stream was written: %v", err)
	}
}

// TestCompressorIsRepeatable: what a pooled compressor has seen before must not show in its output.
func TestCompressorIsRepeatable(t *testing.T) {
	used := new(compressor)
	for _, s := range samples() {
		if len(s) < 5 {
			continue
		}
		a, okA := used.compress([]byte(s), len(s)-minSaving)
		b, okB := new(compressor).compress([]byte(s), len(s)-minSaving)
		if okA != okB || string(a) != string(b) {
			t.Fatalf("%.60q packs to %x, %v and %x, %v", s, a, okA, b, okB)
		}
		if okA {
			if n, ok := unpackedLen(a, len(s)); !ok || n != len(s) || string(unpack(a, n)) != s {
				t.Fatalf("%.60q unpacks to something else", s)
			}
		}
	}
}

func TestCompressorBaseWraps(t *testing.T) {
	c := &compressor{base: math.MaxUint32 - 50}
	s := []byte(strings.Repeat("larder ", 20))
	c.table[slot(s)] = math.MaxUint32 - 10
	packed, ok := c.compress(s, len(s)-minSaving)
	if !ok || string(unpack(packed, len(s))) != string(s) {
		t.Error("the run at the wrap is wrong")
	}
}

// FuzzStringRoundTrip: every string survives, in the shortest way that the encoder finds.
func FuzzStringRoundTrip(f *testing.F) {
	f.Add([]byte("-2147483648"))
	f.Add([]byte(strings.Repeat("abcabcab", 50)))
	f.Fuzz(func(t *testing.T, s []byte) {
		r := reader{b: appendString(nil, s)}
		if len(r.b) > len(s)+9 {
			t.Fatalf("%d bytes became %d", len(s), len(r.b))
		}
		if back, err := r.str(); err != nil || string(back) != string(s) || len(r.b) != 0 {
			t.Fatalf("%q goes round as %q, %v", s, back, err)
		}
	})
}

func BenchmarkAppendDump(b *testing.B) {
	for name, s := range map[string]string{"64B": strings.Repeat("larder:1", 8), "64KB": strings.Repeat("larder:1 42 ", 5461)} {
		b.Run(name, func(b *testing.B) {
			o := Object{Kind: value.String, String: []byte(s)}
			var buf []byte
			b.SetBytes(int64(len(s)))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = AppendDump(buf[:0], o)
			}
		})
	}
}
