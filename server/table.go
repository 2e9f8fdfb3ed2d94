package server

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/server/resp"
)

// A serverCommand is a row for a command that is not about the key space: connections, configuration, figures.
type serverCommand struct {
	command.Command
	// Run answers the command. It is called on the session's loop and does not block: what takes long goes through
	// session.work. args[0] is the command's name.
	Run func(s *session, args [][]byte, w *resp.Writer)
	// Anytime says that the command may be answered while earlier ones of the same connection are unfinished; its
	// reply waits for its place. Without it, the command waits for them.
	Anytime bool
	// Take, where it is set, is called instead of Run, answers by itself, and returns false if the command has to wait and
	// be given again.
	Take func(s *session, e *entry, args [][]byte) bool
	// InMulti says that inside a MULTI the command runs at once.
	InMulti bool
	// AtLeader says that the command is the leader's to answer, wherever its client is connected.
	AtLeader bool
	// Subscribed says that in RESP2 the command is allowed to who is subscribed.
	Subscribed bool
	Sub        []serverCommand
}

// entry is what a command's name leads to: a row of the engine's table or of the server's.
type entry struct {
	row    *command.Command
	server *serverCommand
	subs   []*entry // a container's subcommands; MEMORY has some in either table
	id     int      // place in the statistics
	// looksUp: the command reads one key, and its reply says whether that was there.
	looksUp bool
	renamed bool // clients call it by another name than the log
	// fanOut runs the command on all shards that this node leads, where slots decide; nil: its keys say which.
	fanOut func(f *fanned, args [][]byte, w *resp.Writer)
	// special: the command is another one where slots decide.
	special bool
	// quick: a read that the loop answers at once where it can.
	quick bool
}

// commandTable finds commands by name, under their renamed names.
type commandTable struct {
	byName map[string]*entry // lower case
	byOld  map[string]*entry // under the names that nobody changed
	byRow  map[*command.Command]*entry
	names  []string // of the statistics, by id: "set", "client|list"
}

// newCommandTable makes the table. thresholds is what OBJECT ENCODING goes by.
func newCommandTable(renames func(name string) (string, bool), thresholds func() command.Thresholds) *commandTable {
	t := &commandTable{byName: map[string]*entry{}, byOld: map[string]*entry{}, byRow: map[*command.Command]*entry{}}
	add := func(name string, e *entry) {
		e.id = len(t.names)
		t.names = append(t.names, name)
		t.byRow[e.row] = e
		e.looksUp = looksUp(e.row)
		if e.server == nil {
			e.fanOut = fanOuts[e.row.Name]
			e.special = e.fanOut != nil || slices.Contains(otherInCluster, e.row.Name)
		}
		e.quick = e.server == nil && !e.container() && e.row.Flags&(command.Write|command.LongRead) == 0
	}
	var entered []*entry
	enter := func(name string, e *entry) {
		name = strings.ToLower(name)
		add(name, e)
		entered = append(entered, e)
		t.byOld[name] = e
		if to, ok := renames(name); ok {
			name, e.renamed = strings.ToLower(to), true
		}
		if name != "" {
			t.byName[name] = e
		}
	}
	rows := command.Table()
	encoding := encodingRow(thresholds)
	for i := range rows {
		e := &entry{row: &rows[i]}
		if e.row.Internal() {
			add(strings.ToLower(e.row.Name), e)
			continue
		}
		enter(e.row.Name, e)
		for j := range e.row.Sub {
			sub := &entry{row: &e.row.Sub[j]}
			if e.row.Name == "OBJECT" && sub.row.Name == encoding.Name {
				sub.row = encoding
			}
			e.subs = append(e.subs, sub)
		}
	}
	for _, family := range serverFamilies() {
		for i := range family {
			c := &family[i]
			e := t.byRow[command.Lookup([]byte(c.Name))]
			if e == nil {
				e = &entry{row: &c.Command, server: c}
				enter(c.Name, e)
			}
			for j := range c.Sub {
				e.subs = append(e.subs, &entry{row: &c.Sub[j].Command, server: &c.Sub[j]})
			}
		}
	}
	for _, e := range entered {
		for _, sub := range e.subs {
			add(strings.ToLower(e.row.Name+"|"+sub.row.Name), sub)
		}
	}
	return t
}

// encodingRow is the row of OBJECT ENCODING that goes by the configuration.
func encodingRow(thresholds func() command.Thresholds) *command.Command {
	row := *command.Lookup([]byte("OBJECT")).Subcommand([]byte("ENCODING"))
	row.Do = command.ObjectEncoding(thresholds)
	return &row
}

// serverFamilies lists the server's own commands.
func serverFamilies() [][]serverCommand {
	return [][]serverCommand{connectionCommands, transactionCommands, clientCommands, configCommands, commandCommands, adminCommands, infoCommands, debugCommands,
		clusterCommands, replicationCommands, waitCommands, sentinelCommands, eventCommands}
}

// find looks a command up, whatever its case.
func (t *commandTable) find(name []byte) *entry { return lookUp(t.byName, name) }

// findOld is find for who knows nothing of new names.
func (t *commandTable) findOld(name []byte) *entry { return lookUp(t.byOld, name) }

func lookUp(names map[string]*entry, name []byte) *entry {
	var lower [32]byte
	if len(name) > len(lower) {
		return nil
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return names[string(lower[:len(name)])]
}

// isWord says whether an argument is the word, whatever its case.
func isWord(arg []byte, word string) bool {
	return len(arg) == len(word) && strings.EqualFold(string(arg), word)
}

// sub is the entry of a container's subcommand, or nil.
func (t *commandTable) sub(e *entry, name []byte) *entry {
	for _, sub := range e.subs {
		if isWord(name, sub.row.Name) {
			return sub
		}
	}
	return nil
}

// all lists the commands that clients can call, containers but not their subcommands.
func (t *commandTable) all() []*entry {
	list := slices.Collect(maps.Values(t.byName))
	slices.SortFunc(list, func(a, b *entry) int { return a.id - b.id })
	return list
}

// subs lists the subcommands of a container.
func (t *commandTable) subs(e *entry) []*entry { return e.subs }

// byFullName finds a command, or with "container|name" a subcommand.
func (t *commandTable) byFullName(name []byte) *entry {
	name, sub, ok := bytes.Cut(name, []byte("|"))
	e := t.find(name)
	if e != nil && ok {
		return t.sub(e, sub)
	}
	return e
}

// original is a command under the name that it has where nobody renamed it.
func (t *commandTable) original(e *entry, args [][]byte) [][]byte {
	if !e.renamed {
		return args
	}
	return append([][]byte{t.logName(e)}, args[1:]...)
}

// leaders says whether the command is the leader's business.
func (e *entry) leaders() bool { return e.server == nil || e.server.AtLeader }

// container says whether the command has subcommands.
func (e *entry) container() bool { return len(e.subs) > 0 }
