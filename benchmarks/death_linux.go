package main

import (
	"os/exec"
	"syscall"
)

// dieWithUs has the system kill the process should this program die before it could.
func dieWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
