package nodes

import (
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// starter is the thread that starts processes. To the system a thread is the parent of what it started, and what is to die with its
// parent dies with the thread: one that some goroutine has for itself ends with that goroutine, long before the program.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range work {
			do()
		}
	}()
	return work
})

// onStarter runs do on the thread that starts processes.
func onStarter(do func() error) error {
	result := make(chan error)
	starter() <- func() { result <- do() }
	return <-result
}

// tieToUs has the system kill the process should the thread that starts it end before it.
func tieToUs(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}

// mount puts a disk of its own, of that many bytes, at the folder.
func mount(folder string, size int64) error {
	return syscall.Mount("larder-test", folder, "tmpfs", 0, fmt.Sprintf("size=%d", size))
}

func unmount(folder string) { _ = syscall.Unmount(folder, syscall.MNT_DETACH) }
