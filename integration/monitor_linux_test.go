package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMonitorIsRelaxed: the server's process is the one that was started, under the same name, and of its threads some have more
// timer slack, but not the first.
func TestMonitorIsRelaxed(t *testing.T) {
	t.Parallel()
	const relaxed = 1_000_000
	s, ours := newLarder(t, t.TempDir()), 0
	s.around = func(start func() error) (err error) {
		if ours, err = unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil {
			return err
		}
		return start()
	}
	s.start()
	first, others := timerSlacks(t, s)
	if others[relaxed] == 0 || others[ours] <= others[relaxed] || first != ours {
		t.Errorf("the first thread has %d ns, of the others that many have so many: %v", first, others)
	}
	of := func(file string) string {
		said, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.cmd.Process.Pid, file))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(said))
	}
	if got, want := of("comm"), filepath.Base(s.program); got != want {
		t.Errorf("it is called %s, not %s", got, want)
	}
	if got, want := of("cmdline"), strings.Join(s.cmd.Args, "\x00")+"\x00"; got != want {
		t.Errorf("its arguments are %q, not %q", got, want)
	}
	s.kill()
	s.restart()
	if _, others = timerSlacks(t, s); others[relaxed] == 0 {
		t.Errorf("started again: %v", others)
	}
}

// TestChosenTimerSlackIsKept: who has started the server with much slack wants it so.
func TestChosenTimerSlackIsKept(t *testing.T) {
	t.Parallel()
	const chosen = 3_000_000
	s := newLarder(t, t.TempDir())
	s.around = func(start func() error) error {
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, chosen, 0, 0, 0); err != nil {
			return err
		}
		return errors.Join(start(), unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)) // what it was is its default
	}
	s.start()
	if first, others := timerSlacks(t, s); first != chosen || len(others) != 1 || others[chosen] == 0 {
		t.Errorf("the first thread has %d ns, of the others that many have so many: %v", first, others)
	}
}

// timerSlacks returns the timer slack of the server's first thread, and how many of the others have which, nanoseconds.
func timerSlacks(t *testing.T, s *server) (first int, others map[int]int) {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	others = map[int]int{}
	for _, thread := range threads {
		text, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if os.IsPermission(err) {
			t.Skip("it takes CAP_SYS_NICE to see the timer slack of others")
		}
		if err != nil {
			t.Fatal(err)
		}
		slack, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if thread.Name() == strconv.Itoa(s.cmd.Process.Pid) {
			first = slack
		} else {
			others[slack]++
		}
	}
	return first, others
}
