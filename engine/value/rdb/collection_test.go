package rdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/larder-db/larder/engine/value"
	"github.com/redis/go-redis/v9"
)

// contents is what a collection holds in a form that can be compared: the order of lists counts, that of others does not.
// -0 becomes 0, as in small sorted sets of Redis's.
func contents(o Object) []string {
	var out []string
	switch o.Kind {
	case value.String:
		return []string{string(o.String)}
	case value.List, value.Set:
		for e := range o.Elements {
			out = append(out, string(e))
		}
	case value.Hash:
		for f, v := range o.Fields {
			out = append(out, strconv.Quote(string(f))+" "+strconv.Quote(string(v)))
		}
	case value.ZSet:
		for m, score := range o.Scores {
			out = append(out, strconv.Quote(string(m))+" "+strconv.FormatFloat(score+0, 'g', -1, 64))
		}
	}
	if o.Kind != value.List {
		slices.Sort(out)
	}
	return out
}

// theirContents is contents of a key of redis-server.
func theirContents(t *testing.T, c *redis.Client, key string) (kind string, out []string) {
	t.Helper()
	ctx := context.Background()
	kind = c.Type(ctx, key).Val()
	switch kind {
	case "string":
		return kind, []string{c.Get(ctx, key).Val()}
	case "list":
		return kind, c.LRange(ctx, key, 0, -1).Val()
	case "set":
		out = c.SMembers(ctx, key).Val()
	case "hash":
		for f, v := range c.HGetAll(ctx, key).Val() {
			out = append(out, strconv.Quote(f)+" "+strconv.Quote(v))
		}
	case "zset":
		for _, z := range c.ZRangeWithScores(ctx, key, 0, -1).Val() {
			out = append(out, strconv.Quote(z.Member.(string))+" "+strconv.FormatFloat(z.Score+0, 'g', -1, 64))
		}
	}
	slices.Sort(out)
	return kind, out
}

func TestAllTypesAreReadAsRedisDoes(t *testing.T) {
	c := startRedis(t)
	for name, b := range bodies() {
		p := seal(b, Version)
		o, err := ParseDump(p)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ours := contents(o)
		if o.Len != len(ours) {
			t.Errorf("%s: %d announced, %d there", name, o.Len, len(ours))
		}
		back, err := AppendDump(nil, o)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseDump(back); err != nil || !slices.Equal(contents(again), ours) {
			t.Errorf("%s: does not go round: %v", name, err)
		}
		payloads := map[string][]byte{"as it is": p, "rewritten": back}
		if b[0] == typeSetListpack {
			delete(payloads, "as it is") // Redis 7.0 does not know it
		}
		for how, p := range payloads {
			if err := c.RestoreReplace(context.Background(), "r", 0, string(p)).Err(); err != nil {
				t.Errorf("%s, %s: redis-server says %v", name, how, err)
				continue
			}
			if kind, theirs := theirContents(t, c, "r"); kind != o.Kind.String() || !slices.Equal(ours, theirs) {
				t.Errorf("%s, %s: ours %s %.200q\n theirs %s %.200q", name, how, o.Kind, ours, kind, theirs)
			}
		}
	}
}

