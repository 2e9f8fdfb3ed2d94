package resp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

// feed gives data to the parser in pieces whose sizes cut returns, and collects all commands.
func feed(p *Parser, lim *Limits, data []byte, cut func(rest int) int) (commands []string, err error) {
	for {
		for {
			args, ok, err := p.Next(lim)
			if err != nil {
				return commands, err
			}
			if !ok {
				break
			}
			commands = append(commands, fmt.Sprintf("%q", args))
		}
		p.Release()
		if len(data) == 0 {
			return commands, nil
		}
		room := p.Buffer(1)
		if len(room) == 0 {
			return commands, errors.New("no room")
		}
		n := copy(room, data[:min(cut(len(data)), len(data))])
		p.Wrote(n)
		data = data[n:]
	}
}

func whole(rest int) int { return rest }
func single(int) int     { return 1 }

func TestParserCommands(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"*1\r\n$4\r\nPING\r\n", `["PING"]`},
		{"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n", `["GET" "k"] ["PING"]`},
		{"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", `["GET" ""]`},
		{"*0\r\n*-1\r\n*-10\r\nPING\r\n", `["PING"]`},
		{"\r\n\n   \r\nPING\r\n", `["PING"]`},
		{"PING\nPING\r\n", `["PING"] ["PING"]`},
		{"  SET  k\tv  \r\n", `["SET" "k" "v"]`},
		{`SET k "a b\x41\n\r\t\b\a\"\q" 'it\'s \n' x"y"` + "\r\n", `["SET" "k" "a bA\n\r\t\b\a\"q" "it's \\n" "xy"]`},
		{`SET "" ''` + "\r\n", `["SET" "" ""]`},
		{`ECHO "\x4"` + "\r\n", `["ECHO" "x4"]`},
		{"ECHO a\r\r\n", `["ECHO" "a"]`},
		{"ECHO a\vb\r\n", `["ECHO" "a\vb"]`},
		{"*1\r\n$4\r\nPINGxy*1\r\n$4\r\nPING\r\n", `["PING"] ["PING"]`},
		{"*1\rX$4\rXPING\r\n", `["PING"]`},
		{"*1\r\n$4\r\nPI", ``},
		{"PIN", ``},
	} {
		for name, cut := range map[string]func(int) int{"whole": whole, "bytes": single} {
			lim := DefaultLimits()
			got, err := feed(new(Parser), &lim, []byte(c.in), cut)
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("%q (%s): got %s, %v, want %s", c.in, name, got, err, c.want)
			}
		}
	}
}

func TestParserErrors(t *testing.T) {
	long := strings.Repeat("1", 64<<10)
	small := DefaultLimits()
	small.MaxBulk, small.MaxArgs = 100, 20
	guest := DefaultLimits()
	guest.Authenticated = false
	for _, c := range []struct {
		in   string
		lim  Limits
		want string
	}{
		{"*abc\r\n", small, "Protocol error: invalid multibulk length"},
		{"*21\r\n", small, "Protocol error: invalid multibulk length"},
		{"*\r\n", small, "Protocol error: invalid multibulk length"},
		{"*01\r\n", small, "Protocol error: invalid multibulk length"},
		{"*+1\r\n", small, "Protocol error: invalid multibulk length"},
		{"*99999999999999999999\r\n", small, "Protocol error: invalid multibulk length"},
		{"*9223372036854775807\r\n", small, "Protocol error: invalid multibulk length"},
		{"*1\r\nx1\r\n", small, "Protocol error: expected '$', got 'x'"},
		{"*1\r\n\r\n", small, "Protocol error: expected '$', got ' '"},
		{"*1\r\n\x00\r\n", small, "Protocol error: expected '$', got '"},
		{"*1\r\n$-2\r\n", small, "Protocol error: invalid bulk length"},
		{"*1\r\n$-1\r\n", small, "Protocol error: invalid bulk length"},
		{"*1\r\n$\r\n", small, "Protocol error: invalid bulk length"},
		{"*1\r\n$1x\r\n", small, "Protocol error: invalid bulk length"},
		{"*1\r\n$101\r\n", small, "Protocol error: invalid bulk length"},
		{"*1" + long, small, "Protocol error: too big mbulk count string"},
		{"*1\r\n$1" + long, small, "Protocol error: too big bulk count string"},
		{"PING " + long, small, "Protocol error: too big inline request"},
		{"PING " + long + "\r\n", small, "Protocol error: too big inline request"},
		{"ECHO \"x\r\n", small, "Protocol error: unbalanced quotes in request"},
		{"ECHO 'x\r\n", small, "Protocol error: unbalanced quotes in request"},
		{"ECHO \"x\"y\r\n", small, "Protocol error: unbalanced quotes in request"},
		{"ECHO \"x\\\r\n", small, "Protocol error: unbalanced quotes in request"},
		{"*11\r\n", guest, "Protocol error: unauthenticated multibulk length"},
		{"*1\r\n$16385\r\n", guest, "Protocol error: unauthenticated bulk length"},
	} {
		for name, cut := range map[string]func(int) int{"whole": whole, "bytes": single} {
			p := new(Parser)
			_, err := feed(p, &c.lim, []byte(c.in), cut)
			var pe ProtocolError
			if !errors.As(err, &pe) || pe.Error() != c.want {
				t.Errorf("%.20q (%s): got %v, want %v", c.in, name, err, c.want)
			}
			if _, _, again := p.Next(&c.lim); again != err {
				t.Errorf("%.20q: the error is not final: %v", c.in, again)
			}
		}
	}
	if _, err := feed(new(Parser), &guest, []byte("*10\r\n$16384\r\n"), whole); err != nil {
		t.Errorf("at the limit of a guest: %v", err)
	}
}

