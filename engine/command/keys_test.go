package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/value"
)

func TestKeysTable(t *testing.T) { newOracle(t).Table("keys.txt") }

func TestKeysOfAllKindsTable(t *testing.T) { newOracle(t).Table("keys_kinds.txt") }

func TestExpireTable(t *testing.T) { newOracle(t).Table("expire.txt") }

// TestMovedKeysKeepTheirLife looks at what MOVE, COPY and SWAPDB have put into another data base.
func TestMovedKeysKeepTheirLife(t *testing.T) {
	o := newOracle(t)
	o.Lines("SET a v EX 1000\nSET b 1\nAPPEND c x\nAPPEND c y\nMOVE a 2\nCOPY b b DB 2\nMOVE c 2\nSWAPDB 2 5")
	o.Select(5)
	o.Lines("%key a\n%key b\n%key c\nDBSIZE\nSET a w\nMOVE a 0\nSWAPDB 5 0\n%key a\nFLUSHDB")
	o.Select(0)
	o.Lines("%key a\n%key b\n%key c\nDBSIZE")
}

func TestWalksGiveTheSameKeys(t *testing.T) {
	o := newOracle(t)
	for i := range 300 {
		o.Do("SET", fmt.Sprintf("key:%d", i), "v")
	}
	o.Do("SET", "", "v")
	o.PutList("list")
	for _, pattern := range []string{"*", "key:1*", "key:?", "*[0-4]", "**", "nothing", "[^k]*", "key:1?[13-5]"} {
		o.DoSet("KEYS", pattern)
	}
	o.RESP(3)
	o.DoSet("KEYS", "*")
	for _, count := range []string{"1", "7", "1000"} {
		seen := map[string]int{}
		for cursor := "0"; ; {
			reply := o.Ours("SCAN", cursor, "COUNT", count, "MATCH", "key:*")
			parts := strings.Split(reply, "\r\n")
			cursor = parts[2]
			for i := 5; i < len(parts); i += 2 {
				seen[parts[i]]++
			}
			if cursor == "0" {
				break
			}
		}
		if len(seen) != 300 {
			t.Errorf("COUNT %s: %d of 300 keys", count, len(seen))
		}
		for key, n := range seen {
			if n != 1 {
				t.Errorf("COUNT %s: %s came %d times", count, key, n)
			}
		}
	}
}

// TestRestoreAndDumpMeet restores each side's payload in both.
func TestRestoreAndDumpMeet(t *testing.T) {
	o := newOracle(t)
	for _, s := range []string{"", "0", "-7", "1234", "-99999999", "12345678901", "hello", strings.Repeat("ab", 500), "\x00\xff\r\n"} {
		o.Do("SET", "from", s)
		payload := strings.SplitN(o.Do("DUMP", "from"), "\r\n", 2)[1]
		payload = strings.TrimSuffix(payload, "\r\n")
		o.Do("DEL", "to", "later", "past", "at")
		o.Do("RESTORE", "to", "0", payload)
		o.CompareKey("to")
		o.Do("RESTORE", "to", "0", payload)
		o.Do("RESTORE", "to", "0", payload, "REPLACE", "IDLETIME", "10")
		o.Do("RESTORE", "later", "1000000", payload, "FREQ", "7")
		o.CompareKey("later")
		o.Do("RESTORE", "at", "99999999999999", payload, "absttl")
		o.Do("PEXPIRETIME", "at")
		o.Do("RESTORE", "past", "1", payload, "ABSTTL")
		o.Do("RESTORE", "at", "1", payload, "ABSTTL", "REPLACE")
		o.Do("RESTORE", "past", "9223372036854775807", payload)
		o.Do("EXISTS", "past", "at")
		o.Do("RESTORE", "to", "0", payload[:len(payload)-1], "REPLACE")
		o.Do("RESTORE", "to", "0", payload[1:], "REPLACE")
		o.CompareKey("to")
	}
	o.Do("SETRANGE", "grown", "0", "12")
	payload := strings.TrimSuffix(strings.SplitN(o.Do("DUMP", "grown"), "\r\n", 2)[1], "\r\n")
	o.Do("RESTORE", "to", "0", payload, "REPLACE")
	o.CompareKey("to")
}