// filled makes key a collection of n elements on redis-server. form varies what the elements look like.
func filled(t *testing.T, c *redis.Client, key string, kind value.Kind, n, form int) {
	t.Helper()
	ctx := context.Background()
	c.Del(ctx, key)
	pipe := c.Pipeline()
	rng := rand.New(rand.NewPCG(uint64(n), uint64(form)))
	element := func(i int) string {
		switch form {
		case 0:
			return strconv.Itoa(i - n/2)
		case 1:
			return "element:" + strconv.Itoa(i)
		case 2:
			return strconv.Itoa(i) + strings.Repeat("x", rng.IntN(64))
		case 3:
			return strconv.FormatInt(int64(rng.Uint64()), 10)
		}
		return strconv.Itoa(i) + strings.Repeat("larder ", rng.IntN(20000)/n)
	}
	for i := range n {
		e := element(i)
		switch kind {
		case value.List:
			pipe.RPush(ctx, key, e)
		case value.Set:
			pipe.SAdd(ctx, key, e)
		case value.Hash:
			pipe.HSet(ctx, key, e, element(i+n))
		case value.ZSet:
			pipe.ZAdd(ctx, key, redis.Z{Member: e, Score: []float64{float64(i), -1.5 * float64(i), rng.NormFloat64(), math.Inf(1)}[i%4]})
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestPayloadsGoRoundRedis takes collections out of redis-server and puts them back, rewritten: content and encoding
// must be the same.
func TestPayloadsGoRoundRedis(t *testing.T) {
	c := startRedis(t)
	ctx := context.Background()
	for _, kind := range []value.Kind{value.List, value.Set, value.Hash, value.ZSet} {
		for _, n := range []int{1, 2, 100, 128, 129, 512, 513, 3000} {
			for form := range 5 {
				name := fmt.Sprintf("%s of %d, form %d", kind, n, form)
				filled(t, c, "k", kind, n, form)
				o, err := ParseDump([]byte(c.Dump(ctx, "k").Val()))
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				_, theirs := theirContents(t, c, "k")
				if o.Kind != kind || !slices.Equal(contents(o), theirs) {
					t.Errorf("%s: ours %.200q\n theirs %.200q", name, contents(o), theirs)
				}
				p, err := AppendDump(nil, o)
				if err != nil {
					t.Fatal(err)
				}
				if err := c.RestoreReplace(ctx, "r", 0, string(p)).Err(); err != nil {
					t.Errorf("%s: redis-server says %v", name, err)
					continue
				}
				if _, back := theirContents(t, c, "r"); !slices.Equal(back, theirs) {
					t.Errorf("%s: comes back as %.200q\n was %.200q", name, back, theirs)
				}
				if was, is := c.ObjectEncoding(ctx, "k").Val(), c.ObjectEncoding(ctx, "r").Val(); was != is {
					t.Errorf("%s: comes back as %s, was %s", name, is, was)
				}
			}
		}
	}
}

// broken are bodies that no collection reads from.
func broken() map[string][]byte {
	small := []byte{2, 0, 0, 0, 2, 0, 0, 0, 1, 0}
	cut := func(b []byte, at int, to ...byte) []byte { // b with bytes replaced, from the end where at is negative
		b = slices.Clone(b)
		if at < 0 {
			at += len(b)
		}
		copy(b[at:], to)
		return b
	}
	pack := lp(lpString("a", 0), lpString("b", 0))
	zip := zl(false, zlString("a", 0), zlString("b", 0))
	str := func(s string) []byte { return lpString(s, 0) }
	zstr := func(s string) []byte { return zlString(s, 0) }
	huge := []byte{len64, 0x7f, 255, 255, 255, 255, 255, 255, 255}
	return map[string][]byte{
		"empty list":       body(typeList, 0),
		"empty set":        body(typeSet, 0),
		"empty hash":       body(typeHash, 0),
		"empty zset":       body(typeZSet, 0),
		"empty listpack":   body(typeHashListpack, lp()),
		"empty ziplist":    body(typeListZiplist, zl(false)),
		"empty zipmap":     body(typeHashZipmap, zm(0)),
		"empty intset":     body(typeIntset, is(2)),
		"empty nodes":      body(typeListListpacks, 2, nodePacked, lp(), nodePacked, lp()),
		"no nodes":         body(typeListZiplists, 0),
		"huge list":        append(append([]byte{typeList}, huge...), 1, 'a'),
		"huge set":         append(append([]byte{typeSet}, huge...), 1, 'a'),
		"huge hash":        append(append([]byte{typeHash}, huge...), 1, 'a'),
		"huge zset":        append(append([]byte{typeZSet}, huge...), 1, 'a'),
		"huge nodes":       append(append([]byte{typeListListpacks}, huge...), 1, 1, 'a'),
		"one too few":      body(typeList, 3, "a", "b"),
		"half pair":        body(typeHash, 2, "a", "b", "c"),
		"half score":       append(body(typeZSet, 1, "a"), 1, 2, 3),
		"set twice":        body(typeSet, 3, "a", "b", "a"),
		"set twice, int":   body(typeSet, 3, "1", "b", "1"),
		"hash twice":       body(typeHash, 2, "a", "1", "a", "2"),
		"zset twice":       body(typeZSet, 2, "a", 1., "a", 2.),
		"zset NaN":         body(typeZSet, 1, "a", math.NaN()),
		"zset old NaN":     body(typeZSetText, 1, "a", oldScore(math.NaN())),
		"zset no digits":   append(body(typeZSetText, 1, "a"), 3, 'x', 'y', 'z'),
		"zset no digit":    append(body(typeZSetText, 1, "a"), 0),
		"zset half digits": append(body(typeZSetText, 1, "a"), 3, '1'),
		"lp no bytes":      body(typeHashListpack, ""),
		"lp half header":   body(typeHashListpack, pack[:5]),
		"lp no end":        body(typeHashListpack, cut(pack, -1, 0)),
		"lp short":         body(typeHashListpack, cut(pack, 0, 6)),
		"lp long":          body(typeHashListpack, cut(pack, 0, 255, 255, 255, 255)),
		"lp count":         body(typeHashListpack, cut(pack, 4, 4)),
		"lp odd":           body(typeHashListpack, lp(str("a"), str("1"), str("b"))),
		"lp twice":         body(typeHashListpack, lp(str("a"), str("1"), str("a"), str("2"))),
		"lp twice, wide":   body(typeHashListpack, lp(str("1"), str("1"), lpString("1", 3), str("2"))),
		"lp set twice":     body(typeSetListpack, lp(str("a"), str("1"), str("a"))),
		"lp backlen":       body(typeHashListpack, cut(pack, 8, 3)),
		"lp end inside":    body(typeHashListpack, cut(pack, 9, packedEnd)),
		"lp entry":         body(typeHashListpack, cut(pack, 6, 0xf5)),
		"lp huge entry":    body(typeHashListpack, lp(cut(lpString("abcdefg", 2), 1, 255, 255, 255, 255), str("b"))),
		"lp past end":      body(typeHashListpack, cut(pack, 9, 0x82)),
		"lp score":         body(typeZSetListpack, lp(str("a"), str("x"))),
		"lp score NaN":     body(typeZSetListpack, lp(str("a"), str("nan"))),
		"lp score none":    body(typeZSetListpack, lp(str("a"), str(""))),
		"lp zset twice":    body(typeZSetListpack, lp(str("a"), str("1"), str("a"), str("2"))),
		"zl half header":   body(typeHashZiplist, zip[:9]),
		"zl no end":        body(typeHashZiplist, cut(zip, -1, 0)),
		"zl short":         body(typeHashZiplist, cut(zip, 0, 10)),
		"zl tail":          body(typeHashZiplist, cut(zip, 4, 10)),
		"zl huge tail":     body(typeHashZiplist, cut(zip, 4, 255, 255, 255, 255)),
		"zl count":         body(typeHashZiplist, cut(zip, 8, 4)),
		"zl before":        body(typeHashZiplist, cut(zip, 13, 4)),
		"zl first before":  body(typeHashZiplist, cut(zip, 10, 1)),
		"zl entry":         body(typeHashZiplist, cut(zip, 11, 0xc1)),
		"zl odd":           body(typeHashZiplist, zl(false, zstr("a"), zstr("1"), zstr("b"))),
		"zl twice":         body(typeZSetZiplist, zl(false, zstr("a"), zstr("1"), zstr("a"), zstr("2"))),
		"zm no end":        body(typeHashZipmap, cut(zm(0, "a", "b"), -1, 0)),
		"zm count":         body(typeHashZipmap, cut(zm(0, "a", "b"), 0, 2)),
		"zm half":          body(typeHashZipmap, zm(0, "a", "b", "c")),
		"zm twice":         body(typeHashZipmap, zm(0, "a", "b", "a", "c")),
		"zm huge":          body(typeHashZipmap, cut(zm(0, "abcde", "b"), 1, 254, 255, 255, 255, 255)),
		"zm unused":        body(typeHashZipmap, cut(zm(0, "a", "b"), 4, 200)),
		"zm trailing":      body(typeHashZipmap, append(zm(0, "a", "b"), packedEnd)),
		"is width":         body(typeIntset, cut(is(2, 1, 2), 0, 3)),
		"is count":         body(typeIntset, cut(is(2, 1, 2), 4, 3)),
		"is overflow":      body(typeIntset, cut(is(8, 1), 4, 1, 0, 0, 0x20)),
		"is order":         body(typeIntset, is(2, 2, 1)),
		"is twice":         body(typeIntset, is(2, 1, 1)),
		"is half":          body(typeIntset, small[:7]),
		"is trailing":      body(typeIntset, append(small, 0)),
		"node mark":        body(typeListListpacks, 1, 3, pack),
		"node none":        body(typeListListpacks, 1),
		"node broken":      body(typeListListpacks, 2, nodePlain, "a", nodePacked, cut(pack, 8, 3)),
		"nodes broken":     body(typeListZiplists, 2, zip, cut(zip, 13, 4)),
	}
}

func TestBrokenCollectionsAreRefused(t *testing.T) {
	for name, b := range broken() {
		p := seal(b, Version)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := ParseDump(p)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

// TestUnpackingIsBounded: compressed nodes that unpack to more and more.
func TestUnpackingIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("unpacks a gigabyte")
	}
	node := appendString(nil, make([]byte, 64<<20))
	b := appendLength([]byte{typeListListpacks}, 17)
	for range 17 {
		b = append(append(b, nodePlain), node...)
	}
	if _, err := ParseDump(seal(b, Version)); !errors.Is(err, ErrFormat) {
		t.Errorf("17 nodes of 64 MB: %v", err)
	}
}

// TestCollisionsAreNoDuplicates: what has the same hash is compared.
func TestCollisionsAreNoDuplicates(t *testing.T) {
	l := layouts[typeSet]
	r := reader{b: body(typeSet, 3, "a", "b", "c")[1:]}
	if err := l.unique(r, []uint64{7, 7, 7}); err != nil {
		t.Error(err)
	}
}

// TestVerdictsOnCollectionsAreRedis damages payloads behind a right checksum, and compares acceptance and content.
func TestVerdictsOnCollectionsAreRedis(t *testing.T) {
	c := startRedis(t)
	rng := rand.New(rand.NewPCG(7, 8))
	all := bodies()
	maps.Copy(all, broken())
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name][0] == typeSetListpack {
			continue
		}
		verdict(t, c, name, all[name])
		for range 40 {
			b := slices.Clone(all[name])
			for range 1 + rng.IntN(2) {
				at := 1 + rng.IntN(len(b)-1)
				if rng.IntN(2) == 0 {
					at = 1 + rng.IntN(min(len(b)-1, 24))
				}
				b[at] ^= byte(1 << rng.IntN(8))
			}
			if rng.IntN(10) == 0 {
				b = b[:1+rng.IntN(len(b)-1)]
			}
			verdict(t, c, name, b)
		}
	}
}

func verdict(t *testing.T, c *redis.Client, name string, b []byte) {
	t.Helper()
	ctx := context.Background()
	p := seal(b, Version)
	o, ours := ParseDump(p)
	theirs := c.RestoreReplace(ctx, "r", 0, string(p)).Err()
	if theirs != nil && !strings.Contains(theirs.Error(), "Bad data format") {
		t.Fatalf("%s, %x: %v", name, b, theirs)
	}
	if ours != nil && theirs == nil && known(b, ours) {
		return
	}
	if (ours == nil) != (theirs == nil) {
		t.Errorf("%s, %.2000x: ours %v, theirs %v", name, b, ours, theirs)
		return
	}
	if ours == nil {
		if kind, content := theirContents(t, c, "r"); kind != o.Kind.String() || !slices.Equal(content, contents(o)) {
			t.Errorf("%s, %.2000x: ours %.200q, theirs %.200q", name, b, contents(o), content)
		}
	}
}

// known says whether what we refuse is a matter in which Redis is known to be lax: it takes any text for a score, ignores
// what stands behind a zipmap, takes longer forms of an entry's length, and reads an object on into the footer.
func known(b []byte, ours error) bool {
	r := reader{b: seal(b, Version)[1:]}
	_, err := r.object(b[0])
	if err == nil {
		return true
	}
	for _, matter := range []string{"behind the end of a zipmap", "length behind an entry", "a score of"} {
		if strings.Contains(ours.Error(), matter) || strings.Contains(err.Error(), matter) {
			return true
		}
	}
	return false
}

// FuzzParseDump: any bytes behind a right footer are read or refused, and what was read goes round.
func FuzzParseDump(f *testing.F) {
	for _, from := range []map[string][]byte{malformed, bodies(), broken()} {
		for _, body := range from {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ParseDump(body) // the footer is wrong, almost surely
		o, err := ParseDump(seal(body, Version))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("an error without its sentinel: %v", err)
			}
			return
		}
		held := contents(o)
		if o.Kind != value.String && (len(held) == 0 || len(held) != o.Len) {
			t.Fatalf("%d announced, %d there", o.Len, len(held))
		}
		if o.Kind != value.String && o.Kind != value.List {
			if n := len(slices.Compact(slices.Clone(held))); n != len(held) {
				t.Fatalf("duplicates: %q", held)
			}
		}
		p, err := AppendDump(nil, o)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseDump(p)
		if err != nil || back.Kind != o.Kind || !slices.Equal(contents(back), held) {
			t.Fatalf("%s %q goes round as %q, %v", o.Kind, held, contents(back), err)
		}
	})
}
