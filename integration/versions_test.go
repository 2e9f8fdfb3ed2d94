package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// newerRelease builds a larder that differs from the one under test in its feature level alone, which is one higher.
func newerRelease(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs("../engine/entry.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	newer := bytes.Replace(text, []byte("\tFeatureLevel = 1\n"), []byte("\tFeatureLevel = 2\n"), 1)
	if bytes.Equal(newer, text) {
		t.Fatalf("%s does not say that the feature level is 1", source)
	}
	dir := t.TempDir()
	changed, overlay, program := filepath.Join(dir, "entry.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "larder")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{changed: newer, overlay: list} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-o", program, "github.com/larder-db/larder/cmd/larder")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the newer larder does not build: %v\n%s", err, out)
	}
	return program
}

// TestReleasesThatDoNotMatch: nodes of different feature levels do not come together, and what a newer release has written
// is not for an older one. Each time the reason is told.
func TestReleasesThatDoNotMatch(t *testing.T) {
	t.Parallel()
	newer := newerRelease(t)
	first := newMember(t, nil)
	older := first.program
	first.start()
	ahead := newMember(t, first)
	ahead.program = newer
	const above, below = "has feature level 2, node", "has feature level 1, node"
	if said := ahead.refused(); !strings.Contains(said, above) || !strings.Contains(said, "they do not match") {
		t.Errorf("a node of a newer release says:\n%s", said)
	}
	first.terminate()
	first.program = newer
	first.restart()
	if err := clientOf(t, first).Set(context.Background(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	behind := newMember(t, first)
	if said := behind.refused(); !strings.Contains(said, below) || !strings.Contains(said, "they do not match") {
		t.Errorf("a node of an older release says:\n%s", said)
	}
	first.kill()
	first.program = older
	if said := first.refused(); !strings.Contains(said, "install that release") {
		t.Errorf("an older release over a newer one's log says:\n%s", said)
	}
	first.program = newer
	first.restart()
	if v, err := clientOf(t, first).Get(context.Background(), "k").Result(); v != "v" {
		t.Errorf("%q, %v", v, err)
	}
}
