package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// input is what a directive is given: the words behind its name.
type input struct {
	args    []string
	loading bool  // from a file or the command line, not from CONFIG SET
	again   bool  // the directive came before in this load, so lists go on where they were
	machine int64 // bytes of memory that percentages refer to
}

// kind reads and shows values of type T. A kind whose words are counted by itself also has the method list; one
// whose file form is not simply the quoted CONFIG GET form also has the method file.
type kind[T any] interface {
	parse(old T, in input) (T, error)
	show(T) string
}

type listKind interface{ list() }

type fileKind[T any] interface{ file(T) []string }

// setting is a kind tied to its place in Values.
type setting interface {
	set(v *Values, in input) error
	get(v *Values) string
	// lines are what stands behind the directive's name in a file, one element per line.
	lines(v *Values) []string
	isList() bool
}

type field[T any] struct {
	kind kind[T]
	at   func(*Values) *T
}

func (f field[T]) set(v *Values, in input) error {
	parsed, err := f.kind.parse(*f.at(v), in)
	if err != nil {
		return err
	}
	*f.at(v) = parsed
	return nil
}

func (f field[T]) get(v *Values) string { return f.kind.show(*f.at(v)) }

func (f field[T]) lines(v *Values) []string { return fileForm(f.kind, *f.at(v)) }

func (f field[T]) isList() bool { _, ok := f.kind.(listKind); return ok }

func fileForm[T any](k kind[T], value T) []string {
	if fk, ok := k.(fileKind[T]); ok {
		return fk.file(value)
	}
	text := k.show(value)
	if _, ok := k.(listKind); ok {
		return []string{wordsLine(strings.Fields(text))}
	}
	return []string{Quote(text)}
}

// wordsLine spells a list; an empty one is a single empty word.
func wordsLine(words []string) string {
	if len(words) == 0 {
		return `""`
	}
	return quoteWords(words)
}

var errNotInteger = errors.New("argument couldn't be parsed into an integer")

func errRange(low, high any) error {
	return fmt.Errorf("argument must be between %v and %v inclusive", low, high)
}

// parseInt reads a decimal number in its one canonical spelling: no sign but a minus, no leading zeros, no blanks.
func parseInt(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != s {
		return 0, errNotInteger
	}
	return n, nil
}

// number is an integer; the value is the number times unit (0 means 1), so that durations read naturally.
type number[T ~int | ~int64] struct {
	low, high int64
	unit      T
}

func (k number[T]) parse(_ T, in input) (T, error) {
	n, err := parseInt(in.args[0])
	if err != nil {
		return 0, err
	}
	if n < k.low || n > k.high {
		return 0, errRange(k.low, k.high)
	}
	return T(n) * max(k.unit, 1), nil
}

func (k number[T]) show(v T) string { return strconv.FormatInt(int64(v/max(k.unit, 1)), 10) }

// frequency is hz: out of range means the nearest that is in it.
type frequency struct{}

func (frequency) parse(_ int, in input) (int, error) {
	n, err := number[int]{0, math.MaxInt32, 1}.parse(0, in)
	return min(max(n, 1), 500), err
}

func (frequency) show(v int) string { return strconv.Itoa(v) }

// octal is a file mode.
type octal struct{ high uint64 }

func (k octal) parse(_ uint32, in input) (uint32, error) {
	n, err := strconv.ParseUint(in.args[0], 8, 32)
	if err != nil {
		return 0, errors.New("argument couldn't be parsed as an octal number")
	}
	if n > k.high {
		return 0, errRange(0, strconv.FormatUint(k.high, 8))
	}
	return uint32(n), nil
}

func (octal) show(v uint32) string { return strconv.FormatUint(uint64(v), 8) }

// yesNo is a truth value.
type yesNo struct{}

func (yesNo) parse(_ bool, in input) (bool, error) {
	switch {
	case strings.EqualFold(in.args[0], "yes"):
		return true, nil
	case strings.EqualFold(in.args[0], "no"):
		return false, nil
	}
	return false, errors.New("argument must be 'yes' or 'no'")
}

