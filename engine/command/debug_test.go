package command

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
)

// TestDigestsAreRedis compares the digests of values and of whole data sets in several data bases.
func TestDigestsAreRedis(t *testing.T) {
	o := newOracle(t)
	for _, db := range []int{3, 15, 0} { // in any order
		o.Select(db)
		for i := range 40 {
			key := fmt.Sprintf("key:%d:%d", db, i)
			o.Do("SET", key, strings.Repeat(fmt.Sprint(i), i))
			if i%3 == 0 {
				o.Do("PEXPIREAT", key, "99999999999999")
			}
			o.CompareDigest(key)
		}
		for i, kind := range collectionKinds {
			for _, n := range []int{1, 50, 700} {
				key := fmt.Sprintf("%s:%d", kind, n)
				o.Fill(key, kind, n, i+n)
				o.CompareDigest(key)
			}
		}
	}
	var all DataDigest
	if err := o.space.keys.Each(func(tx *keyspace.Tx, db int, key []byte, e keyspace.Entry) error {
		all.Add(tx, db, key, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if theirs := o.Theirs("DEBUG", "DIGEST"); theirs != "+"+all.Sum().String()+"\r\n" {
		t.Errorf("data set: ours %s, theirs %q", all.Sum(), theirs)
	}
	o.CompareDigest("missing")
}

var objectLine = regexp.MustCompile(`^\+Value at:0x[0-9a-f]+ refcount:1 (encoding:\w+ serializedlength:\d+) lru:(\d+) lru_seconds_idle:(\d+)\r\n$`)

func TestDebugObjectIsRedis(t *testing.T) {
	o := newOracle(t)
	debugObject := func(key string) string {
		w := &respWriter{proto: 2}
		o.space.read(time.Now().UnixMilli(), 0, func(tx *keyspace.Tx) {
			w.out = w.out[:0]
			DebugObject(tx, []byte(key), storedThresholds, w)
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
