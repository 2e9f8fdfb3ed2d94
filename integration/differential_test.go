package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The same commands go to a real redis-server and to larder, each in its own pipeline, and the bytes of the replies
// must be the same. Where a reply depends on the moment or on chance, the kind of comparison says what must agree.

type comparison int

const (
	exact    comparison = iota
	near                // integers may differ by slack: the two servers read their clocks one after the other
	anyOrder            // elements of aggregates in any order
	shape               // only the type of the reply, and whether it is null or an error
)

// slack is how far apart times may be, in milliseconds, or in seconds where a reply counts those.
const slack = 20_000

// twins are the two servers with a connection each.
type twins struct {
	t             testing.TB
	ours, theirs  *wire
	larder, redis *server
	proto         int
	asked         []string // since the last comparison, for the report
	how           []comparison
	compared      int
	disagreements int
}

func newTwins(t testing.TB, directives ...string) *twins {
	t.Helper()
	w := &twins{t: t, proto: 2, redis: startRedis(t), larder: startLarder(t, directives...)}
	w.ours, w.theirs = connect(t, w.larder), connect(t, w.redis)
	return w
}

// ask sends a command to both with the next compare.
func (w *twins) ask(how comparison, args ...string) {
	w.ours.put(args...)
	w.theirs.put(args...)
	w.asked = append(w.asked, quoteArgs(args))
	w.how = append(w.how, how)
}

// compare sends what was asked and compares all replies.
func (w *twins) compare() {
	w.t.Helper()
	for _, side := range []*wire{w.ours, w.theirs} {
		if err := side.send(); err != nil {
			w.t.Fatal(err)
		}
	}
	for i, command := range w.asked {
		theirs, err := w.theirs.reply()
		if err != nil {
			w.t.Fatalf("redis-server, %s: %v", command, err)
		}
		ours, err := w.ours.reply()
		if err != nil {
			w.t.Fatalf("larder, %s: %v; it said:\n%s", command, err, w.larder.output.String())
		}
		w.compared++
		if w.agree(w.how[i], ours, theirs) {
			continue
		}
		before := strings.Join(w.asked[max(0, i-3):i], "\n    ")
		w.t.Errorf("RESP%d %s\n  larder %s\n  redis  %s\n  before:\n    %s", w.proto, command, shorten(ours), shorten(theirs), before)
		if w.disagreements++; w.disagreements == 20 {
			w.t.Fatal("enough disagreements")
		}
	}
	w.asked, w.how = w.asked[:0], w.how[:0]
}

func (w *twins) agree(how comparison, ours, theirs string) bool {
	switch {
	case ours == theirs:
		return true
	case how == exact:
		return false
	case how == anyOrder:
		return inAnyOrder(w.t, ours) == inAnyOrder(w.t, theirs)
	case how == near:
		return nearlyEqual(ours, theirs)
	}
	null := func(reply string) bool { return strings.HasPrefix(reply, "$-1") || reply[0] == '_' }
	return ours[0] == theirs[0] && null(ours) == null(theirs) && ours[0] != '-'
}

// nearlyEqual: integers of the same sign may differ by slack.
func nearlyEqual(ours, theirs string) bool {
	if ours[0] != ':' || theirs[0] != ':' {
		return false
	}
	a, err := strconv.ParseInt(strings.TrimSpace(ours[1:]), 10, 64)
	b, err2 := strconv.ParseInt(strings.TrimSpace(theirs[1:]), 10, 64)
	return err == nil && err2 == nil && (a < 0) == (b < 0) && max(a-b, b-a) <= slack
}

// do asks and compares one command.
func (w *twins) do(args ...string) {
	w.t.Helper()
	w.ask(comparisonOf(args), args...)
	w.compare()
}

// protocol empties both servers and begins afresh with a version of the protocol.
func (w *twins) protocol(version int) {
	w.t.Helper()
	for _, side := range []*wire{w.ours, w.theirs} {
		if reply := side.do(w.t, "HELLO", strconv.Itoa(version)); reply[0] == '-' {
			w.t.Fatalf("HELLO %d: %s", version, reply)
		}
		side.want(w.t, "+OK\r\n", "FLUSHALL")
		side.want(w.t, "+OK\r\n", "SELECT", "0")
	}
	w.proto = version
}

// sameData compares the digests of all data.
func (w *twins) sameData() {
	w.t.Helper()
	if ours, theirs := digestOf(w.t, w.ours), digestOf(w.t, w.theirs); ours != theirs {
		w.t.Errorf("the data differ: digest %s, redis-server's %s", shorten(ours), shorten(theirs))
	}
}

// comparisonOf says how the replies of a command are compared.
func comparisonOf(args []string) comparison {
	switch strings.ToUpper(args[0]) {
	case "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME":
		return near
	case "KEYS", "HGETALL", "HKEYS", "HVALS", "SMEMBERS", "SPOP", "SINTER", "SUNION", "SDIFF":
		return anyOrder
	case "HRANDFIELD", "SRANDMEMBER", "HSCAN", "SSCAN", "ZRANDMEMBER", "ZSCAN", "RANDOMKEY", "DUMP", "TIME", "LASTSAVE":
		return shape
	case "OBJECT":
		if len(args) > 1 && strings.EqualFold(args[1], "IDLETIME") {
			return near
		}
	case "MEMORY":
		if len(args) > 2 && strings.EqualFold(args[1], "USAGE") {
			return shape
		}
	}
	return exact
}