// TestExpireDue: only keys that are due go, and only once.
func TestExpireDue(t *testing.T) {
	s := newSpace(t)
	now := time.Now().UnixMilli()
	put := func(key string, at int64) {
		s.write(now, 0, func(tx *keyspace.Tx) {
			tx.Put(0, []byte(key), keyspace.Entry{Kind: value.String, Value: []byte("v"), Expire: at})
		})
	}
	put("due", now+10)
	put("later", now+1000)
	put("never", 0)
	for _, want := range []int64{1, 0} {
		w := &respWriter{proto: 2}
		s.write(now+11, 0, func(tx *keyspace.Tx) {
			args := [][]byte{[]byte("LARDER.EXPIRE"), []byte("due"), []byte("later"), []byte("never"), []byte("missing"), []byte("due")}
			Lookup(args[0]).Do(tx, args, w)
			if n := tx.Len(0); n != 2 {
				t.Errorf("%d keys are left, not 2", n)
			}
		})
		if string(w.out) != fmt.Sprintf(":%d\r\n", want) {
			t.Errorf("replied %q, not %d", w.out, want)
		}
	}
}

func TestCursorArg(t *testing.T) {
	for arg, want := range map[string]uint64{
		"": 0, "0": 0, "+7": 7, "-1": 1<<64 - 1, "007": 7, "18446744073709551615": 1<<64 - 1, "5\x00x": 5,
	} {
		if got, ok := cursorArg([]byte(arg)); !ok || got != want {
			t.Errorf("%q reads as %d, %v", arg, got, ok)
		}
	}
	for _, arg := range []string{"x", " 1", "1 ", "-", "+", "--1", "18446744073709551616", "99999999999999999999", "1x"} {
		if got, ok := cursorArg([]byte(arg)); ok {
			t.Errorf("%q reads as %d", arg, got)
		}
	}
}

func TestKeyPositions(t *testing.T) {
	row := func(specs ...KeySpec) *Command { return &Command{Keys: specs} }
	keyword := row(KeySpec{Keyword: "STREAMS", From: 1, Last: -1, Step: 1, Limit: 2})
	backwards := row(KeySpec{First: 3, Last: 3, Step: 1}, KeySpec{Keyword: "KEYS", From: -2, Last: -1, Step: 1})
	sort := row(sortKeys...)
	for _, c := range []struct {
		row  *Command
		line string
		want string
	}{
		{&Command{}, "PING a", "[]"},
		{row(oneKey(RO)...), "GET a", "[1]"},
		{row(oneKey(NotKey)...), "PUBLISH a b", "[]"},
		{row(allKeys(RO)...), "DEL a b c", "[1 2 3]"},
		{row(twoKeys(RO, OW)...), "COPY a b DB 1", "[1 2]"},
		{row(KeySpec{First: 1, Last: -1, Step: 2}), "MSET a 1 b 2 c", "[1 3 5]"},
		{row(KeySpec{First: 1, Last: -2, Step: 1}), "BLPOP a b 0", "[1 2]"},
		{row(KeySpec{Numkeys: 2, Step: 1}), "EVAL s 2 a b c", "[3 4]"},
		{row(KeySpec{Numkeys: 2, Step: 1}), "EVAL s 0 a", "[]"},
		{row(KeySpec{Numkeys: 2, Step: 1}), "EVAL s 3 a b", "error"},
		{row(KeySpec{Numkeys: 2, Step: 1}), "EVAL s -1 a b", "error"},
		{row(KeySpec{Numkeys: 2, Step: 1}), "EVAL s 9223372036854775807 a", "error"},
		{row(KeySpec{Numkeys: 2, Step: 1}), "EVAL s x a b", "error"},
		{row(KeySpec{Numkeys: 2, Step: 1}), "EVAL s", "error"},
		{row(twoKeys(RO, OW)...), "COPY a", "error"},
		{keyword, "XREAD COUNT 2 streams a b 0 0", "[4 5]"},
		{keyword, "XREAD COUNT 2", "[]"},
		{backwards, "MIGRATE h p k 0 1 KEYS a b", "[3 7 8]"},
		{sort, "SORT k", "[1]"},
		{sort, "SORT k STORE d", "[1 3]"},
		{sort, "SORT store STORE store STORE d", "[1 5]"},
		{sort, "SORT k GET STORE STORE d BY store ASC LIMIT store x", "[1 5]"},
		{sort, "SORT k STORE", "[1]"},
		{sort, "SORT k STORE d STORE", "[1 3]"},
		{sort, "SORT k GET STORE GET", "[1]"},
	} {
		var args [][]byte
		for _, word := range strings.Fields(c.line) {
			args = append(args, []byte(word))
		}
		got, err := c.row.KeyPositions(args, nil)
		text := fmt.Sprint(got)
		if err != nil {
			text = "error"
			if !errors.Is(err, ErrKeys) {
				t.Errorf("%s: %v", c.line, err)
			}
		}
		if text != c.want {
			t.Errorf("%s: %s, not %s", c.line, text, c.want)
		}
	}
}

func TestQuotedIsOneLine(t *testing.T) {
	if got := quoted([]byte("a\r\nb\x00c")); got != "a  b" {
		t.Errorf("%s", strconv.Quote(got))
	}
}
