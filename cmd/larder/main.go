// Command larder is the one binary: the server and the tools around its data.
package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/larder-db/larder/server"
)

type commands struct {
	Server  serverCmd  `cmd:"" passthrough:"" help:"Run a server: larder server [larder.conf] [--directive value …]"`
	AOF     aofCmd     `cmd:"" name:"aof" help:"Check, print or export the log of a data folder."`
	Cluster clusterCmd `cmd:"" help:"Look at a cluster and change it, over a node's admin API."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

type versionCmd struct{}

func (versionCmd) Run() error {
	fmt.Printf("larder %s (compatible with redis %s)\n", server.Version, server.RedisVersion)
	return nil
}

func main() {
	var c commands
	k, err := kong.New(&c, kong.Name("larder"), kong.Description("A durable, Redis-compatible cache."), kong.UsageOnError())
	if err != nil {
		fmt.Fprintln(os.Stderr, "larder:", err)
		os.Exit(1)
	}
	run, err := k.Parse(os.Args[1:])
	k.FatalIfErrorf(err)
	if err := run.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "larder:", err)
		os.Exit(1)
	}
}
