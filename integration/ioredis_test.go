package integration

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/larder-db/larder/integration/nodes"
)

// ofIoredis is ioredis in a process of its own, as a client of a cluster or of Sentinel. It is not there everywhere, and no
// test may fetch it: LARDER_IOREDIS names a folder with a node_modules that has it. Without that, what it makes of replies is
// left to ofRules, which goes by the same rules.
func ofIoredis(t *testing.T, kind string, members []*server) []keeper {
	t.Helper()
	folder := os.Getenv("LARDER_IOREDIS")
	if folder == "" {
		t.Log("IOREDIS IS NOT TESTED: LARDER_IOREDIS does not say where it is")
		return nil
	}
	cmd := exec.Command("node", append([]string{"testdata/ioredis.js", kind}, addrsOf(members)...)...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(folder, "node_modules"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := nodes.Spawn(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // then it ends
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Error("ioredis: ", err)
		}
	})
	answers := bufio.NewReader(out)
	ask := func(words ...string) (string, error) {
		text, err := json.Marshal(words)
		if err != nil {
			return "", err
		}
		if _, err := in.Write(append(text, '\n')); err != nil {
			return "", err
		}
		line, err := answers.ReadBytes('\n')
		if err != nil {
			return "", err
		}
		var answer struct{ Value, Error string }
		if err := json.Unmarshal(line, &answer); err == nil && answer.Error != "" {
			return "", errors.New(answer.Error)
		}
		return answer.Value, err
	}
	return []keeper{{
		name: "ioredis",
		set:  func(key, value string) error { _, err := ask("SET", key, value); return err },
		get:  func(key string) (string, error) { return ask("GET", key) },
	}}
}
