package integration

import (
	"os/exec"
	"syscall"
)

// tieToUs has the system kill the process should the test program die before it could.
func tieToUs(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
