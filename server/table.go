package server

import (
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
	Sub     []serverCommand
}

// entry is what a command's name leads to: a row of the engine's table or of the server's.
type entry struct {
	row    *command.Command
	server *serverCommand
	id     int // place in the statistics
}

// commandTable finds commands by name, under their renamed names.
type commandTable struct {
	byName map[string]*entry // lower case
	byRow  map[*command.Command]*entry
	names  []string // of the statistics, by id: "set", "client|list"
}

func newCommandTable(renames func(name string) (string, bool)) *commandTable {
	t := &commandTable{byName: map[string]*entry{}, byRow: map[*command.Command]*entry{}}
	add := func(name string, e *entry) {
		e.id = len(t.names)
		t.names = append(t.names, name)
		if e.row != nil {
			t.byRow[e.row] = e
		}
	}
	enter := func(name string, e *entry) {
		name = strings.ToLower(name)
		add(name, e)
		if to, ok := renames(name); ok {
			name = strings.ToLower(to)
		}
		if name != "" {
			t.byName[name] = e
		}
	}
	rows := command.Table()
	for i := range rows {
		if rows[i].Internal() {
			add(strings.ToLower(rows[i].Name), &entry{row: &rows[i]})
			continue
		}
		enter(rows[i].Name, &entry{row: &rows[i]})
		for j := range rows[i].Sub {
			sub := &rows[i].Sub[j]
			add(strings.ToLower(rows[i].Name+"|"+sub.Name), &entry{row: sub})
		}
	}
	for _, family := range serverFamilies() {
		for i := range family {
			enter(family[i].Name, &entry{row: &family[i].Command, server: &family[i]})
			for j := range family[i].Sub {
				sub := &family[i].Sub[j]
				add(strings.ToLower(family[i].Name+"|"+sub.Name), &entry{row: &sub.Command, server: sub})
			}
		}
	}
	return t
}

// serverFamilies lists the server's own commands.
func serverFamilies() [][]serverCommand {
	return [][]serverCommand{connectionCommands, clientCommands, adminCommands, infoCommands, debugCommands}
}

// find looks a command up, whatever its case.
func (t *commandTable) find(name []byte) *entry {
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
	return t.byName[string(lower[:len(name)])]
}

// sub is the entry of a container's subcommand, or nil.
func (t *commandTable) sub(e *entry, name []byte) *entry {
	if e.server != nil {
		for i := range e.server.Sub {
			if strings.EqualFold(e.server.Sub[i].Name, string(name)) {
				return t.byRow[&e.server.Sub[i].Command]
			}
		}
		return nil
	}
	if row := e.row.Subcommand(name); row != nil {
		return t.byRow[row]
	}
	return nil
}

// container says whether the command has subcommands.
func (e *entry) container() bool {
	return len(e.row.Sub) > 0 || e.server != nil && len(e.server.Sub) > 0
}
