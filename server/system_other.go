//go:build !unix

package server

import "runtime"

// systemName names the operating system as INFO shows it.
func systemName() string { return runtime.GOOS + " " + runtime.GOARCH }

// cpuUse is the processor time that the process has used: not known here.
func cpuUse() []cpuTime { return nil }
