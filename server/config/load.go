package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Options say where a configuration comes from.
type Options struct {
	// Version of the server, for the head of error messages.
	Version string
	// Args are what redis-server would be given: [file] [-] [--directive value ...]. "-" reads standard input; it
	// may stand first or last.
	Args []string
	// Stdin is read if Args ask for it.
	Stdin io.Reader
	// Memory is the machine's memory in bytes, which percentages refer to; 0 asks the machine.
	Memory int64
}

// Load reads the configuration file, then standard input, then the command line; what comes later wins. The error is
// a *LoadError if the configuration is at fault.
func Load(o Options) (*Config, []Warning, error) {
	file, stdin, options := splitCommandLine(o.Args)
	if o.Memory == 0 {
		// An unknown size is a fault only where a percentage needs it.
		o.Memory, _ = MachineMemory(os.DirFS("/"))
	}
	l, err := newLoader(o.Memory)
	if err != nil {
		return nil, nil, err
	}
	if file != "" {
		if file, err = filepath.Abs(file); err != nil {
			return nil, nil, fmt.Errorf("cannot find the working folder: %w", err)
		}
		text, err := l.readFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("can't open config file '%s': %w", file, err)
		}
		l.load("", text, 0)
	}
	if stdin {
		text, err := readBounded(o.Stdin)
		if err != nil {
			return nil, nil, fmt.Errorf("can't read the configuration from standard input: %w", err)
		}
		l.load(standardInput, text, 0)
	}
	l.load(commandLine, options, 0)
	if o.Memory <= 0 && !l.seen["maxmemory"] {
		return nil, nil, fmt.Errorf("%w: set maxmemory", errNoMemory)
	}
	if len(l.faults) > 0 {
		return nil, nil, &LoadError{Version: o.Version, Faults: l.faults, Dropped: l.dropped}
	}
	l.warnCombinations()
	c := &Config{file: file, memory: o.Memory}
	c.values.Store(l.values)
	return c, l.warnings, nil
}

// splitCommandLine turns the arguments into a file, whether to read standard input, and configuration text, in
// redis-server 7.0's way: a word that begins with -- is a directive's name, unless the name before it still waits
// for its first value.
func splitCommandLine(args []string) (file string, stdin bool, options string) {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		file, args = args[0], args[1:]
	}
	if len(args) > 0 && args[0] == "-" {
		stdin, args = true, args[1:]
	}
	if n := len(args); n > 0 && args[n-1] == "-" {
		stdin, args = true, args[:n-1]
	}
	var b strings.Builder
	nameNext := true
	for i, arg := range args {
		if !nameNext || !strings.HasPrefix(arg, "--") {
			// No word of an argument may start a new line of the text.
			b.WriteString(quoteAlways(arg) + " ")
			nameNext = true
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		// Several words in one argument, as in "--port 6380".
		b.WriteString(strings.ReplaceAll(arg[2:], "\n", " ") + " ")
		words, err := SplitArgs(arg)
		nameNext = err != nil || len(words) != 1
		if strings.EqualFold(arg, "--save") {
			last := i == len(args)-1
			if last || strings.HasPrefix(args[i+1], "--") {
				b.WriteString(`"" `)
				nameNext = true
			}
		}
	}
	return file, stdin, b.String()
}

// loader gathers one configuration from several texts.
type loader struct {
	values   *Values
	seen     map[string]bool // directives that were set, by name
	included map[string]bool // those of them that an included file set
	faults   []Fault
	dropped  int
	warnings []Warning
	machine  int64
	files    int
	bytes    int
}

func newLoader(machine int64) (*loader, error) {
	l := &loader{
		values:   defaults.clone(),
		seen:     make(map[string]bool),
		included: make(map[string]bool),
		machine:  machine,
	}
	for _, d := range directives {
		if !d.dependsOnMachine() || d.Name == "maxmemory" && machine <= 0 {
			continue
		}
		if err := d.setDefault(l.values, machine); err != nil {
			return nil, fmt.Errorf("default of %s: %w", d.Name, err)
		}
	}
	return l, nil
}

func (l *loader) readFile(path string) (text string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", cause(err)
	}
	defer f.Close()
	return readBounded(f)
}

func readBounded(r io.Reader) (string, error) {
	if r == nil {
		return "", nil
	}
	b, err := io.ReadAll(io.LimitReader(r, maxLoadBytes+1))
	if err != nil {
		return "", cause(err)
	}
	if len(b) > maxLoadBytes {
		return "", errTooMuch
	}
	return string(b), nil
}

