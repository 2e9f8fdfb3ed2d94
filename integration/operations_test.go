package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/larder-db/larder/integration/nodes"
)

// docsPatience bounds what a page tells the reader to do.
const docsPatience = 5 * time.Minute

// TestOperationsAsWritten runs docs/operations.md: every block for the shell, in order, in one shell that ends with the first
// command that fails. Ports are others, so that it disturbs nobody.
func TestOperationsAsWritten(t *testing.T) {
	needProgram(t, "redis-cli")
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash in PATH")
	}
	page, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	script := "set -euo pipefail\nPS4='+ '\nset -x\ntrap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT\n"
	for i, block := range strings.Split(string(page), "```sh\n")[1:] {
		code, _, ended := strings.Cut(block, "\n```")
		if !ended {
			t.Fatalf("block %d does not end", i)
		}
		script += code + "\n"
	}
	script = strings.ReplaceAll(script, "700", freePorts(t))
	folder := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), docsPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, bash, "-c", script)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(larderProgram)+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := nodes.Spawn(cmd); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whoever the page has left running
	out := said.Bytes()
	if err != nil {
		t.Errorf("%v:\n%s", err, out[max(0, len(out)-8000):])
		logs, _ := filepath.Glob(filepath.Join(folder, "*.log"))
		for _, name := range logs {
			said, _ := os.ReadFile(name)
			t.Logf("%s:\n%s", filepath.Base(name), said[max(0, len(said)-1500):])
		}
	}
	for _, want := range []string{"again", "MAY LOSE ACKNOWLEDGED WRITES", "nothing has been changed"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is nowhere in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "+ echo 'not settled") {
		t.Errorf("the upgrade was given up:\n%s", out)
	}
}

// freePorts is what ten ports begin with that are free now, and so are those for nodes and administrators beside them.
func freePorts(t *testing.T) string {
	t.Helper()
	for range 100 {
		base, free := 200+rand.IntN(290), true
		for i := 1; i < 10 && free; i++ {
			for _, offset := range []int{0, 1000, 10000} {
				l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base*10+i+offset))
				if free = free && err == nil; err == nil {
					_ = l.Close()
				}
			}
		}
		if free {
			return fmt.Sprint(base)
		}
	}
	t.Fatal("no ten ports in a row are free")
	return ""
}