func TestQueryBufferLimit(t *testing.T) {
	lim := DefaultLimits()
	lim.QueryBuffer = 1 << 20
	empty := "*1000000\r\n" + strings.Repeat("$0\r\n\r\n", 100_000) // costs by its headers
	long := "*1\r\n$2000000\r\n" + strings.Repeat("x", 2_000_000)
	for _, in := range []string{empty, long} {
		_, err := feed(new(Parser), &lim, []byte(in), func(int) int { return 5000 })
		if !errors.Is(err, ErrQueryBufferLimit) {
			t.Errorf("%.20q: got %v", in, err)
		}
	}
	pipeline := strings.Repeat("*1\r\n$4\r\nPING\r\n", 200_000) // complete commands do not count
	if got, err := feed(new(Parser), &lim, []byte(pipeline), whole); err != nil || len(got) != 200_000 {
		t.Errorf("pipeline: %d commands, %v", len(got), err)
	}
}

// command encodes a command of these arguments.
func command(args ...[]byte) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n", len(a))
		b = append(b, a...)
		b = append(b, "\r\n"...)
	}
	return b
}

func TestRandomCommandsInRandomPieces(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 3, 20, 300, 5000, 16 << 10, 40 << 10, 70 << 10, 300 << 10, 2 << 20}
	for range 60 {
		var data []byte
		var want []string
		for range 1 + rnd.IntN(20) {
			args := make([][]byte, 1+rnd.IntN(6))
			for i := range args {
				args[i] = bytes.Repeat([]byte{byte('a' + rnd.IntN(26))}, sizes[min(rnd.IntN(len(sizes)), rnd.IntN(len(sizes)))])
			}
			data = append(data, command(args...)...)
			want = append(want, fmt.Sprintf("%q", args))
		}
		lim := DefaultLimits()
		biggest := 1 << rnd.IntN(20)
		got, err := feed(new(Parser), &lim, data, func(int) int { return 1 + rnd.IntN(biggest) })
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d of %d commands, %v", len(got), len(want), err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("command %d is wrong", i)
			}
		}
	}
}

// Arguments taken by several calls of Next stay as they are until Buffer is called.
func TestArgumentsStayValid(t *testing.T) {
	var p Parser
	lim := DefaultLimits()
	const n = 500
	var data []byte
	for i := range n {
		data = append(data, command([]byte("GET"), fmt.Appendf(nil, "key%d", i))...)
	}
	p.Wrote(copy(p.Buffer(len(data)), data))
	var all [][][]byte
	for {
		args, ok, err := p.Next(&lim)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		all = append(all, args)
	}
	for i, args := range all {
		if string(args[1]) != fmt.Sprintf("key%d", i) || cap(args[1]) != len(args[1]) || cap(args) != 2 {
			t.Fatalf("command %d: %q", i, args)
		}
	}
	if len(all) != n || p.Buffered() != 0 {
		t.Fatalf("%d commands, %d bytes left", len(all), p.Buffered())
	}
}

