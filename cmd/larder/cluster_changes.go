package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/larder-db/larder/cluster"
)

type nodeTarget struct {
	adminTarget
	Node string `arg:"" help:"The node: its ID, the beginning of it, or one of its addresses."`
}

type clusterDrainCmd struct{ nodeTarget }

func (c *clusterDrainCmd) Run() error {
	return c.call(http.MethodPost, cluster.NodePath(c.Node, "/drain"), nil, nil)
}

type clusterUndrainCmd struct{ nodeTarget }

func (c *clusterUndrainCmd) Run() error {
	return c.call(http.MethodPost, cluster.NodePath(c.Node, "/undrain"), nil, nil)
}

type clusterRemoveCmd struct{ nodeTarget }

func (c *clusterRemoveCmd) Run() error {
	return c.call(http.MethodDelete, cluster.NodePath(c.Node, ""), nil, nil)
}

type clusterReplicasCmd struct {
	adminTarget
	Count int `arg:"" help:"Replicas of each shard, where there are enough nodes."`
}

func (c *clusterReplicasCmd) Run() error {
	return c.call(http.MethodPut, "/v1/replication-factor", cluster.SetReplicationFactor{Replicas: c.Count}, nil)
}

type clusterAddShardsCmd struct {
	adminTarget
	Count int `arg:"" help:"How many."`
}

func (c *clusterAddShardsCmd) Run() error {
	return c.call(http.MethodPost, "/v1/shards", cluster.AddShards{Count: c.Count}, nil)
}

type clusterRmShardCmd struct {
	adminTarget
	Shard uint32 `arg:"" help:"Its number."`
}

func (c *clusterRmShardCmd) Run() error {
	return c.call(http.MethodDelete, fmt.Sprintf("/v1/shards/%d", c.Shard), nil, nil)
}

type clusterRebalanceCmd struct{ adminTarget }

func (c *clusterRebalanceCmd) Run() error {
	return c.call(http.MethodPost, "/v1/rebalance", nil, nil)
}

type clusterMoveCmd struct {
	adminTarget
	Shard uint32 `required:"" help:"The shard's number."`
	From  string `required:"" help:"The node that has the replica: its ID, the beginning of it, or one of its addresses."`
	To    string `required:"" help:"The node that is to have it."`
	Watch bool   `help:"Wait until the move has ended, telling its steps. If it was canceled, that is an error."`
}

func (c *clusterMoveCmd) Run() error {
	var done cluster.Accepted
	if err := c.call(http.MethodPost, "/v1/moves", cluster.StartMove{Shard: c.Shard, From: c.From, To: c.To}, &done); err != nil {
		return err
	}
	fmt.Println("move", done.ID)
	if !c.Watch {
		return nil
	}
	has := false
	err := c.watch(func(r *cluster.Report) string {
		has = isToHold(r, c.Shard, c.To)
		for _, m := range r.Moves {
			if m.ID == done.ID {
				return m.Step
			}
		}
		return ""
	})
	if err == nil && !has {
		err = fmt.Errorf("move %d was canceled: node %s does not have the replica", done.ID, c.To)
	}
	return err
}

// isToHold says whether a node, as an operator names it, is to have a replica of a shard.
func isToHold(r *cluster.Report, shard uint32, node string) bool {
	var d cluster.Document
	for _, n := range r.Nodes {
		d.Nodes = append(d.Nodes, n.Node)
	}
	id, err := d.FindNode(node)
	return err == nil && slices.ContainsFunc(r.Groups, func(g cluster.GroupReport) bool {
		return g.Group == shard && slices.ContainsFunc(g.Replicas, func(v cluster.ReplicaReport) bool { return v.Node == id && v.Wanted })
	})
}

type clusterMigrateCmd struct {
	adminTarget
	From  uint32 `required:"" help:"The shard that has the slots."`
	To    uint32 `required:"" help:"The shard that is to have them."`
	Slots string `required:"" help:"Slots, as 0-99,200."`
	Watch bool   `help:"Wait until the migration has ended, telling its steps. If it was canceled, that is an error."`
}

func (c *clusterMigrateCmd) Run() error {
	slots, err := parseRanges(c.Slots)
	if err != nil {
		return err
	}
	var done cluster.Accepted
	if err := c.call(http.MethodPost, "/v1/migrations", cluster.StartMigration{From: c.From, To: c.To, Slots: slots}, &done); err != nil {
		return err
	}
	fmt.Println("migration", done.ID)
	if !c.Watch {
		return nil
	}
	has := false
	err = c.watch(func(r *cluster.Report) string {
		has = hasSlots(r, c.To, slots)
		for _, m := range r.Migrations {
			if m.ID == done.ID {
				return string(m.State)
			}
		}
		return ""
	})
	if err == nil && !has {
		err = fmt.Errorf("migration %d was canceled: shard %d does not have the slots", done.ID, c.To)
	}
	return err
}

// hasSlots says whether a shard owns slots.
func hasSlots(r *cluster.Report, shard uint32, slots []cluster.Range) bool {
	for _, g := range r.Groups {
		if g.Group == shard {
			return !slices.ContainsFunc(slots, func(s cluster.Range) bool {
				return !slices.ContainsFunc(g.Slots, func(o cluster.Range) bool { return o.From <= s.From && s.To <= o.To })
			})
		}
	}
	return false
}

// watch tells the steps of something until there is none. It goes on while the node does not answer.
func (t adminTarget) watch(step func(*cluster.Report) string) error {
	silent := false
	for last := ""; ; time.Sleep(200 * time.Millisecond) {
		var r cluster.Report
		if err := t.call(http.MethodGet, "/v1/status", nil, &r); err != nil {
			if !silent {
				fmt.Fprintln(os.Stderr, "larder:", err)
			}
			silent = true
			continue
		}
		silent = false
		now := step(&r)
		if now == "" {
			return nil
		}
		if now != last {
			fmt.Println(now)
		}
		last = now
	}
}

// taskTarget is a move or a migration.
type taskTarget struct {
	adminTarget
	Move      uint64 `help:"A move's number." xor:"task"`
	Migration uint64 `help:"A migration's number." xor:"task"`
}

func (t taskTarget) path(rest string) (string, error) {
	switch {
	case t.Move != 0:
		return fmt.Sprintf("/v1/moves/%d%s", t.Move, rest), nil
	case t.Migration != 0:
		return fmt.Sprintf("/v1/migrations/%d%s", t.Migration, rest), nil
	}
	return "", errors.New("say --move NUMBER or --migration NUMBER")
}

func (t taskTarget) do(method, rest string) error {
	path, err := t.path(rest)
	if err != nil {
		return err
	}
	return t.call(method, path, nil, nil)
}

type clusterPauseCmd struct{ taskTarget }

func (c *clusterPauseCmd) Run() error { return c.do(http.MethodPost, "/pause") }

type clusterResumeCmd struct{ taskTarget }

func (c *clusterResumeCmd) Run() error { return c.do(http.MethodPost, "/resume") }

type clusterCancelCmd struct{ taskTarget }

func (c *clusterCancelCmd) Run() error { return c.do(http.MethodDelete, "") }
