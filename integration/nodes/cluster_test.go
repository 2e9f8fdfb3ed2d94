package nodes

import (
	"fmt"
	"os"
	"testing"
	"time"
)

var larder string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "larder-nodes-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	if larder, err = Build(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// must runs steps and fails the test on the first that does not work.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNodeComesAndGoes(t *testing.T) {
	c := Start(t, Options{Program: larder, Count: 1, DiskSize: 64 << 20})
	n := c.Nodes[0]
	command := func(want string, args ...string) {
		t.Helper()
		reply, err := n.Command(args...)
		if err != nil || reply.Text != want {
			t.Fatalf("%v: %q, %v; want %q", args, reply.Text, err, want)
		}
	}
	command("OK", "SET", "k", "v")
	n.Kill()
	must(t, n.Start(), n.Start(), c.AwaitWhole())
	command("v", "GET", "k")
	n.Pause()
	n.Resume()
	must(t, n.Stop(), n.Stop(), n.Start(), c.AwaitWhole())
	command("v", "GET", "k")
	digest, err := c.AwaitSameData()
	must(t, err)
	if c.OwnDisks() {
		must(t, n.FillDisk(), n.FreeDisk(), c.AwaitWhole())
		command("v", "GET", "k")
	}
	must(t, c.Fault(), n.Wipe(), n.Start(), c.AwaitWhole())
	empty, err := c.AwaitSameData()
	must(t, err)
	if empty == digest {
		t.Error("a wiped node holds what it held")
	}
}

func TestNodeThatEndsByItselfIsAFault(t *testing.T) {
	c := Start(t, Options{Program: larder, Count: 1})
	conn, err := c.Nodes[0].Dial(patience)
	must(t, err)
	defer conn.Close()
	if _, err := conn.Do(patience, []string{"SHUTDOWN"}); err == nil {
		t.Error("SHUTDOWN is answered")
	}
	for deadline := time.Now().Add(patience); c.Fault() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody noticed")
		}
	}
}

func TestDifferingReplicas(t *testing.T) {
	if err := differing(map[string][]string{"1": {"a", "a"}, "2": {"b"}}); err != nil {
		t.Error(err)
	}
	if differing(map[string][]string{"1": {"a", "a"}, "2": {"b", "b", "c"}}) == nil {
		t.Error("not noticed")
	}
}
