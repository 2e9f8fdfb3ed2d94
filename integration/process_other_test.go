//go:build !linux

package integration

import "os/exec"

func tieToUs(*exec.Cmd) {}
