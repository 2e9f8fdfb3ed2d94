package command

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestTableIsSound(t *testing.T) {
	names := map[string]bool{}
	var check func(c *Command, parent string)
	check = func(c *Command, parent string) {
		name := parent + c.Name
		if names[name] {
			t.Errorf("%s stands there twice", name)
		}
		names[name] = true
		if name != strings.ToUpper(name) {
			t.Errorf("%s is not in upper case", name)
		}
		if c.Group == "" || c.Since == "" || !strings.HasSuffix(c.Summary, ".") || c.Arity == 0 {
			t.Errorf("%s: group, since, summary or arity is missing", name)
		}
		for _, word := range strings.Fields(c.Extra) {
			if !slices.Contains(categories, strings.TrimPrefix(word, "-")) {
				t.Errorf("%s: no category is named %s", name, word)
			}
		}
		if c.Sub != nil {
			if c.Do != nil || c.Flags&(Write|ReadOnly) != 0 {
				t.Errorf("%s is a container and does something itself", name)
			}
			for i := range c.Sub {
				check(&c.Sub[i], name+"|")
			}
			return
		}
		if c.Do == nil {
			t.Errorf("%s has no handler", name)
		}
		isHelp := parent != "" && c.Name == "HELP" // it looks at no key
		if rw := c.Flags & (Write | ReadOnly); rw == Write|ReadOnly || rw == 0 && !isHelp {
			t.Errorf("%s must be either Write or ReadOnly", name)
		}
	}
	for i := range Table() {
		check(&Table()[i], "")
	}
}

func TestLookup(t *testing.T) {
	for i := range Table() {
		c := &Table()[i]
		for _, name := range []string{c.Name, strings.ToLower(c.Name), c.Name[:1] + strings.ToLower(c.Name[1:])} {
			if Lookup([]byte(name)) != c {
				t.Errorf("%s is not found", name)
			}
		}
		for _, name := range []string{c.Name + "~", c.Name + "\x00", "\x00" + c.Name, c.Name + c.Name + c.Name} {
			if Lookup([]byte(name)) != nil {
				t.Errorf("%q is found", name)
			}
		}
		for at := range c.Name {
			for b := range 256 {
				wrong := []byte(c.Name)
				wrong[at] = byte(b)
				if got := Lookup(wrong); got != nil && !strings.EqualFold(got.Name, string(wrong)) {
					t.Fatalf("%q finds %s", wrong, got.Name)
				}
			}
		}
	}
	for _, name := range []string{"", "a", strings.Repeat("get", 1000)} {
		if Lookup([]byte(name)) != nil {
			t.Errorf("%.10q is found", name)
		}
	}
	if Lookup([]byte("object")).Subcommand([]byte("Encoding")).Name != "ENCODING" || Lookup([]byte("OBJECT")).Subcommand([]byte("x")) != nil {
		t.Error("subcommands are not told apart")
	}
	if !Lookup([]byte("larder.expire")).Internal() || Lookup([]byte("EXPIRE")).Internal() {
		t.Error("internal rows are not told apart")
	}
}

