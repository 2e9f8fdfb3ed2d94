package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"
)

const testMemory = 10 << 30

func load(t testing.TB, args ...string) *Config {
	t.Helper()
	c, _, err := Load(Options{Version: "1", Args: args, Memory: testMemory})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func writeFile(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return path
}

func get(c *Config, name string) string {
	if pairs := c.Get(name); len(pairs) == 1 {
		return pairs[0].Value
	}
	return "?"
}

func TestDefaults(t *testing.T) {
	v := load(t).Load()
	if v.Port != 6379 || v.AppendFsync != FsyncAlways || !v.Overflow || v.Databases != 16 || !v.AppendOnly {
		t.Errorf("%+v", v)
	}
	if want := (MemorySize{testMemory / 100 * 60, 60}); v.MaxMemory != want {
		t.Errorf("maxmemory %+v, want %+v", v.MaxMemory, want)
	}
	if v.TCPKeepAlive != 300*time.Second || v.ProtoMaxBulkLen != 512<<20 || !filepath.IsAbs(v.Dir) {
		t.Errorf("%+v", v)
	}
	if want := (OutputLimit{32 << 20, 8 << 20, 60}); v.OutputLimits[ClassPubSub] != want {
		t.Errorf("pubsub %+v", v.OutputLimits[ClassPubSub])
	}
}

func TestUnknownMemory(t *testing.T) {
	if _, _, err := Load(Options{Memory: -1}); err == nil || !strings.Contains(err.Error(), "set maxmemory") {
		t.Error(err)
	}
	c, _, err := Load(Options{Memory: -1, Args: []string{"--maxmemory", "1gb"}})
	if err != nil || c.Load().MaxMemory.Bytes != 1<<30 {
		t.Error(err)
	}
}

func TestCommandLine(t *testing.T) {
	file := writeFile(t, t.TempDir(), "a.conf", "port 1\nhz 20\nsave 5 5\n")
	for _, test := range []struct {
		args  []string
		stdin string
		want  string // port, hz, save, requirepass
	}{
		{[]string{}, "", "6379 10 [3600 1 300 100 60 10000] []"},
		{[]string{file}, "", "1 20 [5 5] []"},
		{[]string{file, "--port", "7000", "--save", ""}, "", "7000 20 [] []"},
		{[]string{"--save", "--port", "7000"}, "", "7000 10 [] []"},
		{[]string{"--port 7000", "--save"}, "", "7000 10 [] []"},
		{[]string{"--save", "60", "1", "--hz", "11"}, "", "6379 11 [60 1] []"},
		{[]string{"--save", "60 1 30 2"}, "", "6379 10 [60 1 30 2] []"},
		{[]string{file, "--save", "7 7"}, "", "1 20 [5 5 7 7] []"},
		{[]string{"--requirepass", "--port"}, "", "6379 10 [3600 1 300 100 60 10000] [--port]"},
		{[]string{"--requirepass", "a \"b\"\n'", "--PORT", "5"}, "", "5 10 [3600 1 300 100 60 10000] [a \"b\"\n']"},
		{[]string{"-"}, "port 9\nsave ''", "9 10 [] []"},
		{[]string{file, "--hz", "30", "-"}, "port 9\nhz 40", "9 30 [5 5] []"},
		{[]string{file, "-", "--hz", "30"}, "port 9\nhz 40", "9 30 [5 5] []"},
	} {
		c, _, err := Load(Options{Args: test.args, Stdin: strings.NewReader(test.stdin), Memory: testMemory})
		if err != nil {
			t.Errorf("%q: %v", test.args, err)
			continue
		}
		got := fmt.Sprintf("%s %s [%s] [%s]", get(c, "port"), get(c, "hz"), get(c, "save"), get(c, "requirepass"))
		if got != test.want {
			t.Errorf("%q: %q, want %q", test.args, got, test.want)
		}
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	dir := t.TempDir()
	inner := writeFile(t, dir, "inner.conf", "\nhz x\n")
	file := writeFile(t, dir, "a.conf", "port x\ninclude "+inner+"\nrequirepass secret word\nrequirepass \"secret\n"+
		"loadmodule a.so\nreplicaof h 1\ncluster-join here\ninclude "+dir+"/none.conf\nsyslog-enabled yes\nmin-replicas-to-write 1\n")
	_, _, err := Load(Options{Version: "1.2", Args: []string{file, "--foo", "bar"}, Memory: testMemory})
	want := `*** FATAL CONFIG FILE ERROR (Larder 1.2) ***
Reading the configuration file, at line 1
>>> 'port x'
argument couldn't be parsed into an integer
Reading the configuration file DIR/inner.conf, at line 2
>>> 'hz x'
argument couldn't be parsed into an integer
Reading the configuration file, at line 3
>>> 'requirepass (hidden)'
wrong number of arguments
Reading the configuration file, at line 4
>>> 'requirepass (hidden)'
Unbalanced quotes in configuration line
Reading the configuration file, at line 5
>>> 'loadmodule a.so'
Larder loads no modules
Reading the configuration file, at line 6
>>> 'replicaof h 1'
Larder cannot be a replica of a Redis server
Reading the configuration file, at line 7
>>> 'cluster-join here'
must be HOST:PORT
Reading the configuration file, at line 8
>>> 'include DIR/none.conf'
can't open config file 'DIR/none.conf': no such file or directory
Reading the configuration file, at line 9
>>> 'syslog-enabled yes'
Larder does not write to syslog: its service manager can
Reading the configuration file, at line 10
>>> 'min-replicas-to-write 1'
Larder has no replicas of this kind to wait for: only 0
Reading the command line
>>> 'foo "bar"'
Bad directive or wrong number of arguments
`
	if err == nil || strings.ReplaceAll(err.Error(), dir, "DIR") != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}

func TestInclude(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "1.inc", "hz 11\nport 1\n")
	writeFile(t, dir, "2.inc", "hz 12\n")
	c := load(t, writeFile(t, dir, "a.conf", "port 5\ninclude "+dir+"/*.inc\ninclude "+dir+"/none*\ntimeout 3\n"))
	if v := c.Load(); v.HZ != 12 || v.Port != 1 || v.Timeout != 3*time.Second {
		t.Errorf("%+v", v)
	}
	self := filepath.Join(dir, "self.conf")
	writeFile(t, dir, "self.conf", "include "+self+"\ninclude "+self+"\n")
	_, _, err := Load(Options{Args: []string{self}, Memory: testMemory})
	if err == nil || strings.Count(err.Error(), "nested more than 16 deep") != 1 {
		t.Error(err)
	}
	many := writeFile(t, dir, "many.conf", strings.Repeat("include "+dir+"/1.inc\n", 300))
	_, _, err = Load(Options{Args: []string{many}, Memory: testMemory})
	if err == nil || strings.Count(err.Error(), "more than 256 files") != 1 {
		t.Error(err)
	}
}

func TestDebianFile(t *testing.T) {
	const file = "/etc/redis/redis.conf"
	if _, err := os.Stat(file); err != nil {
		t.Skip("no stock redis.conf here: ", err)
	}
	c, warnings, err := Load(Options{Args: []string{file}, Memory: testMemory})
	if err != nil {
		t.Fatal(err)
	}
	var about []string
	for _, w := range warnings {
		about = append(about, w.Name)
	}
	if want := []string{"daemonize", "appendonly"}; !slices.Equal(about, want) {
		t.Errorf("warnings about %q, want %q", about, want)
	}
	v := c.Load()
	if v.Daemonize || !v.AppendOnly || v.AppendFsync != FsyncEverySec || v.Dir != "/var/lib/redis" ||
		!slices.Equal(v.Bind, []string{"127.0.0.1", "-::1"}) {
		t.Errorf("%+v", v)
	}
}

func TestWarnings(t *testing.T) {
	_, warnings, err := Load(Options{Memory: testMemory, Stdin: strings.NewReader(
		"rdbcompression yes\nactivedefrag yes\nlist-max-ziplist-size 3\nmaxmemory-policy allkeys-lru\nsupervised systemd\n"), Args: []string{"-"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	want := []string{
		"standard input, line 2: activedefrag: no effect: Larder's memory does not need defragmenting",
		"standard input, line 3: list-max-listpack-size: no effect: thresholds of the data's form are fixed in Larder",
		"standard input, line 5: supervised: no effect: the service manager and the system see to it",
		"configuration file: maxmemory-policy: evicts nothing with overflow yes and no maxdisk: cold data stays on disk",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestSetIsAllOrNothing(t *testing.T) {
	c := load(t)
	before := c.Load()
	var calls []string
	hook := func(name string, fail func(*Values) error) Hook {
		return func(old, next *Values) error {
			calls = append(calls, fmt.Sprintf("%s %d->%d", name, old.HZ, next.HZ))
			return fail(next)
		}
	}
	fine := func(*Values) error { return nil }
	c.OnChange(hook("first", fine), "hz", "timeout")
	c.OnChange(hook("other", fine), "loglevel")
	c.OnChange(hook("second", func(v *Values) error {
		if v.HZ == 13 {
			return errors.New("no thirteen")
		}
		return nil
	}), "hz")
	if err := c.Set([]Pair{{"timeout", "5"}, {"hz", "13"}}, true); err == nil ||
		err.Error() != "ERR CONFIG SET failed (possibly related to argument 'hz') - no thirteen" {
		t.Error(err)
	}
	if c.Load() != before {
		t.Error("a failed Set has changed the values")
	}
	if err := c.Set([]Pair{{"timeout", "5"}, {"hz", "14"}, {"activedefrag", "yes"}}, true); err != nil {
		t.Error(err)
	}
	if err := c.Set([]Pair{{"timeout", "5"}, {"hz", "14"}}, true); err != nil {
		t.Error(err)
	}
	want := []string{"first 10->13", "second 10->13", "first 13->10", "first 10->14", "second 10->14"}
	if !slices.Equal(calls, want) {
		t.Errorf("%q, want %q", calls, want)
	}
	if get(c, "activedefrag") != "yes" || before.inert["activedefrag"] != "no" || before.Timeout != 0 {
		t.Error("old values have changed")
	}
}

func TestSetOwnDirectives(t *testing.T) {
	c := load(t)
	for _, test := range []struct{ name, value, want string }{
		{"maxmemory", "50%", ""},
		{"maxmemory", "0%", "percentage argument must be between 1 and 100"},
		{"maxmemory", "101%", "percentage argument must be between 1 and 100"},
		{"maxmemory", "18446744073709551615", "argument must be between 0 and 9223372036854775807 inclusive"},
		{"maxmemory", "9223372036854775807gb", "argument must be between 0 and 9223372036854775807 inclusive"},
		{"port", "1", "can't set immutable config"},
		{"dir", "/tmp", "can't set immutable config"},
		{"appendonly", "no", "Larder always keeps its log: only 'yes'"},
		{"appendonly", "yes", ""},
		{"overflow", "no", ""},
		{"maxdisk", "10gb", ""},
		{"checkpoint-interval", "-1", "argument must be between 0 and 2147483647 inclusive"},
		{"checkpoint-log-bytes", "1k", "argument must be between 1048576 and 9223372036854775807 inclusive"},
		{"tls-protocols", "SSLv3", "Invalid tls-protocols specified. Use a combination of TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3"},
		{"min-replicas-to-write", "1", "Larder has no replicas of this kind to wait for: only 0"},
	} {
		err, want := c.Set([]Pair{{test.name, test.value}}, true), ""
		if test.want != "" {
			want = "ERR CONFIG SET failed (possibly related to argument '" + test.name + "') - " + test.want
		}
		if got := fmt.Sprint(err); want == "" && err != nil || want != "" && got != want {
			t.Errorf("%s %s: %v, want %q", test.name, test.value, err, want)
		}
	}
	if want := int64(testMemory / 100 * 50); c.Load().MaxMemory != (MemorySize{want, 50}) {
		t.Errorf("%+v", c.Load().MaxMemory)
	}
}

func TestProtected(t *testing.T) {
	set := []Pair{{"dbfilename", "x"}}
	for mode, want := range map[string][2]bool{"no": {false, false}, "local": {false, true}, "yes": {true, true}} {
		c := load(t, "--enable-protected-configs", mode)
		if remote, local := c.Set(set, false) == nil, c.Set(set, true) == nil; remote != want[0] || local != want[1] {
			t.Errorf("%s: remote %v, local %v", mode, remote, local)
		}
	}
}

func TestReadersNeedNoLock(t *testing.T) {
	c := load(t)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 200 {
				if v := c.Load(); v.SlowlogMaxLen != 128 && v.SlowlogMaxLen != v.SlowlogLogSlowerThan {
					t.Error("half a change is seen")
				}
				c.Get("*")
			}
		})
		wg.Go(func() {
			for i := range 50 {
				n := fmt.Sprint(i + 1000)
				if err := c.Set([]Pair{{"slowlog-max-len", n}, {"slowlog-log-slower-than", n}, {"masteruser", n}}, true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSplitArgs(t *testing.T) {
	for line, want := range map[string][]string{
		"":                        nil,
		" \t\r\n":                 nil,
		"a  b\tc\r\n":             {"a", "b", "c"},
		`a "b c" 'd e' ""`:        {"a", "b c", "d e", ""},
		`"\x41\n\r\t\b\a\\\"\q"`:  {"A\n\r\t\b\a\\\"q"},
		`'\'\n' "\x4"`:            {`'\n`, "x4"},
		`pre"quoted" pre'quoted'`: {"prequoted", "prequoted"},
	} {
		if got, err := SplitArgs(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`"`, `'`, `"a"b`, `'a'b`, `"a\"`, `'a\'`, `a "b`} {
		if got, err := SplitArgs(line); err == nil {
			t.Errorf("%q: %q", line, got)
		}
	}
}

func TestQuoteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.StringMatching(`["'\\x0-9 #]*`))).Draw(t, "words")
		for i := range words {
			words[i] += string(rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "bytes"))
		}
		line := quoteWords(words)
		if got, err := SplitArgs(line); err != nil || !slices.Equal(got, words) {
			t.Fatalf("%q -> %s -> %q, %v", words, line, got, err)
		}
		if strings.ContainsAny(line, "\n\r\x00") || strings.HasPrefix(line, "#") {
			t.Fatalf("%q", line)
		}
	})
}

func TestMachineMemory(t *testing.T) {
	meminfo := "MemTotal:        1024 kB\nMemFree:  5 kB\n"
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for name, test := range map[string]struct {
		files fstest.MapFS
		want  int64
	}{
		"machine": {fstest.MapFS{}, 1 << 20},
		"v2": {fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("max\n"), "sys/fs/cgroup/a/memory.max": file("4096\n")}, 4096},
		"v2 container": {fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("8192\n")}, 8192},
		"v2 hidden":    {fstest.MapFS{"proc/self/cgroup": file("0::/../x\n"), "sys/fs/cgroup/memory.max": file("8192\n")}, 8192},
		"v1": {fstest.MapFS{"proc/self/cgroup": file("5:cpu:/c\n4:hugetlb,memory:/a\n0::/\n"),
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": file("12288\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes":   file("9223372036854771712\n")}, 12288},
		"more than there is": {fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("99999999999\n")}, 1 << 20},
		"rubbish":            {fstest.MapFS{"proc/self/cgroup": file("::\nx\n0::/\n"), "sys/fs/cgroup/memory.max": file("-3x")}, 1 << 20},
	} {
		test.files["proc/meminfo"] = file(meminfo)
		if got, err := MachineMemory(test.files); err != nil || got != test.want {
			t.Errorf("%s: %d, %v, want %d", name, got, err, test.want)
		}
	}
	for _, bad := range []string{"", "MemTotal: x kB\n", "MemTotal: 1\n", "MemTotal: 99999999999999999999 kB\n"} {
		if n, err := MachineMemory(fstest.MapFS{"proc/meminfo": file(bad)}); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
}
