package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
)

// report gathers the rows of the table.
type report struct {
	Machine string   `json:"machine"`
	Rows    []row    `json:"rows"`
	Notes   []string `json:"notes"`
}

// row is one line: a figure of larder's, redis-server's where there is one, and what is asked for.
type row struct {
	Work   string  `json:"work"`
	Unit   string  `json:"unit"`
	Larder float64 `json:"larder"`
	Redis  float64 `json:"redis,omitempty"`
	// Ratio is what is compared with the bound: Larder over Redis, or, without a peer, Larder's figure itself.
	Ratio float64 `json:"ratio"`
	Bound float64 `json:"bound,omitempty"`
	Most  bool    `json:"at_most,omitempty"` // the bound is an upper one
	Met   *bool   `json:"met,omitempty"`     // nil: the figure is only printed
}

// ratio adds a figure that is judged by its ratio to redis-server's.
func (r *report) ratio(work, unit string, larder, redis, bound float64, most bool) {
	r.judge(row{Work: work, Unit: unit, Larder: larder, Redis: redis, Ratio: larder / redis, Bound: bound, Most: most})
}

// figure adds one that is judged by itself; a bound of 0 judges nothing. redis is 0 where it has none.
func (r *report) figure(work, unit string, larder, redis, most float64) {
	r.judge(row{Work: work, Unit: unit, Larder: larder, Redis: redis, Ratio: larder, Bound: most, Most: true})
}

// atLeast adds one that must not be lower than a bound.
func (r *report) atLeast(work, unit string, larder, bound float64) {
	r.judge(row{Work: work, Unit: unit, Larder: larder, Ratio: larder, Bound: bound})
}

// none adds a number of things that must not be.
func (r *report) none(work string, n int) {
	met := n == 0
	r.add(row{Work: work, Larder: float64(n), Ratio: float64(n), Most: true, Met: &met})
}

func (r *report) judge(w row) {
	if w.Bound != 0 {
		met := w.Ratio >= w.Bound
		if w.Most {
			met = w.Ratio <= w.Bound
		}
		w.Met = &met
	}
	r.add(w)
}

func (r *report) add(w row) {
	r.Rows = append(r.Rows, w)
	fmt.Fprintln(os.Stderr, w.line())
}

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
	fmt.Fprintln(os.Stderr, r.Notes[len(r.Notes)-1])
}

func (w row) line() string {
	redis, ratio, bound, verdict := "", "", "", "printed"
	if w.Redis != 0 {
		redis = number(w.Redis) + " " + w.Unit
		ratio = fmt.Sprintf("%.2f", w.Larder/w.Redis)
	}
	if w.Met != nil {
		word := "at least "
		if w.Most {
			word = "at most "
		}
		bound, verdict = word+number(w.Bound), "**missed**"
		if *w.Met {
			verdict = "met"
		}
	}
	return fmt.Sprintf("| %s | %s %s | %s | %s | %s | %s |", w.Work, number(w.Larder), w.Unit, redis, ratio, bound, verdict)
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n| work | larder | redis-server | ratio | floor | |\n|---|---|---|---|---|---|\n", r.Machine)
	for _, row := range r.Rows {
		fmt.Fprintln(w, row.line())
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
}

func (r *report) writeJSON(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// number prints a figure with as many digits as say something.
func number(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f >= 1000:
		s := fmt.Sprintf("%.0f", f)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + " " + s[i:]
		}
		return s
	case f >= 20:
		return fmt.Sprintf("%.0f", f)
	default:
		return fmt.Sprintf("%.2f", f)
	}
}

func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
