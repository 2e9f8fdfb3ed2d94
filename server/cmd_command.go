package server

import (
	"slices"
	"strings"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/server/resp"
)

// aboutCommands are the flags of COMMAND and its subcommands.
const aboutCommands = command.Loading | command.Stale

var commandCommands = []serverCommand{
	{
		Command: command.Command{
			Name: "COMMAND", Arity: -1, Flags: aboutCommands, Group: "server", Extra: "connection", Since: "2.8.13",
			Summary: "Describes all commands.", Tips: []string{"nondeterministic_output_order"},
		},
		Run: commandAll, Anytime: true,
		Sub: []serverCommand{
			commandRow("COUNT", 2, "2.8.13", "Returns the number of commands.", commandCount),
			commandRow("DOCS", -2, "7.0.0", "Returns what is documented of commands.", commandDocs, "nondeterministic_output_order"),
			commandRow("GETKEYS", -4, "2.8.13", "Returns the keys of a full command.", commandGetKeys),
			commandRow("GETKEYSANDFLAGS", -4, "7.0.0", "Returns the keys of a full command, and what it does with each.", commandGetKeysAndFlags),
			commandRow("HELP", 2, "5.0.0", "Lists the subcommands.", commandHelp),
			commandRow("INFO", -2, "2.8.13", "Describes commands.", commandInfo, "nondeterministic_output_order"),
			commandRow("LIST", -2, "7.0.0", "Lists the names of commands.", commandList, "nondeterministic_output_order"),
		},
	},
}

func commandRow(name string, arity int, since, summary string, run func(*session, [][]byte, *resp.Writer), tips ...string) serverCommand {
	row := clientRow(name, arity, aboutCommands, since, summary, run, tips...)
	row.Group, row.Extra, row.Anytime = "server", "connection", true
	return row
}

func commandHelp(_ *session, _ [][]byte, w *resp.Writer) {
	help(w, "COMMAND",
		"(no subcommand)",
		"    Describes all commands.",
		"COUNT",
		"    Returns the number of commands.",
		"DOCS [<command-name> ...]",
		"    Returns what is documented of those commands, or of all.",
		"GETKEYS <full-command>",
		"    Returns the keys of a full command.",
		"GETKEYSANDFLAGS <full-command>",
		"    Returns the keys of a full command, and what it does with each.",
		"INFO [<command-name> ...]",
		"    Describes those commands, or all.",
		"LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
		"    Lists the names of commands.")
}

func commandCount(s *session, _ [][]byte, w *resp.Writer) { w.Int(int64(len(s.server.table.byName))) }

func commandAll(s *session, _ [][]byte, w *resp.Writer) {
	t := s.server.table
	all := t.all()
	w.Array(len(all))
	for _, e := range all {
		t.writeInfo(w, e)
	}
}

func commandInfo(s *session, args [][]byte, w *resp.Writer) {
	if len(args) == 2 {
		commandAll(s, args, w)
		return
	}
	t := s.server.table
	w.Array(len(args) - 2)
	for _, name := range args[2:] {
		if e := t.byFullName(name); e != nil {
			t.writeInfo(w, e)
		} else {
			w.Null()
		}
	}
}

// writeInfo describes a command in COMMAND INFO's ten fields.
func (t *commandTable) writeInfo(w *resp.Writer, e *entry) {
	row := e.row
	w.Array(10)
	w.BulkString(t.names[e.id])
	w.Int(int64(row.Arity))
	writeWords(w, row.Flags.Names(), "")
	first, last, step := row.KeyRange()
	w.Int(int64(first))
	w.Int(int64(last))
	w.Int(int64(step))
	writeWords(w, e.categories(), "@")
	w.Set(len(row.Tips))
	for _, tip := range row.Tips {
		w.BulkString(tip)
	}
	w.Set(len(row.Keys))
	for i := range row.Keys {
		writeKeySpec(w, &row.Keys[i])
	}
	subs := t.subs(e)
	w.Set(len(subs))
	for _, sub := range subs {
		t.writeInfo(w, sub)
	}
}

func writeWords(w *resp.Writer, words []string, prefix string) {
	w.Set(len(words))
	for _, word := range words {
		w.Simple(prefix + word)
	}
}

// categories are the row's ACL categories. The server's rows keep their subcommands elsewhere, and none is about keys.
func (e *entry) categories() []string {
	row := *e.row
	if e.server == nil {
		return row.Categories()
	}
	if e.container() {
		row.Sub = []command.Command{}
	}
	if row.Group == "generic" {
		row.Group = ""
	}
	return row.Categories()
}

// writeKeySpec describes where keys are found: where the search begins, and how it goes on from there.
func writeKeySpec(w *resp.Writer, k *command.KeySpec) {
	if k.Notes != "" {
		w.Map(4)
		w.BulkString("notes")
		w.BulkString(k.Notes)
	} else {
		w.Map(3)
	}
	w.BulkString("flags")
	writeWords(w, k.Use.Names(), "")
	if k.Unknown() {
		w.BulkString("begin_search")
		writeSpec(w, "unknown")
		w.BulkString("find_keys")
		writeSpec(w, "unknown")
		return
	}
	begin := max(k.First, k.Numkeys) // of keys behind their number, Numkeys is the place of that
	w.BulkString("begin_search")
	if k.Keyword != "" {
		writeSpec(w, "keyword", field{"keyword", k.Keyword}, field{"startfrom", k.From})
		begin = 0
	} else {
		writeSpec(w, "index", field{"index", begin})
	}
	w.BulkString("find_keys")
	if k.Numkeys > 0 {
		writeSpec(w, "keynum", field{"keynumidx", 0}, field{"firstkey", 1}, field{"keystep", max(k.Step, 1)})
		return
	}
	last := k.Last
	if last >= 0 {
		last -= begin
	}
	writeSpec(w, "range", field{"lastkey", last}, field{"keystep", k.Step}, field{"limit", k.Limit})
}

