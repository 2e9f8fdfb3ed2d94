package rdb

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"

	"github.com/larder-db/larder/engine/value"
)

// Builders of the layouts that Redis has written over the years, entry by entry, for tests.

// lp is a listpack of entries that are already encoded but for the lengths behind them.
func lp(entries ...[]byte) []byte {
	b := make([]byte, listpackHeader)
	for _, e := range entries {
		b = appendBackLength(append(b, e...), len(e))
	}
	b = append(b, packedEnd)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	binary.LittleEndian.PutUint16(b[4:], uint16(min(len(entries), 0xffff)))
	return b
}

// lpString is the entry of a string, of which integers have forms of their own; wide takes a longer form than needed.
func lpString(s string, wide int) []byte {
	if n, ok := value.ParseInt([]byte(s)); ok {
		return lpNumber(n, wide)
	}
	switch n := len(s); {
	case n < 64 && wide == 0:
		return append([]byte{0x80 | byte(n)}, s...)
	case n < 1<<12 && wide < 2:
		return append([]byte{0xe0 | byte(n>>8), byte(n)}, s...)
	}
	return append(binary.LittleEndian.AppendUint32([]byte{0xf0}, uint32(len(s))), s...)
}

func lpNumber(n int64, wide int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(n))
	forms := [][]byte{
		append([]byte{0xf1}, b[:2]...), append([]byte{0xf2}, b[:3]...), append([]byte{0xf3}, b[:4]...), append([]byte{0xf4}, b...),
	}
	first := 3
	for i, bits := range []int{16, 24, 32} {
		if n == n<<(64-bits)>>(64-bits) {
			first = i
			break
		}
	}
	switch {
	case n >= 0 && n < 128 && wide == 0:
		return []byte{byte(n)}
	case n == n<<51>>51 && wide < 2:
		return []byte{0xc0 | byte(n>>8)&0x1f, byte(n)}
	}
	return forms[max(first, min(wide, 3))]
}

// zl is a ziplist of entries that are already encoded but for the lengths before them. wide has those take five bytes
// each.
func zl(wide bool, entries ...[]byte) []byte {
	b := make([]byte, ziplistHeader)
	before, last := 0, ziplistHeader
	for _, e := range entries {
		last = len(b)
		if before < 254 && !wide {
			b = append(b, byte(before))
		} else {
			b = binary.LittleEndian.AppendUint32(append(b, 254), uint32(before))
		}
		b = append(b, e...)
		before = len(b) - last
	}
	b = append(b, packedEnd)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	binary.LittleEndian.PutUint32(b[4:], uint32(last))
	binary.LittleEndian.PutUint16(b[8:], uint16(min(len(entries), 0xffff)))
	return b
}

func zlString(s string, wide int) []byte {
	if n, ok := value.ParseInt([]byte(s)); ok {
		b := binary.LittleEndian.AppendUint64(nil, uint64(n))
		fits := func(bits int) bool { return n == n<<(64-bits)>>(64-bits) }
		switch {
		case n >= 0 && n <= 12 && wide == 0:
			return []byte{0xf1 + byte(n)}
		case fits(8) && wide <= 1:
			return append([]byte{0xfe}, b[:1]...)
		case fits(16) && wide <= 2:
			return append([]byte{0xc0}, b[:2]...)
		case fits(24) && wide <= 3:
			return append([]byte{0xf0}, b[:3]...)
		case fits(32) && wide <= 4:
			return append([]byte{0xd0}, b[:4]...)
		}
		return append([]byte{0xe0}, b...)
	}
	switch n := len(s); {
	case n < 64 && wide == 0:
		return append([]byte{byte(n)}, s...)
	case n < 1<<14 && wide < 2:
		return append([]byte{0x40 | byte(n>>8), byte(n)}, s...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0x80}, uint32(len(s))), s...)
}

// zm is a zipmap of fields and values, each value with some unused bytes behind it.
func zm(unused int, pairs ...string) []byte {
	b := []byte{byte(min(len(pairs)/2, 254))}
	for i, s := range pairs {
		if len(s) < 254 {
			b = append(b, byte(len(s)))
		} else {
			b = binary.LittleEndian.AppendUint32(append(b, 254), uint32(len(s)))
		}
		if i%2 == 0 {
			b = append(b, s...)
			continue
		}
		b = append(append(b, byte(unused)), s...)
		b = append(b, make([]byte, unused)...)
	}
	return append(b, packedEnd)
}

// is is an intset with numbers of so many bytes.
func is(width int, numbers ...int64) []byte {
	b := binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(width)), uint32(len(numbers)))
	for _, n := range numbers {
		b = append(b, binary.LittleEndian.AppendUint64(nil, uint64(n))[:width]...)
	}
	return b
}

