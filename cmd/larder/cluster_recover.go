package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/larder-db/larder/server"
	"github.com/larder-db/larder/server/config"
)

type clusterRecoverCmd struct {
	Dir         string `help:"Data folder (dir) of the node that survives. The node must not run." required:"" type:"existingdir"`
	AcceptLoss  bool   `name:"accept-data-loss" help:"Do it. Without, it is only told what would be done and lost."`
	DropMissing bool   `name:"drop-missing-shards" help:"Let shards begin empty that the node has no replica of."`
}

// Help is shown below the options.
func (*clusterRecoverCmd) Help() string {
	return "For when a majority of the meta group's voters is lost for good: it begins a new cluster, with an ID of its own, out of what one node has. Writes that only the lost nodes had are lost. See docs/operations.md first."
}

func (c *clusterRecoverCmd) Run() error {
	conf, _, err := config.Load(config.Options{Version: server.Version, Args: []string{"--dir", c.Dir}})
	if err != nil {
		return fmt.Errorf("the folder cannot be used: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return server.Recover(ctx, conf, server.RecoverOptions{AcceptLoss: c.AcceptLoss, DropMissing: c.DropMissing, Out: os.Stdout}, log)
}
