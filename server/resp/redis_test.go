package resp

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for redis-server.
const patience = time.Minute

// startRedis starts a redis-server of its own for the test, and returns its socket.
func startRedis(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	args = append([]string{"--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir,
		"--enable-debug-command", "yes"}, args...)
	cmd := exec.Command(path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatalf("redis-server does not answer: %v", err)
		}
	}
}

func dialRedis(t *testing.T, socket string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, bufio.NewReader(conn)
}

// untilEnd sends data to redis-server, half-closes, and returns all that comes back.
func untilEnd(t *testing.T, socket, data string) string {
	t.Helper()
	conn, r := dialRedis(t, socket)
	// Both fail if the server is quicker to close; what it said before is what counts.
	_, _ = io.WriteString(conn, data)
	_ = conn.(*net.UnixConn).CloseWrite()
	out, _ := io.ReadAll(r) // a reset after a protocol error is as good as an end
	return string(out)
}

// tinyServer answers ECHO as redis-server does, on top of the parser.
func tinyServer(lim Limits, data string, authenticated bool) string {
	var p Parser
	var w Writer
	lim.Authenticated = authenticated
	for {
		args, ok, err := p.Next(&lim)
		if err != nil {
			w.Error("ERR " + err.Error())
			return string(w.Buf)
		}
		switch {
		case ok && !strings.EqualFold(string(args[0]), "ECHO"):
			w.Error(unknownCommand(args))
		case ok && len(args) != 2:
			w.Error("ERR wrong number of arguments for 'echo' command")
		case ok && !authenticated:
			w.Error("NOAUTH Authentication required.")
		case ok:
			w.Bulk(args[1])
		case len(data) == 0:
			return string(w.Buf)
		default:
			n := copy(p.Buffer(1), data)
			p.Wrote(n)
			data = data[n:]
		}
	}
}

func unknownCommand(args [][]byte) string {
	var rest strings.Builder
	for _, a := range args[1:] {
		fmt.Fprintf(&rest, "'%s' ", a)
	}
	return fmt.Sprintf("ERR unknown command '%s', with args beginning with: %s", args[0], rest.String())
}

func TestParserAgainstRedis(t *testing.T) {
	long := strings.Repeat("1", 80<<10)
	inputs := []string{
		"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", "ECHO hi\r\n", "ECHO hi\n", "ECHO\r\n", "nonsense a 'b c'\r\n",
		"*0\r\nECHO a\r\n", "*-1\r\nECHO a\r\n", "*-100\r\nECHO a\r\n", "\r\n\r\n \r\nECHO a\r\n",
		"*abc\r\n", "*\r\n", "*01\r\n", "*+1\r\n", "*-0\r\n", "* 1\r\n", "*1 \r\n", "*00\r\n", "*-01\r\n",
		"*2147483648\r\n", "*99999999999999999999\r\n", "*9223372036854775807\r\n", "*-9223372036854775808\r\nECHO a\r\n",
		"*1\r\nx1\r\n", "*1\r\n\r\n", "*1\r\n\n\r\n", "*1\r\n*1\r\n", "*1\r\n:1\r\n", "*1\r\n-1\r\n", "*1\r\n\xff\r\n",
		"*1\r\n$-2\r\n", "*1\r\n$-1\r\n", "*1\r\n$\r\n", "*1\r\n$1x\r\n", "*1\r\n$01\r\n", "*1\r\n$+1\r\n",
		"*1\r\n$536870913\r\n", "*1\r\n$99999999999999999999\r\n", "*2\r\n$4\r\nECHO\r\nx",
		"*2\r\n$4\r\nECHO\r\nx\r\n", "*2\r\n$4\r\nECHOxx$1\r\nayyECHO b\r\n", "*1\rx$4\rxECHO\r\n",
		"*1" + long, "*1\r\n$1" + long, "ECHO " + long, "*" + long, long,
		"ECHO \"x\r\n", "ECHO 'x\r\n", "ECHO \"x\"y\r\n", "ECHO 'x'y\r\n", "ECHO \"x\\\r\n", "ECHO \"\r\n", "ECHO x'\r\n",
		`ECHO "\x41\n\r\t\b\a\q\\\""` + "\r\n", `ECHO "\x4"` + "\r\n", `ECHO "\xZZ"` + "\r\n", `ECHO '\n\'\x41'` + "\r\n",
		`ECHO a"b"` + "\r\n", `ECHO a'b'` + "\r\n", `ECHO "" ` + "\r\n", "ECHO a\vb\r\n", "ECHO \va\r\n", "ECHO a\r\r\n",
		"ECHO a\rb\r\n", "ECHO \\x41\r\n", "  ECHO\ta  \r\n", "ECHO \"a\"\t\r\n", "ECHO \"a\"\v\r\n", "\"ECHO\" a\r\n",
		"PUT / HTTP/1.1x\r\n", "\xff\xfe\r\n", "ECHO a\r\n*1\r\nx\r\nECHO b\r\n",
	}
	open := startRedis(t)
	guarded := startRedis(t, "--requirepass", "secret")
	for _, in := range inputs {
		if got, want := tinyServer(DefaultLimits(), in, true), untilEnd(t, open, in); got != want {
			t.Errorf("%.60q: got %q, redis-server says %q", in, got, want)
		}
	}
	for _, in := range []string{
		"*10\r\n", "*11\r\n", "*1\r\n$16384\r\n", "*1\r\n$16385\r\n", "*1\r\n$-1\r\n", "*2\r\n$4\r\nECHO\r\n$1\r\na\r\n",
		"ECHO a b c d e f g h i j k l m\r\n", "ECHO a\r\n",
	} {
		if got, want := tinyServer(DefaultLimits(), in, false), untilEnd(t, guarded, in); got != want {
			t.Errorf("not logged in, %.60q: got %q, redis-server says %q", in, got, want)
		}
	}
}

