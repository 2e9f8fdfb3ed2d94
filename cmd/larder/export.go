package main

import (
	"io"
	"strconv"

	"github.com/larder-db/larder/engine"
)

// exporter writes commands as RESP: what they did when they were applied, told so that a Redis which gets them at another
// time ends up with the same data.
type exporter struct {
	w        io.Writer
	selected int // data base, -1: none yet
	inexact  int // commands that the log does not tell all of
}

// entry writes an entry's commands.
func (x *exporter) entry(entry []byte) error {
	h, rest, err := engine.DecodeHeader(entry)
	if err != nil {
		return err
	}
	for len(rest) > 0 {
		var db int
		var args [][]byte
		if db, args, rest, err = engine.NextCommand(rest, nil); err != nil {
			return err
		}
		if !engine.Exact(args) {
			x.inexact++
		}
		for _, command := range engine.Portable(args, h.Clock) {
			if x.selected != db {
				if err := writeCommand(x.w, [][]byte{[]byte("SELECT"), []byte(strconv.Itoa(db))}); err != nil {
					return err
				}
				x.selected = db
			}
			if err := writeCommand(x.w, command); err != nil {
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
