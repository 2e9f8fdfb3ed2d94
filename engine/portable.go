package engine

import (
	"bytes"
	"strconv"

	"github.com/larder-db/larder/engine/command"
)

// Exact says whether a logged command does elsewhere what it did here. What SPOP removes is drawn from the entry's seed and
// by the order of the set's members, which the log alone does not tell: elsewhere as many members go, but other ones.
func Exact(args [][]byte) bool { return !bytes.EqualFold(args[0], []byte("SPOP")) }

// PortableCommand is a command for a Redis.
type PortableCommand struct {
	DB   int // that has to be selected; -1: any
	Args [][]byte
}

// Portable rewrites a logged command, and a transaction into its MULTI, its commands and EXEC. What the transaction read is
// left out, and all of it if it did nothing. term is the entry's, and now the time by which it was applied: the
// greatest clock of an entry so far.
func Portable(db int, args [][]byte, clock, now int64, term uint64) (out []PortableCommand) {
	if string(bytes.ToUpper(args[0])) != command.Exec().Name {
		for _, a := range portable(args, clock) {
			out = append(out, PortableCommand{db, a})
		}
		return out
	}
	g, _, _, err := command.OpenExec(args)
	if err != nil || g.Term != 0 && g.Term != term || g.Deadline != 0 && now > g.Deadline {
		return nil
	}
	out = append(out, PortableCommand{-1, [][]byte{[]byte("MULTI")}})
	err = command.EachNested(args, func(c command.Nested) error {
		if c.Row != nil && c.Row.Flags&command.Write != 0 {
			for _, a := range portable(c.Args, clock) {
				out = append(out, PortableCommand{c.DB, a})
			}
		}
		return nil
	})
	if err != nil || len(out) == 1 {
		return nil
	}
	return append(out, PortableCommand{-1, [][]byte{[]byte("EXEC")}})
}

// portable rewrites a logged command into commands that a Redis understands which gets them at another time: times to
// live relative to the entry's clock become absolute, and Larder's own commands become Redis's. A command that has no
// counterpart gives none.
//
// Read at the times at which they were applied, the commands do what they did. Read later, a deadline that lies between the
// entry's clock and the time of reading hides the key from the commands that followed: one that was then renewed, kept
// (PERSIST) or copied is lost, and what was added to it begins anew. To say otherwise takes the state, not the log alone:
// whether EXPIRE GT or SET KEEPTTL change a deadline depends on it, and the log begins behind a checkpoint. For the same
// reason SPOP is passed on as it is: another server removes as many members, drawn anew.
func portable(args [][]byte, clock int64) [][][]byte {
	name := string(bytes.ToUpper(args[0]))
	switch name {
	case "LARDER.EXPIRE":
		out := append([][]byte{[]byte("DEL")}, args[1:]...)
		return [][][]byte{out}
	case "LARDER.EVICT":
		return portableEviction(args)
	case "LARDER.POPULATE":
		return [][][]byte{append([][]byte{[]byte("DEBUG"), []byte("POPULATE")}, args[1:]...)}
	case "EXPIRE", "PEXPIRE":
		return [][][]byte{absolute(args, 2, "PEXPIREAT", clock, unit(name == "PEXPIRE"))}
	case "SETEX", "PSETEX":
		if len(args) == 4 {
			return [][][]byte{absolute([][]byte{[]byte("SET"), args[1], args[3], []byte("PXAT"), args[2]}, 4, "SET", clock, unit(name == "PSETEX"))}
		}
	case "SET", "GETEX":
		return [][][]byte{absoluteOption(args, clock)}
	case "RESTORE":
		return [][][]byte{absoluteRestore(args, clock)}
	}
	if row := command.Lookup(args[0]); row != nil && row.Internal() {
		return nil
	}
	return [][][]byte{args}
}

// portableEviction tells an eviction as a DEL. Of keys that had to have a time to live, each is moved into the past if it
// has one.
func portableEviction(args [][]byte) (out [][][]byte) {
	if len(args) < 3 {
		return nil
	}
	if !command.EvictsTimed(args) {
		return [][][]byte{append([][]byte{[]byte("DEL")}, args[2:]...)}
	}
	for _, key := range args[2:] {
		out = append(out, [][]byte{[]byte("PEXPIREAT"), key, []byte("1"), []byte("XX")})
	}
	return out
}

func unit(millis bool) int64 {
	if millis {
		return 1
	}
	return 1000
}

// absolute replaces the relative time at position at by an absolute one, and the command's name. A number that is no
// number stays: the command was refused, and will be again.
func absolute(args [][]byte, at int, name string, clock, unit int64) [][]byte {
	if len(args) <= at {
		return args
	}
	n, err := strconv.ParseInt(string(args[at]), 10, 64)
	if err != nil {
		return args
	}
	out := append([][]byte{}, args...)
	out[0] = []byte(name)
	out[at] = strconv.AppendInt(nil, n*unit+clock, 10)
	return out
}

// absoluteOption turns EX and PX into PXAT.
func absoluteOption(args [][]byte, clock int64) [][]byte {
	from := 3
	if bytes.EqualFold(args[0], []byte("GETEX")) {
		from = 2
	}
	for i := from; i+1 < len(args); i++ {
		seconds := bytes.EqualFold(args[i], []byte("EX"))
		if !seconds && !bytes.EqualFold(args[i], []byte("PX")) {
			continue
		}
		out := absolute(args, i+1, string(args[0]), clock, unit(!seconds))
		out[i] = []byte("PXAT")
		return out
	}
	return args
}

// absoluteRestore adds ABSTTL to a RESTORE with a relative time to live.
func absoluteRestore(args [][]byte, clock int64) [][]byte {
	for _, a := range args[min(len(args), 4):] {
		if bytes.EqualFold(a, []byte("ABSTTL")) {
			return args
		}
	}
	if len(args) < 4 || string(args[2]) == "0" {
		return args
	}
	return append(absolute(args, 2, string(args[0]), clock, 1), []byte("ABSTTL"))
}
