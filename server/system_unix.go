//go:build unix

package server

import (
	"golang.org/x/sys/unix"
)

// systemName names the operating system as INFO shows it.
func systemName() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
}

// cpuUse is the processor time that the process has used.
func cpuUse() []cpuTime {
	var self, children unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &self) != nil || unix.Getrusage(unix.RUSAGE_CHILDREN, &children) != nil {
		return nil
	}
	s := func(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return []cpuTime{
		{"used_cpu_sys", s(self.Stime)}, {"used_cpu_user", s(self.Utime)},
		{"used_cpu_sys_children", s(children.Stime)}, {"used_cpu_user_children", s(children.Utime)},
	}
}
