package config

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// Config is a server's configuration. All methods may be called from any goroutine.
type Config struct {
	file   string // absolute; "" if the server was started without one
	memory int64
	values atomic.Pointer[Values]

	mu struct {
		sync.Mutex // serializes Set, Rewrite and OnChange
		hooks      []registration
	}
}

// Hook makes a change take effect. It is called before the new values are published, so it must look at its
// arguments and not call methods of Config. If it returns an error, or one called after it does, the change does not
// happen, and it is called again the other way round if it had succeeded.
type Hook func(old, new *Values) error

type registration struct {
	names map[string]bool
	hook  Hook
}

// Pair is a directive's name and value.
type Pair struct{ Name, Value string }

// Load returns the values in force. They never change; take them once per piece of work.
func (c *Config) Load() *Values { return c.values.Load() }

// File returns the path of the configuration file, "" if there is none.
func (c *Config) File() string { return c.file }

// OnChange has hook called, once per Set, when any of the named directives changes. It panics if there is no such
// directive.
func (c *Config) OnChange(hook Hook, names ...string) {
	r := registration{make(map[string]bool), hook}
	for _, name := range names {
		d := Lookup(name)
		if d == nil {
			panic("config: OnChange of unknown directive " + name)
		}
		r.names[d.Name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.hooks = append(c.mu.hooks, r)
}

// Get returns the directives whose names or aliases match any of the glob patterns, in order of name, each name once,
// in the form of CONFIG GET. A pattern without wildcards comes back as it was spelled.
func (c *Config) Get(patterns ...string) []Pair {
	v := c.Load()
	var pairs []Pair
	for _, d := range directives {
		if d.Flags&FileOnly != 0 {
			continue
		}
		for _, name := range append([]string{d.Name}, d.Aliases...) {
			if spelled, ok := firstMatch(patterns, name); ok {
				pairs = append(pairs, Pair{spelled, d.setting.get(v)})
			}
		}
	}
	return pairs
}

func firstMatch(patterns []string, name string) (spelled string, ok bool) {
	for _, p := range patterns {
		if !strings.ContainsAny(p, "[*?") {
			if strings.EqualFold(p, name) {
				return p, true
			}
		} else if matchName(p, name) {
			return name, true
		}
	}
	return "", false
}

// SetError says why Set changed nothing. Its text is the whole error reply of CONFIG SET, code included.
type SetError struct {
	Name   string // the argument to blame, as the client wrote it
	Reason error  // nil: there is no such directive
}

func (e *SetError) Error() string {
	if e.Reason == nil {
		return fmt.Sprintf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", e.Name)
	}
	return fmt.Sprintf("ERR CONFIG SET failed (possibly related to argument '%s') - %s", e.Name, e.Reason)
}

func (e *SetError) Unwrap() error { return e.Reason }

var (
	errImmutable = errors.New("can't set immutable config")
	errProtected = errors.New("can't set protected config")
	errDuplicate = errors.New("duplicate parameter")
)

// Set changes all the pairs or none. local says whether the client is on this machine, for
// enable-protected-configs. The error is a *SetError; if a hook could not undo what it had done, that error is
// joined to it.
func (c *Config) Set(pairs []Pair, local bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.Load()
	targets, err := resolve(pairs, old, local)
	if err != nil {
		return err
	}
	next := old.clone()
	for i, d := range targets {
		if err := d.change(next, pairs[i].Value, c.memory); err != nil {
			return &SetError{strings.ToLower(pairs[i].Name), err}
		}
	}
	if err := c.applyLocked(targets, old, next); err != nil {
		return err
	}
	c.values.Store(next)
	return nil
}

// resolve finds the directives of the pairs and refuses what must not be changed.
func resolve(pairs []Pair, v *Values, local bool) ([]*Directive, error) {
	targets := make([]*Directive, len(pairs))
	seen := make(map[*Directive]bool, len(pairs))
	for i, p := range pairs {
		d := Lookup(p.Name)
		switch {
		case d == nil || d.Flags&FileOnly != 0:
			return nil, &SetError{Name: p.Name}
		case d.Flags&Mutable == 0:
			return nil, &SetError{p.Name, errImmutable}
		case d.Flags&Protected != 0 && !v.EnableProtectedConfigs.Allows(local):
			return nil, &SetError{p.Name, errProtected}
		case seen[d]:
			return nil, &SetError{p.Name, errDuplicate}
		}
		seen[d] = true
		targets[i] = d
	}
	return targets, nil
}

// applyLocked calls the hooks of what changed; when one fails, it has those before it undo their work.
func (c *Config) applyLocked(targets []*Directive, old, next *Values) error {
	changed := make(map[string]bool)
	var order []string
	for _, d := range targets {
		if d.Flags&Volatile != 0 || !d.same(old, next) {
			changed[d.Name] = true
			order = append(order, d.Name)
		}
	}
	for i, r := range c.mu.hooks {
		blame := r.first(order)
		if blame == "" {
			continue
		}
		err := r.hook(old, next)
		if err == nil {
			continue
		}
		failure := error(&SetError{blame, err})
		for j := i - 1; j >= 0; j-- {
			if undo := c.mu.hooks[j]; undo.first(order) != "" {
				if err := undo.hook(next, old); err != nil {
					failure = errors.Join(failure, fmt.Errorf("undoing: %w", err))
				}
			}
		}
		return failure
	}
	return nil
}

// first returns the first of the changed directives that the hook is for.
func (r registration) first(changed []string) string {
	for _, name := range changed {
		if r.names[name] {
			return name
		}
	}
	return ""
}
