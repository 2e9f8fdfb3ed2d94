package server

import (
	"testing"
)

// TestDebugDisk: while the disk is jammed, nothing is acknowledged that is not on it.
func TestDebugDisk(t *testing.T) {
	t.Parallel()
	ts := start(t, "enable-debug-command yes")
	writer, other := ts.dial(), ts.dial()
	const bad = "-ERR value is not an integer or out of range\r\n"
	for _, ms := range []string{"x", "-1", "60001"} {
		other.must("DEBUG LARDER-DISK "+ms, bad)
	}
	other.must("DEBUG LARDER-DISK 60000", "+OK\r\n")
	writer.send(line("SET k v"))
	sh := ts.node.sole()
	eventually(t, "the write is on its way", func() bool { return sh.group.Stats().InFlight > 0 })
	other.must("EXISTS k", ":0\r\n")
	other.must("DEBUG LARDER-DISK 0", "+OK\r\n")
	writer.want("+OK\r\n")
	other.must("GET k", bulk("v"))
}
