package nodes

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProcessesOutliveThreads: what a goroutine has started that had its thread for itself is still there when the thread has ended.
func TestProcessesOutliveThreads(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	thread, tested := make(chan int), make(chan struct{})
	defer close(tested)
	var attempt func()
	attempt = func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the program's first thread does not end: another one
			go attempt()
			<-tested
			return
		}
		if err := Spawn(cmd); err != nil {
			t.Error(err)
		}
		thread <- unix.Gettid()
	}
	go attempt()
	task := fmt.Sprintf("/proc/self/task/%d", <-thread)
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(task); os.IsNotExist(err) {
			break
		}
		if time.Since(begun) > patience {
			t.Fatal("the thread does not end")
		}
	}
	if _, err := in.Write([]byte("alive\n")); err != nil {
		t.Error(err)
	}
	if said, err := bufio.NewReader(out).ReadString('\n'); err != nil || said != "alive\n" {
		t.Errorf("it says %q, %v", said, err)
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
