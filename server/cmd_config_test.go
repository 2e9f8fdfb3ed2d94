package server

import (
	"os"
	"strings"
	"testing"
)

func TestConfigSetTakesEffect(t *testing.T) {
	t.Parallel()
	ts := start(t)
	c := ts.dial()
	c.must("CONFIG SET appendfsync everysec maxmemory 100mb", "+OK\r\n")
	if ts.always.Load() {
		t.Error("batches are still sealed as under always")
	}
	if front, _ := budgets(100 << 20); ts.node.sole().engine.Keys().Stats().Budget != front {
		t.Errorf("the front's budget is %d, want %d", ts.node.sole().engine.Keys().Stats().Budget, front)
	}
	c.must("CONFIG SET maxmemory 200mb appendfsync nosuch", "-ERR CONFIG SET failed (possibly related to argument 'appendfsync') - "+
		"argument(s) must be one of the following: everysec, always, no\r\n")
	c.must("CONFIG GET maxmemory", "*2\r\n"+bulk("maxmemory")+bulk("104857600"))
	c.must("CONFIG SET maxmemory-policy allkeys-lfu", "+OK\r\n")
	c.must("OBJECT FREQ nosuch", "$-1\r\n")
	c.must("CONFIG SET proto-max-bulk-len 1mb", "+OK\r\n")
	other := ts.dial()
	other.send("*2\r\n$4\r\nECHO\r\n$1048577\r\n")
	other.want("-ERR Protocol error: invalid bulk length\r\n")
	c.send("*2\r\n$4\r\nECHO\r\n$1048577\r\n")
	c.want("-ERR Protocol error: invalid bulk length\r\n")
}

func TestConfigRewrite(t *testing.T) {
	t.Parallel()
	ts := start(t, "timeout 7", "# a remark")
	c := ts.dial()
	c.must("CONFIG SET timeout 9 appendfsync no", "+OK\r\n")
	c.must("CONFIG REWRITE", "+OK\r\n")
	text, err := os.ReadFile(ts.config.File())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"timeout 9\n", "# a remark\n", "appendfsync no\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestConfigResetStat(t *testing.T) {
	t.Parallel()
	ts := start(t, "io-threads 2")
	for range 4 {
		c := ts.dial()
		c.must("SET a 1", "+OK\r\n")
		c.do("NOSUCH")
		c.do("INCR", "a", "b")
	}
	c := ts.dial()
	c.must("CONFIG RESETSTAT", "+OK\r\n")
	if n := ts.accepted.Load(); n != 0 {
		t.Errorf("%d accepted", n)
	}
	ts.errors.mu.Lock()
	if len(ts.errors.mu.byCode) != 0 {
		t.Errorf("errors: %v", ts.errors.mu.byCode)
	}
	ts.errors.mu.Unlock()
	counted := make(chan uint64, len(ts.loops))
	set := ts.table.find([]byte("set")).id
	for _, l := range ts.loops {
		l.loop.Post(func() { counted <- l.stats[set].calls })
	}
	for range ts.loops {
		if n := <-counted; n != 0 {
			t.Errorf("%d calls of SET", n)
		}
	}
}
