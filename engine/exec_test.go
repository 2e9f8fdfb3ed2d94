package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/command"
)

// transaction makes the arguments of a LARDER.EXEC of lines.
func transaction(g command.Guard, db int, lines ...string) [][]byte {
	args := command.BeginExec(g, len(lines))
	for _, l := range lines {
		args = command.AppendNested(args, db, byteArgs(strings.Fields(l)...))
	}
	return args
}

func (e *testEngine) applyExec(term uint64, args [][]byte) (string, error) {
	b := &Batch{Replies: &e.out}
	b.AddWrite(command.Exec(), 0, args)
	e.index++
	err := e.Apply(e.index, term, b.Seal(Header{Clock: e.clock}), b)
	return e.out.take(), err
}

// TestExecGuards: a transaction of another term, or behind its deadline, does nothing.
func TestExecGuards(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	defer e.close()
	for i, c := range []struct {
		guard command.Guard
		term  uint64
		runs  bool
	}{
		{command.Guard{}, 7, true},
		{command.Guard{Term: 7}, 7, true},
		{command.Guard{Term: 6}, 7, false},
		{command.Guard{Deadline: e.clock}, 7, true},
		{command.Guard{Deadline: e.clock - 1}, 7, false},
		{command.Guard{Term: 7, Deadline: e.clock - 1}, 7, false},
	} {
		key := fmt.Sprint("key", i)
		got, err := e.applyExec(c.term, transaction(c.guard, 2, "SET "+key+" 1", "INCR "+key, "GET "+key))
		want := "*-1\n"
		if c.runs {
			want = "*3\n+OK\n:2\n$2\n"
		}
		if err != nil || got != want {
			t.Errorf("%+v: %q, %v; want %q", c, got, err, want)
		}
	}
	if n := e.Keys().Stats().Keys[2]; n != 3 {
		t.Errorf("%d keys, want 3", n)
	}
}

// TestMalformedExec: what is no transaction ends the replica, as every entry that it cannot read does, and does nothing before.
func TestMalformedExec(t *testing.T) {
	good := transaction(command.Guard{}, 0, "SET a 1", "GET a")
	unknown := transaction(command.Guard{}, 0, "SET a 1", "NOSUCH a")
	for name, c := range map[string]struct {
		args [][]byte
		want error
	}{
		"too few":         {good[:len(good)-1], ErrEntry},
		"too many":        {append(slices.Clone(good), []byte("x")), ErrEntry},
		"head":            {[][]byte{good[0], []byte("\xff")}, ErrEntry},
		"count":           {[][]byte{good[0], {0, 0, 100}}, ErrEntry},
		"data base":       {transaction(command.Guard{}, 16, "SET a 1"), ErrEntry},
		"arity":           {transaction(command.Guard{}, 0, "SET a"), ErrEntry},
		"nested":          {command.AppendNested(command.BeginExec(command.Guard{}, 1), 0, good), ErrEntry},
		"a newer command": {unknown, ErrFeatureLevel},
	} {
		e := openTest(t, vfs.NewMem())
		if _, err := e.applyExec(1, c.args); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if n := e.Keys().Stats().Keys[0]; n != 0 {
			t.Errorf("%s: it wrote %d keys", name, n)
		}
		e.close()
	}
}

func TestFootprints(t *testing.T) {
	cells := func(keys ...string) (out []uint16) {
		for _, k := range keys {
			out = append(out, CellOf([]byte(k)))
		}
		return out
	}
	add := func(lines ...string) Footprint {
		var b Batch
		for _, l := range lines {
			addTo(&b, 3, byteArgs(strings.Fields(l)...))
		}
		return b.Footprint()
	}
	var exec, all Batch
	exec.AddWrite(command.Exec(), 0, transaction(command.Guard{}, 5, "SET a 1", "GET b", "MSET c 1 d 2"))
	all.AddWrite(command.Exec(), 0, transaction(command.Guard{}, 5, "SET a 1", "FLUSHDB"))
	for name, c := range map[string]struct {
		got  Footprint
		want Footprint
	}{
		"nothing":        {add(), Footprint{}},
		"reads":          {add("GET a"), Footprint{}},
		"writes":         {add("SET a 1", "GET b", "DEL c d"), Footprint{Cells: cells("a", "c", "d")}},
		"two data bases": {add("MOVE a 1"), Footprint{Cells: cells("a")}},
		"all":            {add("SET a 1", "SWAPDB 1 2"), Footprint{All: true}},
		"undeclared":     {add("LARDER.POPULATE 3"), Footprint{All: true}},
		"expiry":         {add("LARDER.EXPIRE a b"), Footprint{Cells: cells("a", "b")}},
		"transaction":    {exec.Footprint(), Footprint{Cells: cells("a", "c", "d")}},
		"it flushes":     {all.Footprint(), Footprint{All: true}},
	} {
		if c.got.All != c.want.All || !slices.Equal(c.got.Cells, c.want.Cells) {
			t.Errorf("%s: %+v, want %+v", name, c.got, c.want)
		}
	}
}

func TestPortableExec(t *testing.T) {
	args := transaction(command.Guard{Term: 4, Deadline: 1000}, 5, "SET a 1 EX 10", "GET b", "LARDER.EXPIRE c")
	show := func(list []PortableCommand) (out []string) {
		for _, c := range list {
			var words []string
			for _, a := range c.Args {
				words = append(words, string(a))
			}
			out = append(out, fmt.Sprint(c.DB, " ", strings.Join(words, " ")))
		}
		return out
	}
	got := show(Portable(0, args, 500, 1000, 4))
	if want := []string{"-1 MULTI", "5 SET a 1 PXAT 10500", "5 DEL c", "-1 EXEC"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for name, list := range map[string][]PortableCommand{
		"late":       Portable(0, args, 500, 1001, 4),
		"other term": Portable(0, args, 500, 1000, 5),
		"reads":      Portable(0, transaction(command.Guard{}, 0, "GET a"), 0, 0, 4),
	} {
		if list != nil {
			t.Errorf("%s: %q", name, show(list))
		}
	}
}
