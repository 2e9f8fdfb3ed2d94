package engine

import (
	"github.com/zeebo/xxh3"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
)

// Footprint is what a batch may change, as cells of a filter: a key's cell is the same in every data base, since some
// commands reach into a second one, and keys may share a cell. It says too much at times, never too little.
type Footprint struct {
	Cells []uint16 // with repetitions
	All   bool     // it may change any key
}

// FootprintCells is how many cells there are.
const FootprintCells = 1 << 16

// mostCells bounds a footprint: what touches more keys touches all.
const mostCells = 1 << 16

// CellOf is a key's cell.
func CellOf(key []byte) uint16 { return uint16(xxh3.Hash(key)) }

// Footprint is what the batch may change.
func (b *Batch) Footprint() (f Footprint) {
	if b.writes == 0 {
		return f
	}
	rest := b.entry[entryHeader:]
	var args [][]byte
	for i := range b.calls {
		if b.calls[i].Local {
			continue
		}
		var err error
		if _, args, rest, err = NextCommand(rest, args[:0]); err != nil {
			return Footprint{All: true}
		}
		f.Add(b.calls[i].Row, args)
	}
	return f
}

// Add takes in what a command may change.
func (f *Footprint) Add(row *command.Command, args [][]byte) {
	if f.All {
		return
	}
	if row = row.Resolve(args); row == command.Exec() {
		if command.EachNested(args, func(c command.Nested) error {
			if c.Row == nil || c.Row == row {
				return command.ErrExec
			}
			if c.Row.Flags&command.Write != 0 {
				f.Add(c.Row, c.Args)
			}
			return nil
		}) != nil {
			f.all()
		}
		return
	}
	var d declared
	keys, known := d.known(row, args)
	if !known || len(f.Cells)+len(keys) > mostCells {
		f.all()
		return
	}
	for _, k := range keys {
		f.Cells = append(f.Cells, CellOf(k.Key))
	}
}

func (f *Footprint) all() { f.Cells, f.All = nil, true }

// known is the keys that a command names, and whether it can change no others.
func (d *declared) known(row *command.Command, args [][]byte) (keys []keyspace.Key, known bool) {
	if row.Flags&command.TouchesAll != 0 || row.Flags&command.MovableKeys != 0 && len(row.Keys) == 0 {
		return nil, false
	}
	for i := range row.Keys {
		if row.Keys[i].Use&command.Incomplete != 0 {
			return nil, false
		}
	}
	if _, err := row.KeyPositions(args, nil); err != nil {
		return nil, false
	}
	return d.add(nil, row, 0, args), true
}
