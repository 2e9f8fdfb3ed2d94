package command

// The oracle runs every command twice, on a real redis-server 7.0 and on our handlers, and compares the bytes of the
// two replies.
//
//	o := newOracle(t)           // starts a redis-server (the test is skipped without one; in CI=true it fails)
//	o.Do("SET", "k", "v")       // both sides; replies must be equal; returns our reply, encoded
//	o.Line(`SET k "a\x00b"`)    // the same for a line with redis-cli's quoting
//	o.Lines("SET k v\nGET k")   // many lines; # begins a comment line; "%list k" is PutList, "%key k" CompareKey
//	o.Table("strings.txt")      // the lines of testdata/strings.txt, in both protocols
//	o.RESP(3)                   // both sides speak RESP3 from here on
//	o.Select(1)                 // both sides use data base 1 from here on
//	o.PutList("k")              // k holds a list on both sides: for WRONGTYPE
//	o.CompareKey("k")           // value, encoding and rough time to live of one key
//	o.Theirs("DEBUG", …)        // redis-server alone; o.Ours(…) is our side alone
//
// The clocks of the two sides are the real one and differ by the time between two calls. So replies that depend on it
// need
//
//	o.DoNear(2000, "PTTL", "k") // equal, but integers may differ by up to 2000
//
// and tests give times to live that are far away or long past, never near. Where Redis leaves the order open,
// o.DoSet compares the elements of the top-level array as a multiset.
//
// The key space of our side is in space_test.go.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/value"
)

type oracle struct {
	t     testing.TB
	conn  net.Conn
	in    *bufio.Reader
	space *space
	proto int
	db    int
}

func newOracle(t testing.TB) *oracle {
	t.Helper()
	o := &oracle{t: t, proto: 2, space: newSpace(t)}
	o.conn = startRedis(t)
	o.in = bufio.NewReader(o.conn)
	return o
}

// startRedis starts a redis-server that lives as long as the test, and returns a connection to it.
func startRedis(t testing.TB) net.Conn {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no redis-server in PATH: the differential tests need version 7.0")
		}
		t.Skip("no redis-server in PATH: the differential tests need version 7.0")
	}
	for attempt := 0; ; attempt++ {
		conn, err := tryRedis(t, program)
		if err == nil {
			return conn
		}
		if attempt == 4 { // a port that was free may be taken a moment later
			t.Fatalf("redis-server does not start: %v", err)
		}
	}
}

func tryRedis(t testing.TB, program string) (net.Conn, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		return nil, err
	}
	server := exec.Command(program, "--port", strconv.Itoa(addr.Port), "--bind", "127.0.0.1", "--save", "",
		"--appendonly", "no", "--dir", t.TempDir(), "--enable-debug-command", "yes")
	server.Env = append(os.Environ(), "LC_ALL=C") // SORT's order of texts
	if err := server.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Wait() // killed, or reported by the failing connection
		close(ended)
	}()
	stop := func() {
		_ = server.Process.Kill() // it may have ended by itself
		<-ended
	}
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.Dial("tcp", addr.String())
		if err == nil {
			t.Cleanup(func() {
				_ = conn.Close()
				stop()
			})
			return conn, nil
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("ended at once (port %d taken?)", addr.Port)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			stop()
			return nil, err
		}
	}
}

// Do runs a command on both sides; the replies must be equal, byte by byte.
func (o *oracle) Do(args ...string) string {
	o.t.Helper()
	ours, theirs := o.Ours(args...), o.Theirs(args...)
	if ours != theirs {
		o.t.Errorf("RESP%d %s\n ours   %s\n theirs %s", o.proto, quoteArgs(args), shorten(ours), shorten(theirs))
	}
	return ours
}

// Line is Do for a line with redis-cli's quoting.
func (o *oracle) Line(line string) string {
	o.t.Helper()
	return o.Do(splitLine(o.t, line)...)
}

// Lines is Line for every line that is neither empty nor a comment nor one of the two directives.
func (o *oracle) Lines(text string) {
	o.t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		word, key, _ := strings.Cut(line, " ")
		switch {
		case line == "" || line[0] == '#':
		case word == "%list":
			o.PutList(key)
		case word == "%key":
			o.CompareKey(key)
		default:
			o.Line(line)
		}
	}
}

// Table is Lines for a file in testdata, once in each protocol, each time from an empty data base.
func (o *oracle) Table(file string) {
	o.t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		o.t.Fatal(err)
	}
	for _, version := range []int{2, 3} {
		o.Flush()
		o.RESP(version)
		o.Lines(string(text))
	}
}

// Flush empties both sides.
func (o *oracle) Flush() {
	o.Theirs("FLUSHALL")
	o.space.write(time.Now().UnixMilli(), 0, func(tx *keyspace.Tx) {
		for db := range tx.Databases() {
			tx.Flush(db)
		}
	})
}

