package main

import (
	"io"
	"strconv"

	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/engine"
)

// exporter knows what an export has come to.
type exporter struct {
	selected int   // data base; -1: not known
	now      int64 // greatest clock of an entry
}

// export writes an entry's commands as RESP: what they did when they were applied, told so that a Redis which gets
// them at another time ends up with the same data.
func (e *exporter) export(w io.Writer, l *raft.Log) error {
	h, rest, err := engine.DecodeHeader(l.Data)
	if err != nil {
		return err
	}
	e.now = max(e.now, h.Clock)
	for len(rest) > 0 {
		var db int
		var args [][]byte
		if db, args, rest, err = engine.NextCommand(rest, nil); err != nil {
			return err
		}
		for _, command := range engine.Portable(db, args, h.Clock, e.now, l.Term) {
			if db := command.DB; db >= 0 && e.selected != db {
				if err := writeCommand(w, [][]byte{[]byte("SELECT"), []byte(strconv.Itoa(db))}); err != nil {
					return err
				}
				e.selected = db
			}
			if err := writeCommand(w, command.Args); err != nil {
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
