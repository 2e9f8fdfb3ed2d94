package main

import (
	"io"
	"strconv"

	"github.com/larder-db/larder/engine"
)

// export writes an entry's commands as RESP: what they did when they were applied, told so that a Redis which gets
// them at another time ends up with the same data.
func export(w io.Writer, entry []byte, selected *int) error {
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
		for _, command := range engine.Portable(args, h.Clock) {
			if *selected != db {
				if err := writeCommand(w, [][]byte{[]byte("SELECT"), []byte(strconv.Itoa(db))}); err != nil {
					return err
				}
				*selected = db
			}
			if err := writeCommand(w, command); err != nil {
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
