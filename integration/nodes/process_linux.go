package nodes

import (
	"fmt"
	"os/exec"
	"syscall"
)

// tieToUs has the system kill the process should the test program die before it could.
func tieToUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// mount puts a disk of its own, of that many bytes, at the folder.
func mount(folder string, size int64) error {
	return syscall.Mount("larder-test", folder, "tmpfs", 0, fmt.Sprintf("size=%d", size))
}

func unmount(folder string) { _ = syscall.Unmount(folder, syscall.MNT_DETACH) }
