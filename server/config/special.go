package config

//lint:file-ignore ST1005 the messages are redis-server's, to the letter

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// SavePoint asks for a checkpoint once Seconds have passed and at least Changes keys were written.
type SavePoint struct{ Seconds, Changes int64 }

type savePoints struct{}

func (savePoints) list() {}

var errSave = errors.New("Invalid save parameters")

const maxSavePoints = 64

// parse appends to the points of earlier lines of the same load; the first line, and CONFIG SET, start afresh.
func (savePoints) parse(old []SavePoint, in input) ([]SavePoint, error) {
	if len(in.args) == 1 && in.args[0] == "" {
		return nil, nil
	}
	if len(in.args)%2 != 0 {
		return nil, errSave
	}
	var points []SavePoint
	if in.again {
		points = slices.Clone(old)
	}
	for pair := range slices.Chunk(in.args, 2) {
		seconds, err1 := strconv.ParseInt(pair[0], 10, 64)
		changes, err2 := strconv.ParseInt(pair[1], 10, 64)
		if err1 != nil || err2 != nil || seconds < 1 || changes < 0 {
			return nil, errSave
		}
		points = append(points, SavePoint{seconds, changes})
	}
	if len(points) > maxSavePoints {
		return nil, errSave
	}
	return points, nil
}

func (savePoints) show(v []SavePoint) string {
	parts := make([]string, len(v))
	for i, p := range v {
		parts[i] = fmt.Sprintf("%d %d", p.Seconds, p.Changes)
	}
	return strings.Join(parts, " ")
}

func (savePoints) file(v []SavePoint) []string {
	if len(v) == 0 {
		return []string{`""`}
	}
	lines := make([]string, len(v))
	for i, p := range v {
		lines[i] = fmt.Sprintf("%d %d", p.Seconds, p.Changes)
	}
	return lines
}

// ClientClass indexes Values.OutputLimits.
type ClientClass int

const (
	ClassNormal ClientClass = iota
	ClassReplica
	ClassPubSub
	numClasses
)

// OutputLimit bounds, in bytes, the replies that wait for a client: Hard at once, Soft when exceeded for
// SoftSeconds on end. 0 means no bound.
type OutputLimit struct{ Hard, Soft, SoftSeconds int64 }

type outputLimits struct{}

func (outputLimits) list() {}

