package history

import (
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verdict is what the checks say of a history.
type Verdict struct {
	Violations []string
	// Undecided are keys whose order porcupine did not find, or find impossible, in time. The cheap checks hold for them.
	Undecided []string
	Keys      int

	wrong []wrongKey
}

// wrongKey is a key whose history has no order, for the picture.
type wrongKey struct {
	kind Kind
	key  string
	info porcupine.LinearizationInfo
}

// searchTime bounds the search for one key's order.
const searchTime = 20 * time.Second

// wrongKeys is how many keys' pictures are kept.
const wrongKeys = 8

// Check looks for an order that explains the history.
func (h *History) Check() *Verdict {
	setDeadlines(h.Ops(), wrongClocks(h.Events()))
	byKey := map[string][]*Op{}
	var keys []string
	for _, o := range h.Ops() {
		if byKey[o.Key] == nil {
			keys = append(keys, o.Key)
		}
		byKey[o.Key] = append(byKey[o.Key], o)
	}
	v := &Verdict{Keys: len(keys)}
	v.Violations = append(v.Violations, h.Oddities()...)
	var mu sync.Mutex
	var workers sync.WaitGroup
	next := make(chan string)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for key := range next {
				found, undecided, wrong := checkKey(byKey[key])
				mu.Lock()
				for _, f := range found {
					v.Violations = append(v.Violations, key+": "+f)
				}
				if undecided {
					v.Undecided = append(v.Undecided, key)
				}
				if wrong != nil && len(v.wrong) < wrongKeys {
					v.wrong = append(v.wrong, *wrong)
				}
				mu.Unlock()
			}
		})
	}
	for _, key := range keys {
		next <- key
	}
	close(next)
	workers.Wait()
	slices.Sort(v.Violations)
	return v
}

// checkKey checks one key's operations.
func checkKey(ops []*Op) (found []string, undecided bool, wrong *wrongKey) {
	slices.SortStableFunc(ops, func(a, b *Op) int { return int(a.Call - b.Call) })
	kind := ops[0].Kind
	found = losses(kind, ops)
	known := forPorcupine(ops)
	switch porcupine.CheckOperationsTimeout(model(kind), known, searchTime) {
	case porcupine.Unknown:
		return found, true, nil
	case porcupine.Ok:
		if len(found) == 0 {
			return nil, false, nil
		}
	default:
		found = append(found, fmt.Sprintf("no order explains its %d operations", len(ops)))
	}
	_, info := porcupine.CheckOperationsVerbose(model(kind), known, searchTime)
	return found, false, &wrongKey{kind, ops[0].Key, info}
}

// forPorcupine leaves out what tells nothing, and lets what is unknown end after everything else.
func forPorcupine(ops []*Op) (all []porcupine.Operation) {
	var end time.Duration
	for _, o := range ops {
		end = max(end, o.Return+1)
	}
	for _, o := range ops {
		if o.Outcome == Failed || o.Outcome == Unknown && (reads[o.Name] || unread(o)) {
			continue
		}
		p := porcupine.Operation{ClientId: o.Client, Input: o, Call: int64(o.Call), Output: o, Return: int64(o.Return)}
		if o.Outcome == Unknown {
			p.Return = int64(end)
		}
		all = append(all, p)
	}
	return all
}

// unread says that a transaction has come to no EXEC, so that it has done nothing.
func unread(o *Op) bool {
	return o.Name == "cas" && len(o.In) < 2 || o.Name == "watched" && len(o.In) < 5
}

var unfit = regexp.MustCompile(`[^a-z0-9]+`)

// draw writes a picture for each key that has no order: what the clients saw, how far an order goes, and what was done
// to the system meanwhile.
func (v *Verdict) draw(folder string, events []Event) error {
	var notes []porcupine.Annotation
	for _, e := range events {
		notes = append(notes, porcupine.Annotation{Tag: "faults", Start: int64(e.From), End: int64(e.To), Description: e.What, BackgroundColor: "#efaefc"})
	}
	for _, w := range v.wrong {
		w.info.AddAnnotations(notes)
		path := filepath.Join(folder, strings.Trim(unfit.ReplaceAllString(w.key, "-"), "-")+".html")
		if err := porcupine.VisualizePath(model(w.kind), w.info, path); err != nil {
			return err
		}
	}
	return nil
}