// TestLongNamesAreCompared looks for names that agree in length and both ends.
func TestLongNamesAreCompared(t *testing.T) {
	rows := []Command{{Name: "AAAAAAAA12BBBBBBBB"}, {Name: "AAAAAAAA34BBBBBBBB"}}
	x := newNameIndex(rows)
	for i := range rows {
		if x.find([]byte(strings.ToLower(rows[i].Name))) != &rows[i] {
			t.Errorf("%s is not found", rows[i].Name)
		}
	}
	if x.find([]byte("AAAAAAAA56BBBBBBBB")) != nil {
		t.Error("a name between is found")
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	del, object := [][]byte{[]byte("del"), []byte("a"), []byte("b")}, [][]byte{[]byte("get"), []byte("a")}
	dst := make([]int, 0, 8)
	n := testing.AllocsPerRun(100, func() {
		for _, args := range [][][]byte{del, object} {
			if _, err := Lookup(args[0]).KeyPositions(args, dst[:0]); err != nil {
				t.Error(err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// newRedis is an oracle without a side of ours.
func newRedis(t *testing.T) *oracle {
	t.Helper()
	conn := startRedis(t)
	return &oracle{t: t, proto: 2, conn: conn, in: bufio.NewReader(conn)}
}

// notYet are the commands of redis-server 7.0 that our families will hold, but do not.
var notYet = strings.Fields("migrate pfselftest restore-asking wait " +
	"blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin")

// TestTableIsRedis compares every row with what COMMAND INFO says of it, and looks for rows that are missing.
func TestTableIsRedis(t *testing.T) {
	o := newRedis(t)
	theirs := map[string]tableInfo{}
	for _, group := range parseReply(t, o.Theirs("COMMAND")).([]any) {
		info := parseInfo(group)
		theirs[info.name] = info
	}
	seen := map[string]bool{}
	for i := range Table() {
		c := &Table()[i]
		if c.Internal() {
			continue
		}
		name := strings.ToLower(c.Name)
		seen[name] = true
		compareInfo(t, c, "", theirs[name])
		for j := range c.Sub {
			sub := &c.Sub[j]
			compareInfo(t, sub, name+"|", theirs[name].sub[name+"|"+strings.ToLower(sub.Name)])
		}
	}
	categoriesHere := []string{"@keyspace", "@string", "@bitmap", "@hash", "@list", "@set", "@sortedset"}
	for name, info := range theirs {
		if seen[name] || slices.Contains(notYet, name) {
			continue
		}
		for _, c := range categoriesHere {
			if slices.Contains(info.categories, c) {
				t.Errorf("%s is missing: %v", name, info)
			}
		}
	}
}

// TestDocumentationIsRedis compares groups and versions with COMMAND DOCS.
func TestDocumentationIsRedis(t *testing.T) {
	o := newRedis(t)
	compare := func(c *Command, docs any) {
		if fields := pairs(docs); fields["group"] != c.Group || fields["since"] != c.Since {
			t.Errorf("%s: group %q since %q, theirs %v since %v", c.Name, c.Group, c.Since, fields["group"], fields["since"])
		}
	}
	for i := range Table() {
		c := &Table()[i]
		if c.Internal() {
			continue
		}
		docs := parseReply(t, o.Theirs("COMMAND", "DOCS", c.Name)).([]any)[1]
		compare(c, docs)
		if len(c.Sub) == 0 {
			continue
		}
		subs := pairs(pairs(docs)["subcommands"])
		for j := range c.Sub {
			compare(&c.Sub[j], subs[strings.ToLower(c.Name+"|"+c.Sub[j].Name)])
		}
	}
}

// tableInfo is one command of COMMAND's reply.
type tableInfo struct {
	name              string
	arity             int
	flags, categories []string
	keyRange          string
	tips              []string
	specs             []string
	sub               map[string]tableInfo
}

func parseInfo(v any) tableInfo {
	f := v.([]any)
	info := tableInfo{
		name: f[0].(string), arity: f[1].(int), flags: texts(f[2]), categories: texts(f[6]), tips: texts(f[7]),
		keyRange: fmt.Sprint(f[3:6]), sub: map[string]tableInfo{},
	}
	for _, s := range f[8].([]any) {
		info.specs = append(info.specs, describe(s))
	}
	for _, s := range f[9].([]any) {
		sub := parseInfo(s)
		info.sub[sub.name] = sub
	}
	return info
}

// describe is a key specification in one line.
func describe(v any) string {
	f := pairs(v)
	begin, find := pairs(f["begin_search"]), pairs(f["find_keys"])
	b, s := pairs(begin["spec"]), pairs(find["spec"])
	return fmt.Sprint(f["notes"], " ", texts(f["flags"]), begin["type"], b["index"], b["keyword"], b["startfrom"], find["type"],
		s["lastkey"], s["keystep"], s["limit"], s["keynumidx"], s["firstkey"])
}

func describeOurs(s *KeySpec) string {
	last := s.Last
	if last >= 0 {
		last -= s.First
	}
	var notes any
	if s.Notes != "" {
		notes = s.Notes
	}
	switch {
	case s.Unknown():
		return fmt.Sprint(notes, " ", s.Use.Names(), "unknown", nil, nil, nil, "unknown", nil, nil, nil, nil, nil)
	case s.Numkeys > 0:
		return fmt.Sprint(notes, " ", s.Use.Names(), "index", any(s.Numkeys), nil, nil, "keynum", nil, any(s.Step), nil, any(0), any(1))
	}
	return fmt.Sprint(notes, " ", s.Use.Names(), "index", any(s.First), nil, nil, "range", any(last), any(s.Step), any(s.Limit), nil, nil)
}

func compareInfo(t *testing.T, c *Command, parent string, theirs tableInfo) {
	t.Helper()
	name := parent + strings.ToLower(c.Name)
	if theirs.name != name {
		t.Errorf("Redis knows no %s", name)
		return
	}
	first, last, step := c.KeyRange()
	ours := tableInfo{arity: c.Arity, flags: c.Flags.Names(), tips: c.Tips, keyRange: fmt.Sprint([]int{first, last, step})}
	for _, word := range c.Categories() {
		ours.categories = append(ours.categories, "@"+word)
	}
	for i := range c.Keys {
		ours.specs = append(ours.specs, describeOurs(&c.Keys[i]))
	}
	for _, x := range []struct{ what, ours, theirs string }{
		{"arity", strconv.Itoa(ours.arity), strconv.Itoa(theirs.arity)},
		{"flags", fmt.Sprint(ours.flags), fmt.Sprint(theirs.flags)},
		{"categories", fmt.Sprint(ours.categories), fmt.Sprint(theirs.categories)},
		{"key range", ours.keyRange, theirs.keyRange},
		{"tips", fmt.Sprint(ours.tips), fmt.Sprint(theirs.tips)},
		{"key specifications", fmt.Sprint(ours.specs), fmt.Sprint(theirs.specs)},
	} {
		if x.ours != x.theirs {
			t.Errorf("%s, %s:\n ours   %s\n theirs %s", name, x.what, x.ours, x.theirs)
		}
	}
}

// texts is a list of strings.
func texts(v any) []string {
	var out []string
	for _, s := range v.([]any) {
		out = append(out, s.(string))
	}
	return out
}

// pairs is a flat list of names and values.
func pairs(v any) map[string]any {
	list, _ := v.([]any)
	m := map[string]any{}
	for i := 0; i+1 < len(list); i += 2 {
		m[list[i].(string)] = list[i+1]
	}
	return m
}

// parseReply turns a RESP2 reply into strings, ints, nil and lists of them.
func parseReply(t *testing.T, reply string) any {
	v, rest := parseNext(reply)
	if rest != "" {
		t.Fatalf("%d bytes behind the reply", len(rest))
	}
	return v
}

func parseNext(s string) (v any, rest string) {
	line, rest, _ := strings.Cut(s, "\r\n")
	n, _ := strconv.Atoi(line[1:]) // 0 where it is no number, and then not used
	switch line[0] {
	case ':':
		return n, rest
	case '$':
		if n < 0 {
			return nil, rest
		}
		return rest[:n], rest[n+2:]
	case '*':
		list := []any{}
		for range n {
			var e any
			e, rest = parseNext(rest)
			list = append(list, e)
		}
		return list, rest
	}
	return line[1:], rest
}

func BenchmarkLookup(b *testing.B) {
	names := [][]byte{[]byte("GET"), []byte("set"), []byte("MGET"), []byte("incrbyfloat"), []byte("PEXPIREAT")}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if Lookup(names[i%len(names)]) == nil {
			b.Fatal("not found")
		}
	}
}

func BenchmarkKeyPositions(b *testing.B) {
	for _, line := range []string{"GET a", "DEL a b c d"} {
		b.Run(line[:3], func(b *testing.B) {
			var args [][]byte
			for _, word := range strings.Fields(line) {
				args = append(args, []byte(word))
			}
			row, dst := Lookup(args[0]), make([]int, 0, 8)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := row.KeyPositions(args, dst[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