// TestTablesOverTheWire runs the command families' own tables, and the server's, through both servers' sockets.
func TestTablesOverTheWire(t *testing.T) {
	files, err := filepath.Glob("../engine/command/testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	own, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(own) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, file := range append(files, own...) {
		for _, version := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s RESP%d", filepath.Base(file), version), func(t *testing.T) {
				w := newTwins(t)
				w.protocol(version)
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(string(content)) {
					w.line(strings.TrimSpace(line))
				}
				w.sameData()
			})
		}
	}
}

// line runs one line of a table. "%key k" looks at a key from all sides; "%list k" would need lists, and empties k.
func (w *twins) line(line string) {
	w.t.Helper()
	word, key, _ := strings.Cut(line, " ")
	switch {
	case line == "" || line[0] == '#':
	case word == "%list":
		w.do("DEL", key)
	case word == "%key":
		for _, args := range [][]string{{"GET", key}, {"PTTL", key}, {"OBJECT", "ENCODING", key}, {"DEBUG", "DIGEST-VALUE", key}} {
			w.do(args...)
		}
	default:
		w.do(splitLine(w.t, line)...)
	}
}

// fromEnvironment is a number that the environment may set.
func fromEnvironment(t *testing.T, name string, otherwise int) int {
	t.Helper()
	set := os.Getenv(name)
	if set == "" {
		return otherwise
	}
	n, err := strconv.Atoi(set)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRandomStreams runs long streams of random commands, right and wrong ones. LARDER_STEPS sets their length,
// LARDER_SEED what they are drawn from.
func TestRandomStreams(t *testing.T) {
	steps, seed := fromEnvironment(t, "LARDER_STEPS", 100_000), fromEnvironment(t, "LARDER_SEED", 1)
	for _, version := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", version), func(t *testing.T) {
			w := newTwins(t)
			w.protocol(version)
			w.stream(uint64(10*seed+version), steps, func(int) {})
		})
	}
}

// TestRandomStreamSurvives is a stream during which larder checkpoints, forgets its memory, and is killed: none of it
// may show.
func TestRandomStreamSurvives(t *testing.T) {
	w := newTwins(t, "--checkpoint-log-bytes", "1mb")
	w.protocol(2)
	chance := rand.New(rand.NewPCG(5, 5))
	w.stream(uint64(99+fromEnvironment(t, "LARDER_SEED", 1)), 20_000, func(db int) {
		switch chance.IntN(6) {
		case 0:
			w.larder.kill()
			w.larder.restart()
			w.ours = connect(t, w.larder)
			w.ours.want(t, "+OK\r\n", "SELECT", strconv.Itoa(db))
			w.theirs.want(t, "+OK\r\n", "CLIENT", "SETNAME", "") // a name is the connection's
		case 1:
			w.ours.want(t, "+OK\r\n", "DEBUG", "RELOAD")
		case 2:
			w.ours.want(t, "+OK\r\n", "DEBUG", "LOADAOF")
		case 3:
			w.ours.want(t, "+OK\r\n", "SAVE")
		}
	})
}

// stream runs random commands in pipelines of random depth; disturb is called now and then between two.
func (w *twins) stream(seed uint64, steps int, disturb func(db int)) {
	w.t.Helper()
	g := newGenerator(seed)
	w.t.Logf("seed %d", seed)
	for step := 0; step < steps; {
		depth := 1 + g.rng.IntN(100)
		for range depth {
			args := g.command()
			w.ask(comparisonOf(args), args...)
		}
		w.compare()
		step += depth
		if g.rng.IntN(8) == 0 {
			disturb(g.db)
			w.sameData()
		}
		if g.rng.IntN(10) == 0 {
			w.scanAll()
			w.exchange(g.key())
		}
	}
	w.sameData()
	w.t.Logf("%d replies compared", w.compared)
}

// scanAll: what SCAN returns in its own order is what KEYS returns.
func (w *twins) scanAll() {
	w.t.Helper()
	keys := inAnyOrder(w.t, w.theirs.do(w.t, "KEYS", "*"))
	seen := map[string]bool{}
	for cursor := "0"; ; {
		parts := elements(w.t, w.ours.do(w.t, "SCAN", cursor, "COUNT", "7"))
		for _, key := range elements(w.t, parts[1]) {
			if seen[key] {
				w.t.Fatalf("SCAN returned %s twice", key)
			}
			seen[key] = true
		}
		if cursor = text(w.t, parts[0]); cursor == "0" {
			break
		}
	}
	for _, key := range elements(w.t, keys) {
		if !seen[key] {
			w.t.Errorf("SCAN left out %s", key)
		}
		delete(seen, key)
	}
	if len(seen) > 0 {
		w.t.Errorf("SCAN returned %d keys that are not there", len(seen))
	}
}

// exchange dumps a key on each side and restores it on the other.
func (w *twins) exchange(key string) {
	w.t.Helper()
	ours, theirs := w.ours.do(w.t, "DUMP", key), w.theirs.do(w.t, "DUMP", key)
	if ours[0] != '$' || strings.HasPrefix(ours, "$-1") || theirs[0] != '$' {
		return
	}
	w.ours.want(w.t, "+OK\r\n", "RESTORE", "exchanged", "0", text(w.t, theirs), "REPLACE")
	w.theirs.want(w.t, "+OK\r\n", "RESTORE", "exchanged", "0", text(w.t, ours), "REPLACE")
	w.do("GET", "exchanged")
	w.do("DEBUG", "DIGEST-VALUE", "exchanged", key)
	w.do("DEL", "exchanged")
}
