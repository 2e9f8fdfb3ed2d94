package server

import (
	"strings"
	"testing"
)

// TestEntriesAreBounded: what no entry can hold is refused before it comes near the log, for certain, and what is within
// bounds does not meet them because of what else goes in the same batch.
func TestEntriesAreBounded(t *testing.T) {
	before := mostEntry
	t.Cleanup(func() { mostEntry = before })
	mostEntry = 64 << 10
	ts := start(t)
	c := ts.dial()
	half, whole := strings.Repeat("h", 40<<10), strings.Repeat("w", 64<<10)
	c.send(strings.Repeat(encode("SET", "k", half), 20))
	for range 20 {
		c.want("+OK\r\n")
	}
	if got := c.do("SET", "k", whole); got != "-"+tooLarge+"\r\n" {
		t.Errorf("%.100q", got)
	}
	c.must("SET k v", "+OK\r\n") // whoever leads does so still
	c.must("MULTI", "+OK\r\n")
	if got := c.do("SET", "k", half); got != "+QUEUED\r\n" {
		t.Errorf("%.100q", got)
	}
	if got := c.do("SET", "l", half); !strings.HasPrefix(got, "-ERR the transaction is too large") {
		t.Errorf("%.100q", got)
	}
	if got := c.do("EXEC"); !strings.HasPrefix(got, "-EXECABORT") {
		t.Errorf("%.100q", got)
	}
	c.must("GET k", "$1\r\nv\r\n")
	for range 3 { // with watched keys they go through the lane, and together if they may
		c.send(encode("WATCH", "w") + encode("MULTI") + encode("SET", "k", half) + encode("EXEC"))
		c.want("+OK\r\n")
		c.want("+OK\r\n")
		c.want("+QUEUED\r\n")
		c.want("*1\r\n+OK\r\n")
	}
}
