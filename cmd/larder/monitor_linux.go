package main

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Go's runtime has a thread that looks after the others, its monitor. Whenever a process that was idle does something, the monitor
// looks each 20 µs, to which Linux adds the thread's timer slack, 50 µs by default, and only after a millisecond in which there
// was nothing to do does it look less often. A node of a cluster is idle and wakes some thousand times a second, and so the monitors
// of three nodes that shared two processors were a fifth of what they used: with a slack of a millisecond they did a third more
// SETs at pipeline 1 and a fifth more GETs.
//
// What the monitor does late then is to take the processor from a goroutine that waits for a file, after two of its looks, where
// no other processor is free (see Server.SpareProcessors).

// monitorSlack is how much later than at its time the monitor may look.
const monitorSlack = time.Millisecond

// otherSlack names what tells the program, started anew, the slack of all other threads, in nanoseconds.
const otherSlack = "LARDER_TIMER_SLACK"

// init is run on the process's first thread. From another one execve would lose what the first one alone has, as the signal for the
// death of a parent.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		relaxMonitor()
	}
}

// relaxMonitor gives the monitor its slack. The thread is started before any of the program's own code, only it could set its own
// slack, and it has that of the thread that started it, which outlives execve. So the program starts itself anew, in the same
// process, and gives the other threads back what they had; a few keep the monitor's, as those do that it starts. Where that is
// not allowed, or somebody has chosen a slack already, all stays as it is.
func relaxMonitor() {
	if kept, ok := os.LookupEnv(otherSlack); ok {
		_ = os.Unsetenv(otherSlack) // it is a name
		if ns, err := strconv.ParseUint(kept, 10, 32); err == nil {
			eachThread(func() { setTimerSlack(time.Duration(ns)) })
		}
		return
	}
	ns, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || time.Duration(ns) >= monitorSlack {
		return
	}
	program, err := os.Executable()
	if err != nil {
		return
	}
	setTimerSlack(monitorSlack)
	_ = syscall.Exec(program, os.Args, append(os.Environ(), otherSlack+"="+strconv.Itoa(ns)))
	setTimerSlack(time.Duration(ns)) // it is not allowed
}

// setTimerSlack sets the slack of the calling thread. It cannot fail.
func setTimerSlack(slack time.Duration) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack.Nanoseconds()), 0, 0, 0)
}

// eachThread runs do on the threads that run goroutines, and leaves so many of them that the monitor rarely has to start one.
func eachThread(do func()) {
	const enough = 16
	do() // for those that are started from here
	var held, done sync.WaitGroup
	held.Add(enough)
	for range enough {
		done.Go(func() { // each on another one
			do() // for the one that the first of these calls starts
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			do()
			held.Done()
			held.Wait()
		})
	}
	done.Wait()
}
