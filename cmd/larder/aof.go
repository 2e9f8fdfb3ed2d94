package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/aof"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
)

type aofCmd struct {
	Check  checkCmd  `cmd:"" help:"Verify every record of the log."`
	Cat    catCmd    `cmd:"" help:"Print the log's entries as readable commands with index and time."`
	Export exportCmd `cmd:"" help:"Write the log's commands as RESP, for redis-cli --pipe."`
}

// folder is a data folder given on the command line.
type folder struct {
	Dir string `arg:"" help:"The data folder (dir), or the log folder within it."`
}

func (f *folder) path() string {
	if in := filepath.Join(f.Dir, "log"); isDir(in) {
		return in
	}
	return f.Dir
}

func isDir(path string) bool {
	i, err := os.Stat(path)
	return err == nil && i.IsDir()
}

type checkCmd struct{ folder }

func (c *checkCmd) Run() error { return aof.Check(vfs.Default, c.path(), os.Stdout) }

type catCmd struct{ folder }

func (c *catCmd) Run() error {
	return buffered(func(w io.Writer) error { return aof.Cat(vfs.Default, c.path(), w, describe) })
}

// describe prints an entry's commands.
func describe(_ uint64, l *raft.Log) (string, error) {
	h, rest, err := engine.DecodeHeader(l.Data)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "at %s", time.UnixMilli(h.Clock).UTC().Format("2006-01-02T15:04:05.000Z"))
	for len(rest) > 0 {
		var db int
		var args [][]byte
		if db, args, rest, err = engine.NextCommand(rest, nil); err != nil {
			return "", err
		}
		if !describeExec(&b, args) {
			describeCommand(&b, "\n\t", db, args)
		}
	}
	return b.String(), nil
}

func describeCommand(b *strings.Builder, lead string, db int, args [][]byte) {
	fmt.Fprintf(b, "%sdb=%d", lead, db)
	for _, a := range args {
		fmt.Fprintf(b, " %q", a)
	}
}

// describeExec prints a transaction and its commands, or returns false if the command is none.
func describeExec(b *strings.Builder, args [][]byte) bool {
	row := command.Exec()
	if string(args[0]) != row.Name || !row.ArityOK(len(args)) {
		return false
	}
	g, n, _, err := command.OpenExec(args)
	if err != nil {
		return false
	}
	fmt.Fprintf(b, "\n\t%s of %d commands, term=%d deadline=%d", row.Name, n, g.Term, g.Deadline)
	return command.EachNested(args, func(c command.Nested) error {
		describeCommand(b, "\n\t\t", c.DB, c.Args)
		return nil
	}) == nil
}

type exportCmd struct{ folder }

func (c *exportCmd) Run() error {
	return buffered(func(w io.Writer) error {
		x := exporter{w: w, selected: -1}
		err := aof.Records(vfs.Default, c.path(), func(_ uint64, l *raft.Log) error {
			if l.Type != raft.LogCommand {
				return nil
			}
			return x.entry(l)
		})
		if x.inexact > 0 {
			fmt.Fprintf(os.Stderr, "larder: %d SPOP: the log does not say which members they removed; elsewhere they remove other ones\n", x.inexact)
		}
		return err
	})
}

func buffered(run func(io.Writer) error) error {
	w := bufio.NewWriterSize(os.Stdout, 1<<16)
	if err := run(w); err != nil {
		return err
	}
	return w.Flush()
}
