package nodes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/larder-db/larder/cluster"
)

// Larder runs the larder program, outside the nodes' namespaces, and returns what it wrote. It is killed when its time is
// up.
func (c *Cluster) Larder(timeout time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.options.Program, args...)
	cmd.Env = append(os.Environ(), "LARDER_ADMIN_TOKEN="+secret)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("larder %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Report is the state of the cluster as a node knows it.
func (c *Cluster) Report(timeout time.Duration, through *Node) (r cluster.Report, err error) {
	text, err := c.Larder(timeout, "cluster", "status", "--json", "--addr", through.Addr())
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(text), &r)
}

// AwaitWhole waits until every node answers, all that should be voters are, and nobody else is: a voter that is gone for good
// takes the place of one that may be lost.
func (c *Cluster) AwaitWhole() error {
	if err := c.awaitCluster(); err != nil || len(c.Nodes) == 1 {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		r, err := c.Report(commandPatience, c.Nodes[0])
		if err == nil {
			if err = silentVoter(&r); err == nil {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// silentVoter is an error if a voter does not answer.
func silentVoter(r *cluster.Report) error {
	for _, g := range r.Groups {
		for _, v := range g.Replicas {
			if v.Votes() && !v.Answers {
				return fmt.Errorf("%s, which votes in group %d, does not answer", v.Node, g.Group)
			}
		}
	}
	return nil
}

// AwaitSettled waits until besides nothing is under way any more: what was paused goes on, and each move and each
// migration comes to its end.
func (c *Cluster) AwaitSettled() error {
	if len(c.Nodes) == 1 {
		return c.awaitCluster()
	}
	return errors.Join(c.resumeAll(), c.awaitCluster("--settled"))
}

func (c *Cluster) awaitCluster(how ...string) error {
	for _, n := range c.Nodes {
		if err := c.await(n); err != nil {
			return err
		}
	}
	if len(c.Nodes) == 1 {
		return nil
	}
	_, err := c.Larder(2*patience, append([]string{"cluster", "wait", "--addr", c.Nodes[0].Addr(), "--voters",
		strconv.Itoa(voters(c.options.Replicas)), "--timeout", patience.String()}, how...)...)
	return err
}

// resumeAll has all moves and migrations go on that are paused.
func (c *Cluster) resumeAll() error {
	r, err := c.Report(commandPatience, c.Nodes[0])
	if err != nil {
		return err
	}
	resume := func(what string, id uint64) {
		_, e := c.Larder(commandPatience, "cluster", "resume", what, strconv.FormatUint(id, 10), "--addr", c.Nodes[0].Addr())
		err = errors.Join(err, e)
	}
	for _, m := range r.Moves {
		if m.Paused {
			resume("--move", m.ID)
		}
	}
	for _, m := range r.Migrations {
		if m.Paused {
			resume("--migration", m.ID)
		}
	}
	return err
}

// voters is how many of a shard's replicas vote: an odd number, since one more would bear no further loss.
func voters(replicas int) int { return replicas - 1 + replicas%2 }