// field is a named word or number of a key specification.
type field struct {
	name  string
	value any
}

func writeSpec(w *resp.Writer, kind string, fields ...field) {
	w.Map(2)
	w.BulkString("type")
	w.BulkString(kind)
	w.BulkString("spec")
	w.Map(len(fields))
	for _, f := range fields {
		w.BulkString(f.name)
		if n, ok := f.value.(int); ok {
			w.Int(int64(n))
		} else {
			w.BulkString(f.value.(string))
		}
	}
}

func commandDocs(s *session, args [][]byte, w *resp.Writer) {
	t := s.server.table
	var list []*entry
	if len(args) == 2 {
		list = t.all()
	}
	for _, name := range args[2:] {
		if e := t.byFullName(name); e != nil {
			list = append(list, e)
		}
	}
	t.writeDocs(w, list)
}

// writeDocs documents commands, by name.
func (t *commandTable) writeDocs(w *resp.Writer, list []*entry) {
	w.Map(len(list))
	for _, e := range list {
		w.BulkString(t.names[e.id])
		subs := t.subs(e)
		if len(subs) > 0 {
			w.Map(4)
		} else {
			w.Map(3)
		}
		w.BulkString("summary")
		w.BulkString(e.row.Summary)
		w.BulkString("since")
		w.BulkString(e.row.Since)
		w.BulkString("group")
		w.BulkString(e.row.Group)
		if len(subs) > 0 {
			w.BulkString("subcommands")
			t.writeDocs(w, subs)
		}
	}
}

func commandList(s *session, args [][]byte, w *resp.Writer) {
	t := s.server.table
	keep := func(*entry) bool { return true }
	switch {
	case len(args) == 2:
	case len(args) == 5 && isWord(args[2], "FILTERBY") && isWord(args[3], "MODULE"):
		keep = func(*entry) bool { return false }
	case len(args) == 5 && isWord(args[2], "FILTERBY") && isWord(args[3], "ACLCAT"):
		category := strings.ToLower(string(args[4]))
		keep = func(e *entry) bool { return slices.Contains(e.categories(), category) }
	case len(args) == 5 && isWord(args[2], "FILTERBY") && isWord(args[3], "PATTERN"):
		pattern := []byte(strings.ToLower(string(args[4])))
		keep = func(e *entry) bool { return value.Glob(pattern, []byte(t.names[e.id])) }
	default:
		w.Error(reply.Syntax)
		return
	}
	var names []string
	add := func(e *entry) {
		if keep(e) {
			names = append(names, t.names[e.id])
		}
	}
	for _, e := range t.all() {
		add(e)
		for _, sub := range t.subs(e) {
			add(sub)
		}
	}
	w.Array(len(names))
	for _, name := range names {
		w.BulkString(name)
	}
}

// keysOf finds the keys of the full command that COMMAND GETKEYS was given, with what is done with each.
func (t *commandTable) keysOf(args [][]byte, w *resp.Writer) (at []int, use []command.KeyUse, ok bool) {
	e := t.find(args[0])
	if e != nil && e.container() && len(args) > 1 {
		if sub := t.sub(e, args[1]); sub != nil || e.server == nil || e.server.Run == nil {
			e = sub
		}
	}
	switch {
	case e == nil:
		w.Error("ERR Invalid command specified")
		return nil, nil, false
	case len(e.row.Keys) == 0:
		w.Error("ERR The command has no key arguments")
		return nil, nil, false
	case !e.row.ArityOK(len(args)):
		w.Error("ERR Invalid number of arguments specified for command")
		return nil, nil, false
	}
	for i := range e.row.Keys {
		one := command.Command{Keys: e.row.Keys[i : i+1]}
		list, err := one.KeyPositions(args, nil)
		if err != nil {
			w.Error("ERR Invalid arguments specified for command")
			return nil, nil, false
		}
		for range list {
			use = append(use, useOf(e.row, &e.row.Keys[i], args))
		}
		at = append(at, list...)
	}
	if len(at) == 0 {
		w.Error("ERR Invalid arguments specified for command")
		return nil, nil, false
	}
	return at, use, true
}

// useOf is what a full command does with the keys of a specification. For two commands that hangs on their options.
func useOf(row *command.Command, k *command.KeySpec, args [][]byte) command.KeyUse {
	has := func(words ...string) bool {
		return slices.ContainsFunc(args[2:], func(arg []byte) bool {
			return slices.ContainsFunc(words, func(word string) bool { return isWord(arg, word) })
		})
	}
	switch {
	case k.Use&command.VariableFlags == 0:
		return k.Use
	case row.Name == "SET" && !has("GET"):
		return command.OW | command.Update
	case row.Name == "BITFIELD" && !has("SET", "INCRBY"):
		return command.RO | command.Access
	}
	return k.Use &^ command.VariableFlags
}

func commandGetKeys(s *session, args [][]byte, w *resp.Writer) {
	args = args[2:]
	at, _, ok := s.server.table.keysOf(args, w)
	if !ok {
		return
	}
	w.Array(len(at))
	for _, i := range at {
		w.Bulk(args[i])
	}
}

func commandGetKeysAndFlags(s *session, args [][]byte, w *resp.Writer) {
	args = args[2:]
	at, use, ok := s.server.table.keysOf(args, w)
	if !ok {
		return
	}
	w.Array(len(at))
	for i, position := range at {
		w.Array(2)
		w.Bulk(args[position])
		writeWords(w, use[i].Names(), "")
	}
}