// DoNear is Do, but integers may differ by up to slack.
func (o *oracle) DoNear(slack int64, args ...string) string {
	o.t.Helper()
	ours, theirs := o.Ours(args...), o.Theirs(args...)
	if !nearlyEqual(ours, theirs, slack) {
		o.t.Errorf("RESP%d %s\n ours   %s\n theirs %s (may differ by %d)",
			o.proto, quoteArgs(args), shorten(ours), shorten(theirs), slack)
	}
	return ours
}

// DoSet is Do, but the elements of an array may stand in any order.
func (o *oracle) DoSet(args ...string) string {
	o.t.Helper()
	ours, theirs := o.Ours(args...), o.Theirs(args...)
	if !slices.Equal(sortedElements(o.t, ours), sortedElements(o.t, theirs)) {
		o.t.Errorf("RESP%d %s (in any order)\n ours   %s\n theirs %s",
			o.proto, quoteArgs(args), shorten(ours), shorten(theirs))
	}
	return ours
}

// RESP switches both sides to a version of the protocol.
func (o *oracle) RESP(version int) {
	o.Theirs("HELLO", strconv.Itoa(version))
	o.proto = version
}

// Select switches both sides to a data base.
func (o *oracle) Select(db int) {
	o.Theirs("SELECT", strconv.Itoa(db))
	o.db = db
}

// PutList makes key a list of one element on both sides.
func (o *oracle) PutList(key string) {
	o.Theirs("DEL", key)
	o.Theirs("RPUSH", key, "x")
	o.space.write(time.Now().UnixMilli(), o.db, func(tx *keyspace.Tx) {
		tx.Delete(o.db, []byte(key))
		tx.List(o.db, []byte(key)).Insert(0, []byte("x"))
	})
}

// CompareKey compares what can be seen of a key: its kind, the digest of its value, a string's value and encoding, and its
// time to live to some seconds.
func (o *oracle) CompareKey(key string) {
	o.t.Helper()
	var found bool
	var e keyspace.Entry
	now := time.Now().UnixMilli()
	o.space.write(now, o.db, func(tx *keyspace.Tx) {
		if e, found = tx.Peek(o.db, []byte(key)); found {
			e.Value = bytes.Clone(tx.Whole(o.db, []byte(key), e))
		}
	})
	ttl := int64(-2)
	switch {
	case found && e.Expire != 0:
		ttl = e.Expire - now
	case found:
		ttl = -1
	}
	if theirs := o.Theirs("PTTL", key); !nearlyEqual(fmt.Sprintf(":%d\r\n", ttl), theirs, 5000) {
		o.t.Errorf("%q: time to live %d, theirs %s", key, ttl, shorten(theirs))
	}
	o.CompareDigest(key)
	if !found || e.Kind != value.String {
		o.Do("TYPE", key)
		return
	}
	if theirs := o.Theirs("GET", key); theirs != string(o.encodeBulk(e.Value)) {
		o.t.Errorf("%q holds %s, theirs %s", key, shorten(string(e.Value)), shorten(theirs))
	}
	if theirs := o.Theirs("OBJECT", "ENCODING", key); theirs != string(o.encodeBulk([]byte(expectedEncoding(e)))) {
		o.t.Errorf("%q is %s, theirs %s; holds %s", key, expectedEncoding(e), shorten(theirs), shorten(string(e.Value)))
	}
}

// CompareDigest compares the digests of a key's value, whatever its kind.
func (o *oracle) CompareDigest(key string) {
	o.t.Helper()
	var ours Digest
	o.space.write(time.Now().UnixMilli(), o.db, func(tx *keyspace.Tx) {
		ours = Digest{}
		if e, ok := tx.Peek(o.db, []byte(key)); ok {
			ours = DigestValue(tx, o.db, []byte(key), e)
		}
	})
	if theirs := o.Theirs("DEBUG", "DIGEST-VALUE", key); theirs != "*1\r\n+"+ours.String()+"\r\n" {
		o.t.Errorf("%q: digest %s, theirs %s", key, ours, shorten(theirs))
	}
}

// expectedEncoding is what OBJECT ENCODING has to answer for a string.
func expectedEncoding(e keyspace.Entry) string {
	_, isInt := value.ParseInt(e.Value)
	switch {
	case e.Enc == value.Raw:
		return "raw"
	case e.Enc == value.Natural && isInt:
		return "int"
	case len(e.Value) <= 44:
		return "embstr"
	default:
		return "raw"
	}
}

// Ours runs a command on our side alone and returns the encoded reply.
func (o *oracle) Ours(args ...string) string {
	o.t.Helper()
	row, name := Lookup([]byte(args[0])), args[0]
	if row != nil && row.Sub != nil && len(args) > 1 {
		row, name = row.Subcommand([]byte(args[1])), name+"|"+args[1]
	}
	if row == nil {
		o.t.Fatalf("no row for %s", name)
	}
	w := &respWriter{proto: o.proto}
	if row.Arity > 0 && len(args) != row.Arity || len(args) < -row.Arity {
		w.Error("ERR wrong number of arguments for '" + strings.ToLower(name) + "' command")
		return string(w.out)
	}
	raw := make([][]byte, len(args))
	for i, a := range args {
		raw[i] = []byte(a)
	}
	now, do := time.Now().UnixMilli(), func(tx *keyspace.Tx) {
		w.out = w.out[:0]
		row.Do(tx, raw, w)
	}
	switch {
	case row.Flags&Write != 0:
		o.space.write(now, o.db, do)
	case row.Flags&LongRead != 0:
		o.space.detached(now, o.db, o.keysOf(row, raw), len(row.Keys) == 0, do)
	default:
		o.space.read(now, o.db, do)
	}
	if _, rest, ok := cutReply(w.out); !ok || len(rest) > 0 {
		o.t.Errorf("%s: the reply is not complete and alone: %s", quoteArgs(args), shorten(string(w.out)))
	}
	return string(w.out)
}