func (outputLimits) parse(old [numClasses]OutputLimit, in input) ([numClasses]OutputLimit, error) {
	if len(in.args)%4 != 0 {
		return old, errors.New("Wrong number of arguments in buffer limit configuration.")
	}
	limits := old
	for quad := range slices.Chunk(in.args, 4) {
		var class ClientClass
		switch strings.ToLower(quad[0]) {
		case "normal":
			class = ClassNormal
		case "replica", "slave":
			class = ClassReplica
		case "pubsub":
			class = ClassPubSub
		default:
			return old, errors.New("Invalid client class specified in buffer limit configuration.")
		}
		hard, err1 := parseMemory(quad[1])
		soft, err2 := parseMemory(quad[2])
		seconds, err3 := strconv.ParseInt(quad[3], 10, 64)
		if err1 != nil || err2 != nil || err3 != nil || seconds < 0 {
			return old, errors.New("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
		}
		limits[class] = OutputLimit{hard, soft, seconds}
	}
	return limits, nil
}

func (outputLimits) show(v [numClasses]OutputLimit) string {
	parts := make([]string, numClasses)
	for class, name := range []string{"normal", "slave", "pubsub"} {
		parts[class] = fmt.Sprintf("%s %d %d %d", name, v[class].Hard, v[class].Soft, v[class].SoftSeconds)
	}
	return strings.Join(parts, " ")
}

func (outputLimits) file(v [numClasses]OutputLimit) []string {
	lines := make([]string, numClasses)
	for class, name := range []string{"normal", "replica", "pubsub"} {
		l := v[class]
		lines[class] = fmt.Sprintf("%s %s %s %d", name, formatMemory(l.Hard), formatMemory(l.Soft), l.SoftSeconds)
	}
	return lines
}

// NotifyClass is a set of classes of key-space events.
type NotifyClass uint32

const (
	NotifyKeyspace NotifyClass = 1 << iota // K: publish on __keyspace@<db>__
	NotifyKeyevent                         // E: publish on __keyevent@<db>__
	NotifyGeneric                          // g
	NotifyString                           // $
	NotifyList                             // l
	NotifySet                              // s
	NotifyHash                             // h
	NotifyZset                             // z
	NotifyExpired                          // x
	NotifyEvicted                          // e
	NotifyStream                           // t
	NotifyModule                           // d
	NotifyNew                              // n
	NotifyKeyMiss                          // m

	// NotifyAll is A: everything but new keys and misses.
	NotifyAll = NotifyGeneric | NotifyString | NotifyList | NotifySet | NotifyHash | NotifyZset | NotifyExpired |
		NotifyEvicted | NotifyStream | NotifyModule
)

var notifyLetters = []struct {
	letter rune
	class  NotifyClass
}{
	{'g', NotifyGeneric}, {'$', NotifyString}, {'l', NotifyList}, {'s', NotifySet}, {'h', NotifyHash},
	{'z', NotifyZset}, {'x', NotifyExpired}, {'e', NotifyEvicted}, {'t', NotifyStream}, {'d', NotifyModule},
	{'n', NotifyNew}, {'K', NotifyKeyspace}, {'E', NotifyKeyevent}, {'m', NotifyKeyMiss}, {'A', NotifyAll},
}

type notifyClasses struct{}

func (notifyClasses) parse(_ NotifyClass, in input) (NotifyClass, error) {
	var classes NotifyClass
next:
	for _, r := range in.args[0] {
		for _, l := range notifyLetters {
			if l.letter == r {
				classes |= l.class
				continue next
			}
		}
		return 0, errors.New("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
	}
	return classes, nil
}

// show is what CONFIG GET answers: redis-server 7.0 leaves out n beside A.
func (k notifyClasses) show(v NotifyClass) string {
	if v&NotifyAll == NotifyAll {
		v &^= NotifyNew
	}
	return k.letters(v)
}

func (k notifyClasses) file(v NotifyClass) []string { return []string{Quote(k.letters(v))} }

func (notifyClasses) letters(v NotifyClass) string {
	var b strings.Builder
	if v&NotifyAll == NotifyAll {
		b.WriteByte('A')
		v &^= NotifyAll
	}
	for _, l := range notifyLetters {
		if l.class != NotifyAll && v&l.class != 0 {
			b.WriteRune(l.letter)
		}
	}
	return b.String()
}

// ShutdownOptions is what a signal to stop means. The zero value is Redis's "default".
type ShutdownOptions struct{ Save, NoSave, Now, Force bool }

type shutdownOptions struct{}

func (shutdownOptions) list() {}

var shutdownWords = words("default", "save", "nosave", "now", "force")

func (shutdownOptions) parse(_ ShutdownOptions, in input) (ShutdownOptions, error) {
	var o ShutdownOptions
	if len(in.args) == 0 {
		return o, shutdownWords.errNone()
	}
	for _, arg := range in.args {
		word, err := shutdownWords.parse("", input{args: []string{arg}})
		if err != nil {
			return ShutdownOptions{}, err
		}
		o.Save = o.Save || word == "save"
		o.NoSave = o.NoSave || word == "nosave"
		o.Now = o.Now || word == "now"
		o.Force = o.Force || word == "force"
	}
	if o.Save && o.NoSave {
		return ShutdownOptions{}, errors.New("shutdown options SAVE and NOSAVE can't be used simultaneously")
	}
	return o, nil
}

func (shutdownOptions) show(v ShutdownOptions) string {
	var on []string
	for i, set := range []bool{v.Save, v.NoSave, v.Now, v.Force} {
		if set {
			on = append(on, shutdownWords[i+1].name)
		}
	}
	if len(on) == 0 {
		return "default"
	}
	return strings.Join(on, " ")
}

// folder is a path, made absolute where it is read: it must not change its meaning later.
type folder struct{}

func (folder) parse(_ string, in input) (string, error) {
	if in.args[0] == "" {
		return "", errors.New("argument must be the path of a folder")
	}
	path, err := filepath.Abs(in.args[0])
	if err != nil {
		return "", fmt.Errorf("cannot find the working folder: %w", err)
	}
	return path, nil
}

func (folder) show(v string) string { return v }

// Rename is one rename-command line; an empty To disables the command.
type Rename struct{ From, To string }

const maxRenames = 1024

type renames struct{}

func (renames) list() {}

func (renames) parse(old []Rename, in input) ([]Rename, error) {
	if len(in.args) != 2 || in.args[0] == "" {
		return nil, errBadDirective
	}
	if len(old) >= maxRenames {
		return nil, fmt.Errorf("more than %d commands renamed", maxRenames)
	}
	return append(slices.Clone(old), Rename{in.args[0], in.args[1]}), nil
}

func (renames) show([]Rename) string { return "" }

func (renames) file(v []Rename) []string {
	lines := make([]string, len(v))
	for i, r := range v {
		lines[i] = quoteWords([]string{r.From, r.To})
	}
	return lines
}

func checkBind(addresses []string) error {
	if len(addresses) > 16 {
		return errors.New("Too many bind addresses specified.")
	}
	if slices.ContainsFunc(addresses, func(a string) bool { return strings.TrimPrefix(a, "-") == "" }) {
		return errors.New("an address to bind must not be empty")
	}
	return nil
}

var tlsVersions = []string{"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}

func checkTLSProtocols(s string) error {
	for _, name := range strings.Fields(s) {
		if !slices.ContainsFunc(tlsVersions, func(v string) bool { return strings.EqualFold(v, name) }) {
			return errors.New("Invalid tls-protocols specified. Use a combination of TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3")
		}
	}
	return nil
}

// checkAddress accepts host:port, or nothing.
func checkAddress(s string) error {
	if s == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 {
		return errors.New("must be HOST:PORT")
	}
	return nil
}

func checkOOMScores(values []string) error {
	if len(values) != 3 {
		return errArgCount
	}
	for _, v := range values {
		if n, err := strconv.Atoi(v); err != nil || n < -2000 || n > 2000 {
			return errors.New("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
		}
	}
	return nil
}

func checkPercentiles(values []string) error {
	for _, v := range values {
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return errors.New("Invalid latency-tracking-info-percentiles parameters")
		}
		if !(f >= 0 && f <= 100) {
			return errors.New("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
		}
	}
	return nil
}
