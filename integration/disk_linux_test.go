package integration

import (
	"os"
	"syscall"
	"testing"
)

// TestFullDisk writes until the disk is full. From then on writes may be refused or the process may end, but what was
// acknowledged stays, and the server comes up again with it once there is room.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("larder-test", disk, "tmpfs", 0, "size=24m"); err != nil {
		if os.Getenv("CI") != "true" {
			t.Skipf("no small disk can be mounted: %v", err)
		}
		t.Logf("no small disk can be mounted (%v): a bound on the size of files stands in for it", err)
		s := newLarder(t, disk, "--checkpoint-log-bytes", "1mb")
		boundFiles(s, 900)
		fillUp(t, s, func() { s.program, s.args = larderProgram, newLarder(t, disk).args })
		return
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	s := newLarder(t, disk, "--checkpoint-log-bytes", "1mb")
	fillUp(t, s, func() {
		if err := syscall.Mount("larder-test", disk, "tmpfs", syscall.MS_REMOUNT, "size=512m"); err != nil {
			t.Fatal(err)
		}
	})
}