// body is an object of a type with its parts, strings among them being written as such.
func body(typ byte, parts ...any) []byte {
	b := []byte{typ}
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = appendLength(b, uint64(p))
		case string:
			b = appendString(b, []byte(p))
		case []byte: // a packed string
			b = appendString(b, p)
		case float64:
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(p))
		case oldScore:
			b = p.append(b)
		}
	}
	return b
}

// oldScore is a score in digits.
type oldScore float64

func (s oldScore) append(b []byte) []byte {
	switch f := float64(s); {
	case math.IsNaN(f):
		return append(b, lengthNaN)
	case math.IsInf(f, 1):
		return append(b, lengthInfinity)
	case math.IsInf(f, -1):
		return append(b, lengthNegInfinity)
	default:
		d := strconv.FormatFloat(f, 'g', 17, 64)
		return append(append(b, byte(len(d))), d...)
	}
}

// bodies are objects of every type that is read, as Redis 2.6 to 7.2 wrote them or could have.
func bodies() map[string][]byte {
	long, words := string(bytes.Repeat([]byte("z"), 5000)), ""
	for i := range 3000 {
		words += strconv.Itoa(i * 7919 % 3001)
	}
	strings := []string{
		"", "a", "0", "12", "13", "127", "128", "-1", "4095", "4096", "-4096", "-4097", "32767", "32768", "-32768", "8388607", "-8388608",
		"8388608", "2147483647", "-2147483648", "2147483648", "9223372036854775807", "-9223372036854775808", "01", "+1", "1.5",
		words[:63], words[:64], words[:253], words[:254], words[:300], words[:4095], words[:4096], long, words,
	}
	out := map[string][]byte{
		"ints16": body(typeIntset, is(2, -32768, -1, 0, 5, 32767)),
		"ints32": body(typeIntset, is(4, -1<<31, 0, 1<<31-1)),
		"ints64": body(typeIntset, is(8, math.MinInt64, -7, math.MaxInt64)),
		"text scores": body(typeZSetText, 5, "a", oldScore(1.5), "b", oldScore(math.Inf(1)), "c", oldScore(math.Inf(-1)),
			"d", oldScore(-1e-300), "7", oldScore(17)),
		"scores": body(typeZSet, 5, "a", 1.5, "b", math.Inf(1), "c", math.Inf(-1), "d", math.Copysign(0, -1), words, 1e308),
	}
	plain, fields := []any{len(strings)}, []any{len(strings)}
	for i, s := range strings {
		plain = append(plain, s)
		fields = append(fields, s, strings[len(strings)-1-i])
	}
	out["list"], out["set"] = body(typeList, plain...), body(typeSet, plain...)
	out["hash"] = body(typeHash, fields...)
	for wide := range 5 {
		n := strconv.Itoa(wide)
		var lps, zls, zipped [][]byte
		var pairs []string
		for _, s := range strings {
			lps, zls = append(lps, lpString(s, wide)), append(zls, zlString(s, wide))
			pairs = append(pairs, s, words[:len(s)%300])
			zipped = append(zipped, zlString(s, wide), zlString(words[:len(s)%300], wide))
		}
		out["zipmap"+n] = body(typeHashZipmap, zm(wide, pairs...))
		out["list ziplist"+n] = body(typeListZiplist, zl(wide == 4, zls...))
		out["hash ziplist"+n] = body(typeHashZiplist, zl(wide == 4, zipped...))
		out["set listpack"+n] = body(typeSetListpack, lp(lps...))
		out["list ziplists"+n] = body(typeListZiplists, 4, zl(false, zls...), zl(false), zl(true, zls[1]), zl(false, zls...))
		out["list listpacks"+n] = body(typeListListpacks, 5, nodePacked, lp(lps...), nodePlain, words, nodePacked, lp(), nodePlain, "12",
			nodePacked, lp(lps[:wide+1]...))
		var zs, zz, hs [][]byte
		for i, s := range []string{"1", "-2.5", "inf", "-inf", "1e+300", "2.2250738585072014e-308", "100000"} {
			zs = append(zs, lpString(strings[i], wide), lpString(s, wide))
			zz = append(zz, zlString(strings[i], wide), zlString(s, wide))
			hs = append(hs, lpString(strings[i], wide), lpString(s, wide))
		}
		out["zset listpack"+n] = body(typeZSetListpack, lp(zs...))
		out["zset ziplist"+n] = body(typeZSetZiplist, zl(wide == 4, zz...))
		out["hash listpack"+n] = body(typeHashListpack, lp(hs...))
	}
	return out
}