// load reads a text line by line. Faults do not stop it: all of them are worth telling at once.
func (l *loader) load(source, text string, depth int) {
	l.bytes += len(text)
	if l.bytes > maxLoadBytes {
		l.fault(Fault{source, 1, "", errTooMuch.Error()})
		return
	}
	number := 0
	for raw := range strings.SplitSeq(text, "\n") {
		number++
		line := strings.Trim(raw, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		at := Fault{Source: source, Line: number, Text: line}
		if source == commandLine {
			at.Line = 0
		}
		args, err := SplitArgs(line)
		if err != nil {
			at.Text = redact(line, "")
			at.Reason = err.Error()
			l.fault(at)
			continue
		}
		if len(args) == 0 {
			continue
		}
		at.Text = redact(line, args[0])
		l.directive(at, strings.ToLower(args[0]), args[1:], depth)
	}
}

// redact keeps secrets out of error messages.
func redact(line, name string) string {
	if name == "" {
		name, _, _ = strings.Cut(line, " ")
	}
	if d := Lookup(strings.Trim(name, `"'`)); d != nil && d.Flags&Sensitive != 0 {
		return d.Name + " (hidden)"
	}
	return line
}

func (l *loader) directive(at Fault, name string, args []string, depth int) {
	if reason, ok := refused[name]; ok {
		at.Reason = reason
		l.fault(at)
		return
	}
	if name == "include" && len(args) == 1 {
		l.include(at, args[0], depth)
		return
	}
	d := Lookup(name)
	if d == nil {
		at.Reason = errBadDirective.Error()
		l.fault(at)
		return
	}
	err := d.load(l.values, input{args: args, again: l.seen[d.Name], machine: l.machine})
	l.seen[d.Name] = true
	if depth > 0 {
		l.included[d.Name] = true
	}
	if ignored, ok := err.(warning); ok {
		l.warn(at, d.Name, string(ignored))
		return
	}
	if err != nil {
		at.Reason = err.Error()
		l.fault(at)
		return
	}
	if d.Inert && !d.same(l.values, defaults) {
		l.warn(at, d.Name, "no effect: "+d.About)
	}
}

// include loads the files that a pattern names, in order of name. A pattern that names none is no fault, a missing
// file without a pattern is.
func (l *loader) include(at Fault, pattern string, depth int) {
	fail := func(format string, a ...any) {
		at.Reason = fmt.Sprintf(format, a...)
		l.fault(at)
	}
	if l.files > maxFiles {
		return
	}
	if depth >= maxIncludeDepth {
		fail("included files are nested more than %d deep", maxIncludeDepth)
		l.files = maxFiles + 1 // one such fault is enough
		return
	}
	paths := []string{pattern}
	if strings.ContainsAny(pattern, "*?[") {
		var err error
		if paths, err = filepath.Glob(pattern); err != nil {
			fail("can't read the pattern '%s': %v", pattern, err)
			return
		}
	}
	for _, path := range paths {
		if l.files++; l.files > maxFiles {
			fail("more than %d files are included", maxFiles)
			return
		}
		text, err := l.readFile(path)
		if err != nil {
			fail("can't open config file '%s': %v", path, err)
			continue
		}
		l.load(path, text, depth+1)
	}
}

func (l *loader) fault(f Fault) {
	if len(l.faults) >= maxFaults {
		l.dropped++
		return
	}
	if len(f.Text) > maxFaultText {
		f.Text = f.Text[:maxFaultText] + "..."
	}
	l.faults = append(l.faults, f)
}

func (l *loader) warn(at Fault, name, reason string) {
	if len(l.warnings) < maxWarnings {
		l.warnings = append(l.warnings, Warning{at.Source, at.Line, name, reason})
	}
}

// warnCombinations tells of directives that have no effect beside others.
func (l *loader) warnCombinations() {
	v := l.values
	if v.Overflow && v.MaxDisk == 0 && v.MaxMemoryPolicy != NoEviction {
		l.warn(Fault{}, "maxmemory-policy", "evicts nothing with overflow yes and no maxdisk: cold data stays on disk")
	}
}

// cause takes the name of the operation and the path off an error of the file system, as C's strerror would have it.
func cause(err error) error {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
