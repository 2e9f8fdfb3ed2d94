package main

import (
	"io"
	"strconv"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
)

// exporter writes commands as RESP: what they did when they were applied, told so that a Redis which gets them at another
// time ends up with the same data.
type exporter struct {
	w        io.Writer
	selected int   // data base, -1: none yet
	now      int64 // greatest clock of an entry
	inexact  int   // commands that the log does not tell all of
}

// entry writes an entry's commands.
func (x *exporter) entry(l *raft.Log) error {
	h, rest, err := engine.DecodeHeader(l.Data)
	if err != nil {
		return err
	}
	x.now = max(x.now, h.Clock)
	for len(rest) > 0 {
		var db int
		var args [][]byte
		if db, args, rest, err = engine.NextCommand(rest, nil); err != nil {
			return err
		}
		for _, command := range engine.Portable(db, args, h.Clock, x.now, l.Term) {
			if !engine.Exact(command.Args) {
				x.inexact++
			}
			if db := command.DB; db >= 0 && x.selected != db {
				if err := writeCommand(x.w, [][]byte{[]byte("SELECT"), []byte(strconv.Itoa(db))}); err != nil {
					return err
				}
				x.selected = db
			}
			if err := writeCommand(x.w, command.Args); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeCommand(w io.Writer, args [][]byte) error {
	b := append(strconv.AppendInt([]byte{'*'}, int64(len(args)), 10), '\r', '\n')
	for _, a := range args {
		b = append(strconv.AppendInt(append(b, '$'), int64(len(a)), 10), '\r', '\n')
		b = append(append(b, a...), '\r', '\n')
	}
	_, err := w.Write(b)
	return err
}
