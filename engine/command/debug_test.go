package command

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/value"
)

// TestDigestsAreRedis compares the digests of values and of whole data sets in several data bases.
func TestDigestsAreRedis(t *testing.T) {
	o := newRedis(t)
	var all DataDigest
	for _, db := range []int{3, 15, 0} { // in any order
		o.Theirs("SELECT", fmt.Sprint(db))
		for i := range 40 {
			key, val := fmt.Sprintf("key:%d:%d", db, i), strings.Repeat(fmt.Sprint(i), i)
			e := keyspace.Entry{Kind: value.String, Value: []byte(val)}
			o.Theirs("SET", key, val)
			if i%3 == 0 {
				e.Expire = 99999999999999
				o.Theirs("PEXPIREAT", key, fmt.Sprint(e.Expire))
			}
			all.Add(db, []byte(key), e)
			if theirs := o.Theirs("DEBUG", "DIGEST-VALUE", key); theirs != "*1\r\n+"+DigestValue(e).String()+"\r\n" {
				t.Errorf("%s: ours %s, theirs %q", key, DigestValue(e), theirs)
			}
		}
	}
	if theirs := o.Theirs("DEBUG", "DIGEST"); theirs != "+"+all.Sum().String()+"\r\n" {
		t.Errorf("data set: ours %s, theirs %q", all.Sum(), theirs)
	}
	if theirs := o.Theirs("DEBUG", "DIGEST-VALUE", "missing"); theirs != "*1\r\n+"+(Digest{}).String()+"\r\n" {
		t.Errorf("missing key: ours %s, theirs %q", Digest{}, theirs)
	}
}

var objectLine = regexp.MustCompile(`^\+Value at:0x[0-9a-f]+ refcount:1 (encoding:\w+ serializedlength:\d+) lru:(\d+) lru_seconds_idle:(\d+)\r\n$`)

func TestDebugObjectIsRedis(t *testing.T) {
	o := newOracle(t)
	debugObject := func(key string) string {
		w := &respWriter{proto: 2}
		o.space.read(time.Now().UnixMilli(), 0, func(tx *keyspace.Tx) {
			w.out = w.out[:0]
			DebugObject(tx, []byte(key), w)
		})
		return string(w.out)
	}
	for _, s := range []string{"", "70000", "-1", "hello", strings.Repeat("x", 44), strings.Repeat("larder ", 100), strings.Repeat("0123456789", 2000)} {
		o.Do("SET", "k", s)
		ours, theirs := objectLine.FindStringSubmatch(debugObject("k")), objectLine.FindStringSubmatch(o.Theirs("DEBUG", "OBJECT", "k"))
		if ours == nil || theirs == nil || ours[1] != theirs[1] {
			t.Errorf("%.20q: ours %q, theirs %q", s, ours, theirs)
		}
	}
	if ours, theirs := debugObject("missing"), o.Theirs("DEBUG", "OBJECT", "missing"); ours != theirs {
		t.Errorf("missing key: ours %q, theirs %q", ours, theirs)
	}
}

func TestPopulateIsRedis(t *testing.T) {
	o := newOracle(t)
	for _, args := range [][]string{
		{"5"}, {"7", "p"}, {"3", "long", "20"}, {"3", "short", "4"}, {"12", "none", "0"}, {"8", "p"}, {"0"},
		{"-1"}, {"x"}, {"1", "p", "-1"}, {"1", "p", "x"},
	} {
		o.Do("SET", "p:1", "stays")
		theirs := o.Theirs(append([]string{"DEBUG", "POPULATE"}, args...)...)
		if ours := o.Ours(append([]string{"LARDER.POPULATE"}, args...)...); ours != theirs {
			t.Errorf("%v: ours %q, theirs %q", args, ours, theirs)
		}
	}
	o.DoSet("KEYS", "*")
	for _, key := range []string{"key:0", "key:4", "p:0", "p:1", "p:7", "long:2", "short:2", "none:11"} {
		o.CompareKey(key)
	}
}
