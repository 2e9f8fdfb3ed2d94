// Package repeat keeps logs readable where something goes wrong again and again: a peer that is gone is complained of ten
// times a second. Whoever reads on wants to know that it goes on, and how often, not each time.
package repeat

import (
	"sync"
	"time"
)

const (
	// Pause is after what time a message is logged again.
	Pause = 10 * time.Second
	// most is how many messages are told apart.
	most = 256
)

// Filter knows what has been logged lately. Its methods may be called by any goroutine.
type Filter struct {
	clock func() time.Time

	mu struct {
		sync.Mutex
		messages map[string]*message
	}
}

// message is when a message was logged, and how often it has been kept back since.
type message struct {
	at   time.Time
	kept int
}

// New makes a filter that goes by a clock.
func New(clock func() time.Time) *Filter { return &Filter{clock: clock} }

// Again says whether a message is to be kept back, since it was logged lately. If it is not, it says how often it has been
// kept back before.
func (f *Filter) Again(text string) (again bool, kept int) {
	now := f.clock()
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.mu.messages[text]
	switch {
	case m == nil:
		if f.mu.messages == nil || len(f.mu.messages) == most {
			f.mu.messages = map[string]*message{}
		}
		f.mu.messages[text] = &message{at: now}
		return false, 0
	case now.Sub(m.at) < Pause:
		m.kept++
		return true, 0
	}
	kept, m.at, m.kept = m.kept, now, 0
	return false, kept
}
