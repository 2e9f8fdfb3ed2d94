// Package integration tests the real binary as a real process: over its sockets, by its signals, on its files. Where
// Redis is the measure, a real redis-server runs beside it and gets the same commands.
//
// Every process that a test starts is killed by its own process number when the test ends, and is tied to the test
// program's life besides. Every wait has an end: nothing here sleeps and hopes.
package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"
)

// larderProgram is the path of the binary under test, built once for all tests.
var larderProgram string

func TestMain(m *testing.M) {
	redis.SetLogger(silence{})
	os.Exit(run(m))
}

// silence keeps the client library from reporting every server that a test has killed.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "larder-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	// A test that gives up its privileges must still be able to run the binary.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("LC_ALL", "C") // redis-server's SORT ALPHA goes by it
	larderProgram = filepath.Join(dir, "larder")
	args := []string{"build", "-o", larderProgram}
	if os.Getenv("LARDER_RACE") == "1" { // make race: the binary itself under the race detector
		args = append(args, "-race")
		os.Setenv("GORACE", "halt_on_error=1")
	}
	build := exec.Command("go", append(args, "github.com/larder-db/larder/cmd/larder")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "larder does not build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// needProgram finds a program of Redis's. Without it the test is skipped; under CI=true it fails.
func needProgram(t testing.TB, name string) string {
	t.Helper()
	program, err := exec.LookPath(name)
	if err == nil {
		return program
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("no %s in PATH: make tools installs it", name)
	}
	t.Skipf("no %s in PATH: make tools installs it", name)
	return ""
}