// Random lines of quotes, escapes and spaces are split as redis-server splits them.
func TestInlineAgainstRedis(t *testing.T) {
	socket := startRedis(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	alphabet := []string{" ", "\t", `"`, `'`, `\`, "x", "4", "1", "n", "a", "\r", "\v", `\"`, `" `, `' `}
	for range 1500 {
		in := "ECHO "
		for range rnd.IntN(10) {
			in += alphabet[rnd.IntN(len(alphabet))]
		}
		in += "\r\n"
		if got, want := tinyServer(DefaultLimits(), in, true), untilEnd(t, socket, in); got != want {
			t.Fatalf("%q: got %q, redis-server says %q", in, got, want)
		}
	}
}

// TestWriterAgainstRedis writes what DEBUG PROTOCOL makes redis-server write, in both protocols.
func TestWriterAgainstRedis(t *testing.T) {
	socket := startRedis(t)
	shapes := map[string]func(w *Writer){
		"string":  func(w *Writer) { w.BulkString("Hello World") },
		"integer": func(w *Writer) { w.Int(12345) },
		"double":  func(w *Writer) { w.Double(3.141) },
		"null":    func(w *Writer) { w.Null() },
		"array":   func(w *Writer) { w.Array(3); w.Int(0); w.Int(1); w.Int(2) },
		"set":     func(w *Writer) { w.Set(3); w.Int(0); w.Int(1); w.Int(2) },
		"map": func(w *Writer) {
			w.Map(3)
			w.Int(0)
			w.Bool(false)
			w.Int(1)
			w.Bool(true)
			w.Int(2)
			w.Bool(false)
		},
		"push":      func(w *Writer) { w.Push(2); w.BulkString("server-cpu-usage"); w.Int(42); w.BulkString(behindPush) },
		"verbatim":  func(w *Writer) { w.Verbatim("txt", "This is a verbatim\nstring") },
		"true":      func(w *Writer) { w.Bool(true) },
		"false":     func(w *Writer) { w.Bool(false) },
		"bignum":    func(w *Writer) { w.BigNumber("1234567999999999999999999999999999999") },
		"no-number": func(w *Writer) { w.Error(wrongProtocolType) },
	}
	for _, version := range []string{"2", "3"} {
		conn, r := dialRedis(t, socket)
		fmt.Fprintf(conn, "HELLO %s\r\nECHO \"\\x01end\"\r\n", version)
		if _, err := r.ReadString(1); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Discard(len("end\r\n")); err != nil {
			t.Fatal(err)
		}
		for name, write := range shapes {
			w := Writer{RESP3: version == "3"}
			write(&w)
			if version == "2" && name == "push" {
				continue // redis-server 7.0 refuses the question
			}
			expect(t, conn, r, "DEBUG PROTOCOL "+name, string(w.Buf))
		}
		missing := Writer{RESP3: version == "3"}
		missing.NullArray()
		expect(t, conn, r, "LPOP missing 1", string(missing.Buf))
		ok := Writer{RESP3: version == "3"}
		ok.Simple("OK")
		expect(t, conn, r, "SET k v", string(ok.Buf))
		compareDoubles(t, conn, r, version)
	}
}

const behindPush = "Some real reply following the push reply"

const wrongProtocolType = "ERR Wrong protocol type name. Please use one of the following: " +
	"string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"

// compareDoubles has scores of all kinds come back.
func compareDoubles(t *testing.T, conn net.Conn, r *bufio.Reader, version string) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(5, 6))
	numbers := []float64{0, 1, -1, 3, 100, 1e15, 1e16, 1e17, 1e18, 123456789012345678, 1e21, 0.1, 0.5,
		1.0 / 3, 1e-4, 1e-5, 1.5e-5, 1e100, 5e-324, math.MaxFloat64, math.Inf(1), math.Inf(-1), 1 << 53, 1<<53 + 2, -2.5e-7}
	for range 500 {
		numbers = append(numbers, math.Float64frombits(rnd.Uint64()), rnd.NormFloat64(), float64(rnd.Int64()), float64(rnd.IntN(1e6))/100)
	}
	for _, f := range numbers {
		if math.IsNaN(f) {
			continue
		}
		text := strconv.FormatFloat(f, 'g', -1, 64)
		fmt.Fprintf(conn, "DEL z\r\nZADD z %s m\r\n", strings.TrimPrefix(text, "+"))
		for range 2 {
			if line, err := r.ReadString('\n'); err != nil || line[0] != ':' {
				t.Fatalf("%s: %q, %v", text, line, err)
			}
		}
		w := Writer{RESP3: version == "3"}
		w.Double(f)
		expect(t, conn, r, "ZSCORE z m", string(w.Buf))
	}
}

// expect sends a command and compares the reply.
func expect(t *testing.T, conn net.Conn, r *bufio.Reader, command, ours string) {
	t.Helper()
	// What ECHO answers marks the end of the reply.
	const end = "$9\r\n\x02the end\x02\r\n"
	if _, err := io.WriteString(conn, command+"\r\nECHO \"\\x02the end\\x02\"\r\n"); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for !strings.HasSuffix(got.String(), end) {
		c, err := r.ReadByte()
		if err != nil {
			t.Fatalf("%s: after %q: %v", command, got.String(), err)
		}
		got.WriteByte(c)
	}
	if theirs := strings.TrimSuffix(got.String(), end); theirs != ours {
		t.Errorf("%s: redis-server writes %q, we %q", command, theirs, ours)
	}
}
