package config

import (
	"errors"
	"fmt"
	"strings"
)

// Fault is one thing wrong in what was loaded.
type Fault struct {
	Source string // "" for the configuration file itself, else the included file, "standard input" or "command line"
	Line   int    // from 1; 0 for the command line
	Text   string // the line; secrets are left out
	Reason string
}

// LoadError holds all faults that were found, and names the server as redis-server names itself.
type LoadError struct {
	Version string
	Faults  []Fault
	Dropped int // faults beyond those listed
}

const commandLine, standardInput = "command line", "standard input"

func (e *LoadError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "*** FATAL CONFIG FILE ERROR (Larder %s) ***\n", e.Version)
	for _, f := range e.Faults {
		switch f.Source {
		case "":
			fmt.Fprintf(&b, "Reading the configuration file, at line %d\n", f.Line)
		case commandLine:
			b.WriteString("Reading the command line\n")
		case standardInput:
			fmt.Fprintf(&b, "Reading standard input, at line %d\n", f.Line)
		default:
			fmt.Fprintf(&b, "Reading the configuration file %s, at line %d\n", f.Source, f.Line)
		}
		fmt.Fprintf(&b, ">>> '%s'\n%s\n", f.Text, f.Reason)
	}
	if e.Dropped > 0 {
		fmt.Fprintf(&b, "... and %d more\n", e.Dropped)
	}
	return b.String()
}

// Warning tells of a directive that was accepted and has no effect as written.
type Warning struct {
	Source string // as in Fault
	Line   int
	Name   string
	Reason string
}

func (w Warning) String() string {
	where := w.Source
	if where == "" {
		where = "configuration file"
	}
	if w.Line > 0 {
		where = fmt.Sprintf("%s, line %d", where, w.Line)
	}
	return fmt.Sprintf("%s: %s: %s", where, w.Name, w.Reason)
}

// Limits of a load, against files that include themselves and worse.
const (
	maxIncludeDepth = 16
	maxFiles        = 256
	maxLoadBytes    = 8 << 20
	maxFaults       = 50
	maxWarnings     = 1000
	maxFaultText    = 512
)

var errTooMuch = errors.New("configuration too large")