func (yesNo) show(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// choice is one of a few words.
type choice[T comparable] []option[T]

type option[T comparable] struct {
	name  string
	value T
}

// words makes a choice whose values are its words.
func words(names ...string) choice[string] {
	var k choice[string]
	for _, name := range names {
		k = append(k, option[string]{name, name})
	}
	return k
}

func (k choice[T]) parse(_ T, in input) (T, error) {
	for _, o := range k {
		if strings.EqualFold(o.name, in.args[0]) {
			return o.value, nil
		}
	}
	var none T
	return none, k.errNone()
}

func (k choice[T]) errNone() error {
	names := make([]string, len(k))
	for i, o := range k {
		names[i] = o.name
	}
	return fmt.Errorf("argument(s) must be one of the following: %s", strings.Join(names, ", "))
}

func (k choice[T]) show(v T) string {
	for _, o := range k {
		if o.value == v {
			return o.name
		}
	}
	return ""
}

// anyText is a string; check, if given, may refuse it.
type anyText struct{ check func(string) error }

func (k anyText) parse(_ string, in input) (string, error) {
	if k.check != nil {
		if err := k.check(in.args[0]); err != nil {
			return "", err
		}
	}
	return in.args[0], nil
}

func (anyText) show(v string) string { return v }

// textList is a list of words; check, if given, may refuse it.
type textList struct{ check func([]string) error }

func (textList) list() {}

func (k textList) parse(_ []string, in input) ([]string, error) {
	args := in.args
	if len(args) == 1 && args[0] == "" {
		args = nil
	}
	if slices.ContainsFunc(args, func(s string) bool { return strings.ContainsAny(s, " \t\r\n\v\f") }) {
		return nil, errors.New("argument must not contain white space")
	}
	if k.check != nil {
		if err := k.check(args); err != nil {
			return nil, err
		}
	}
	return slices.Clone(args), nil
}

func (textList) show(v []string) string { return strings.Join(v, " ") }

func (textList) file(v []string) []string { return []string{wordsLine(v)} }

// only is a kind with a single lawful value; reason tells why nothing else will do.
type only[T any] struct {
	kind[T]
	value, reason string
	// lenient takes other values from a file, where they stay without effect, with a warning.
	lenient bool
}

func (k only[T]) parse(old T, in input) (T, error) {
	v, err := k.kind.parse(old, in)
	if err != nil {
		return v, err
	}
	if k.kind.show(v) == k.value {
		return v, nil
	}
	if k.lenient && in.loading {
		return old, warning(k.reason)
	}
	return v, errors.New(k.reason)
}

// warning is a fault that does not stop the load: what was asked for has been ignored.
type warning string

func (w warning) Error() string { return string(w) }

// inert is a directive without effect, kept as its text.
type inert struct {
	name string
	textKind
}

// textKind is a kind that has been reduced to texts.
type textKind interface {
	canonical(in input) (string, error)
	isList() bool
}

// asText reduces any kind that does not need the old value.
type asText[T any] struct{ kind kind[T] }

func text[T any](k kind[T]) textKind { return asText[T]{k} }

func (k asText[T]) canonical(in input) (string, error) {
	var none T
	v, err := k.kind.parse(none, in)
	if err != nil {
		return "", err
	}
	return k.kind.show(v), nil
}

func (k asText[T]) isList() bool { _, ok := k.kind.(listKind); return ok }

func (i inert) set(v *Values, in input) error {
	s, err := i.canonical(in)
	if err != nil {
		return err
	}
	v.inert[i.name] = s
	return nil
}

func (i inert) get(v *Values) string { return v.inert[i.name] }

func (i inert) lines(v *Values) []string {
	s := v.inert[i.name]
	if i.isList() {
		return []string{wordsLine(strings.Fields(s))}
	}
	return []string{Quote(s)}
}
