package peer

import (
	"sync"
	"time"
)

// Quiet keeps the log readable while something goes wrong again and again: what is said of one thing is said once, and
// then not before some seconds have passed. The zero value is ready.
type Quiet struct {
	mu   sync.Mutex
	said map[string]struct{}
}

const (
	quietTime  = 10 * time.Second
	mostThings = 1000 // that are kept in mind; all others count as one
	others     = ""
)

// May says whether something may be told now.
func (q *Quiet) May(thing string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.said[thing]; !ok && len(q.said) >= mostThings {
		thing = others
	}
	if _, ok := q.said[thing]; ok {
		return false
	}
	if q.said == nil {
		q.said = map[string]struct{}{}
	}
	q.said[thing] = struct{}{}
	time.AfterFunc(quietTime, func() { q.forget(thing) })
	return true
}

func (q *Quiet) forget(thing string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.said, thing)
}
