package nodes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build builds the larder binary into the folder and returns its path; with LARDER_RACE=1 under the race detector.
func Build(folder string) (string, error) {
	program := filepath.Join(folder, "larder")
	args := []string{"build", "-o", program}
	if os.Getenv("LARDER_RACE") == "1" {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "github.com/larder-db/larder/cmd/larder")...)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("larder does not build: %w\n%s", err, out)
	}
	return program, nil
}
