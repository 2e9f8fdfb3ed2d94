package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/larder-db/larder/cluster"
)

type clusterAddCmd struct {
	adminTarget
	Node    string        `arg:"" optional:"" help:"Client address of the new node: waits until it is a member, and has what it is to have." placeholder:"HOST:PORT"`
	Timeout time.Duration `help:"How long to wait." default:"10m"`
}

// Help is shown below the options.
func (*clusterAddCmd) Help() string {
	return "A node joins by itself, when it is started with cluster-join. Without the new node's address, add tells how; with it, it waits until the node takes part."
}

func (c *clusterAddCmd) Run() error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.Node == "" {
		return c.explain(os.Stdout)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	for last := "no answer yet"; ; {
		r, err := client.Status(ctx)
		switch {
		case err == nil:
			if last = waitsFor(&r, c.Node); last == "" {
				return nil
			}
		case ctx.Err() == nil:
			last = err.Error()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s", c.Timeout, last)
		}
	}
}

// waitsFor says what a new node still lacks; empty: nothing.
func waitsFor(r *cluster.Report, address string) string {
	for _, n := range r.Nodes {
		switch {
		case n.Client != address:
		case !n.Answers:
			return "the node does not answer"
		case !r.Settled:
			return "changes are under way"
		default:
			return behind(r)
		}
	}
	return "no member has the address " + address + ": start the node with --cluster-join, and see its log"
}

// explain tells how a node joins.
func (c *clusterAddCmd) explain(w io.Writer) error {
	member := c.Addr
	if member == "" {
		return errors.New("--addr is empty")
	}
	_, err := fmt.Fprintf(w, `A node joins by itself. On its machine, with an empty data folder:

  larder server --dir DIR --port PORT --cluster-join %s --cluster-secret SECRET

SECRET is that of the members (or tls-cluster, with certificates, if they use it). The members must reach the node's
cluster-port, which is PORT + 10000 unless it is given. Shards' replicas are placed anew as soon as it is there.
Then, to wait until it has what it is to have:

  larder cluster add --addr %s HOST:PORT
`, member, member)
	return err
}