// Theirs runs a command on redis-server alone and returns the bytes of the reply.
func (o *oracle) Theirs(args ...string) string {
	o.t.Helper()
	var b []byte
	b = fmt.Appendf(b, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	if err := o.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.conn.Write(b); err != nil {
		o.t.Fatalf("to redis-server: %v", err)
	}
	out, err := readReply(o.in, nil)
	if err != nil {
		o.t.Fatalf("from redis-server, %s: %v", quoteArgs(args), err)
	}
	return string(out)
}

// keysOf is the keys that the row declares among the arguments; none where those are wrong, which the handler finds too.
func (o *oracle) keysOf(row *Command, args [][]byte) (keys []keyspace.Key) {
	positions, err := row.KeyPositions(args, nil)
	if err != nil {
		return nil
	}
	for _, at := range positions {
		keys = append(keys, keyspace.Key{DB: o.db, Key: args[at]})
	}
	return keys
}

func (o *oracle) encodeBulk(b []byte) []byte {
	w := respWriter{proto: o.proto}
	w.Bulk(b)
	return w.out
}

// readReply appends the bytes of one whole reply.
func readReply(in *bufio.Reader, out []byte) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return out, err
	}
	out = append(out, line...)
	n := 0
	switch line[0] {
	case '$', '=', '*', '~', '>', '%':
		if n, err = strconv.Atoi(strings.TrimSpace(string(line[1:]))); err != nil {
			return out, fmt.Errorf("bad length in %q", line)
		}
	}
	switch line[0] {
	case '$', '=':
		if n < 0 {
			return out, nil
		}
		from := len(out)
		out = append(out, make([]byte, n+2)...)
		_, err = io.ReadFull(in, out[from:])
		return out, err
	case '%':
		n *= 2
	}
	for ; n > 0; n-- {
		if out, err = readReply(in, out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// cutReply splits the first reply off b.
func cutReply(b []byte) (reply, rest []byte, ok bool) {
	in := bufio.NewReader(bytes.NewReader(b))
	reply, err := readReply(in, nil)
	if err != nil {
		return nil, nil, false
	}
	return reply, b[len(reply):], true
}

// nearlyEqual compares replies line by line; integers may differ by slack, if they have the same sign.
func nearlyEqual(a, b string, slack int64) bool {
	as, bs := strings.Split(a, "\r\n"), strings.Split(b, "\r\n")
	return slices.EqualFunc(as, bs, func(x, y string) bool {
		if x == y {
			return true
		}
		if !strings.HasPrefix(x, ":") || !strings.HasPrefix(y, ":") {
			return false
		}
		n, err := strconv.ParseInt(x[1:], 10, 64)
		m, err2 := strconv.ParseInt(y[1:], 10, 64)
		return err == nil && err2 == nil && (n < 0) == (m < 0) && max(n-m, m-n) <= slack
	})
}

// sortedElements is the header of an aggregate followed by its elements, sorted; other replies stand alone.
func sortedElements(t testing.TB, reply string) []string {
	if reply[0] != '*' && reply[0] != '~' {
		return []string{reply}
	}
	end := strings.Index(reply, "\r\n") + 2
	elements := []string{}
	for rest := []byte(reply[end:]); len(rest) > 0; {
		element, left, ok := cutReply(rest)
		if !ok {
			t.Fatalf("bad reply %s", shorten(reply))
		}
		elements = append(elements, string(element))
		rest = left
	}
	slices.Sort(elements)
	return append([]string{reply[:end]}, elements...)
}

// splitLine splits a line into arguments; an argument may be quoted as a Go string is, which is redis-cli's way too.
func splitLine(t testing.TB, line string) (args []string) {
	t.Helper()
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " \t") {
		if line[0] != '"' {
			word := line
			if i := strings.IndexAny(line, " \t"); i >= 0 {
				word = line[:i]
			}
			args, line = append(args, word), line[len(word):]
			continue
		}
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			t.Fatalf("bad quoting in %s", line)
		}
		arg, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("bad quoting in %s", line)
		}
		args, line = append(args, arg), line[len(quoted):]
	}
	return args
}

func quoteArgs(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' }) || a == "" {
			a = strconv.Quote(a)
		}
		b.WriteString(a)
	}
	return shorten(b.String())
}

func shorten(s string) string {
	const most = 600
	if len(s) > most {
		return fmt.Sprintf("%q… (%d bytes)", s[:most], len(s))
	}
	return strconv.Quote(s)
}
