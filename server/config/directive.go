package config

//lint:file-ignore ST1005 the messages are redis-server's, to the letter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Flags say how a directive may be changed and shown.
type Flags uint8

const (
	// Mutable directives can be changed with CONFIG SET.
	Mutable Flags = 1 << iota
	// Protected ones only if enable-protected-configs allows it to the connection.
	Protected
	// Volatile ones have their hooks called even if the value is the same (a certificate's file may be new).
	Volatile
	// Sensitive ones hold secrets: keep their values out of logs.
	Sensitive
	// FileOnly ones are no part of CONFIG GET and SET.
	FileOnly
)

// Directive is one row of the table.
type Directive struct {
	Name    string
	Aliases []string
	Flags   Flags
	// Default is the value as a file would spell it.
	Default string
	// About is a one-line description.
	About string
	// Inert directives have no effect; About then tells why.
	Inert bool

	setting setting
}

var (
	errArgCount     = errors.New("wrong number of arguments")
	errBadDirective = errors.New("Bad directive or wrong number of arguments")
)

// directives holds all rows by name; byName finds them by alias too.
var (
	directives = makeTable()
	byName     = index(directives)
	defaults   = makeDefaults()
)

func makeTable() []*Directive {
	var table []*Directive
	for _, group := range [][]Directive{networkTable, tlsTable, accessTable, dataTable, clusterTable, encodingTable, logTable, runTable} {
		for i := range group {
			table = append(table, &group[i])
		}
	}
	for _, group := range inertTable {
		for _, row := range group.rows {
			table = append(table, &Directive{
				Name: row.name, Aliases: row.aliases, Flags: row.flags, Default: row.value,
				About: group.reason, Inert: true, setting: inert{row.name, row.kind},
			})
		}
	}
	slices.SortFunc(table, func(a, b *Directive) int { return strings.Compare(a.Name, b.Name) })
	return table
}

func index(table []*Directive) map[string]*Directive {
	m := make(map[string]*Directive)
	for _, d := range table {
		for _, name := range append([]string{d.Name}, d.Aliases...) {
			if m[name] != nil {
				panic("config: two directives are called " + name)
			}
			m[name] = d
		}
	}
	return m
}

// makeDefaults sets every directive to its default but those that depend on the machine (maxmemory, dir).
func makeDefaults() *Values {
	v := &Values{inert: make(map[string]string)}
	for _, d := range directives {
		if d.dependsOnMachine() {
			continue
		}
		if err := d.setDefault(v, 0); err != nil {
			panic(fmt.Sprintf("config: default of %s: %v", d.Name, err))
		}
	}
	return v
}

func (d *Directive) dependsOnMachine() bool { return d.Name == "maxmemory" || d.Name == "dir" }

func (d *Directive) setDefault(v *Values, machine int64) error {
	if d.Flags&FileOnly != 0 {
		return nil
	}
	args, err := SplitArgs(d.Default)
	if err != nil {
		return err
	}
	return d.setting.set(v, input{args: args, machine: machine})
}

// load sets the directive from words of a file.
func (d *Directive) load(v *Values, in input) error {
	in.loading = true
	if !d.setting.isList() {
		if len(in.args) != 1 {
			return errArgCount
		}
	} else if len(in.args) == 1 && in.args[0] != "" {
		in.args = strings.Split(in.args[0], " ")
	}
	return d.setting.set(v, in)
}

// change sets the directive from the one value of CONFIG SET.
func (d *Directive) change(v *Values, value string, machine int64) error {
	args := []string{value}
	if d.setting.isList() {
		args = nil
		if value != "" {
			args = strings.Split(value, " ")
		}
	}
	return d.setting.set(v, input{args: args, machine: machine})
}

func (d *Directive) same(a, b *Values) bool {
	return slices.Equal(d.setting.lines(a), d.setting.lines(b))
}

// Lookup finds a directive by its name or an alias, in letters of either case; nil if there is none.
func Lookup(name string) *Directive { return byName[strings.ToLower(name)] }

// Directives returns the table in order of name. It must not be changed.
func Directives() []*Directive { return directives }