// A long argument in small pieces is copied about twice in all, and allocates about twice what has arrived.
func TestLongArgumentIsLinear(t *testing.T) {
	const size, piece = 64 << 20, 8 << 10
	var p Parser
	lim := DefaultLimits()
	p.Wrote(copy(p.Buffer(1), fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", size)))
	var arrived, grown, moved int
	var before *byte
	for arrived < size+2 {
		if _, ok, err := p.Next(&lim); ok || err != nil {
			t.Fatal(ok, err)
		}
		room := p.Buffer(1)
		if first := &p.cur.b[0]; first != before {
			before = first
			moved += p.w - p.r
			grown += len(p.cur.b)
		}
		if len(p.cur.b) > 2*arrived+arrived/4+freeBulk {
			t.Fatalf("%d bytes arrived, block of %d", arrived, len(p.cur.b))
		}
		n := min(len(room), piece, size+2-arrived)
		clear(room[:n])
		p.Wrote(n)
		arrived += n
	}
	args, ok, err := p.Next(&lim)
	if !ok || err != nil || len(args) != 3 || string(args[0]) != "SET" || len(args[2]) != size {
		t.Fatal(ok, err, len(args))
	}
	if moved > size || grown > 3*size {
		t.Errorf("moved %d bytes, allocated %d, for %d", moved, grown, size)
	}
	p.Buffer(1)
	if len(p.cur.b) > minBlock {
		t.Errorf("keeps a block of %d", len(p.cur.b))
	}
	p.Release()
	if p.cur != nil || p.argv != nil || len(p.spent) > 0 {
		t.Error("a parser at rest holds memory")
	}
}

func TestLyingLengthsAllocateNothing(t *testing.T) {
	lim := DefaultLimits()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		var p Parser
		p.Wrote(copy(p.Buffer(1), "*1000000\r\n$536870912\r\nx"))
		if _, ok, err := p.Next(&lim); ok || err != nil {
			t.Fatal(ok, err)
		}
		p.Buffer(1)
		p.Reset()
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 100*2*freeBulk {
		t.Errorf("allocated %d bytes", got)
	}
}

// Whatever the bytes: no panic, bounded memory, and the same commands however they are split.
func FuzzParser(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\nk\r\nPING \"a\\x41\"\r\n"), uint64(1))
	f.Add([]byte("*1\r\n$-2\r\n"), uint64(2))
	f.Add([]byte("*-1\r\n*0\r\n\r\n*3\r\n$1\r\na\r\n$20\r\nb"), uint64(3))
	f.Add(command([]byte("SET"), make([]byte, 100), make([]byte, 300)), uint64(4))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		lim := DefaultLimits()
		lim.MaxInline = 200
		lim.Authenticated = seed%2 == 0
		want, wantErr := feed(new(Parser), &lim, bytes.Clone(data), whole)
		rnd := rand.New(rand.NewPCG(seed, 0))
		var p Parser
		got, err := feed(&p, &lim, bytes.Clone(data), func(int) int { return 1 + rnd.IntN(1+rnd.IntN(40)) })
		if err != wantErr || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Fatalf("in pieces: %s, %v; whole: %s, %v", got, err, want, wantErr)
		}
		held := 0
		if p.cur != nil {
			held = len(p.cur.b)
		}
		for _, k := range p.spent {
			held += len(k.b)
		}
		if held > 4*len(data)+4*freeBulk {
			t.Fatalf("holds %d for %d bytes", held, len(data))
		}
	})
}

func BenchmarkParser(b *testing.B) {
	data := bytes.Repeat(command([]byte("SET"), []byte("key:000000000001"), make([]byte, 64)), 16)
	lim := DefaultLimits()
	var p Parser
	b.ReportAllocs()
	for b.Loop() {
		p.Wrote(copy(p.Buffer(1), data))
		for {
			if _, ok, err := p.Next(&lim); !ok || err != nil {
				break
			}
		}
		p.Release()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/16, "ns/command")
}
