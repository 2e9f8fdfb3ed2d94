//go:build !linux

package transport

// poller lets a loop wait for posted functions, which is all that reaches it on these systems.
type poller struct {
	awake chan struct{}
}

func newPoller() (*poller, error) { return &poller{awake: make(chan struct{}, 1)}, nil }

func (p *poller) collect() bool { return false }

func (p *poller) block() { <-p.awake }

func (p *poller) dispatch() {}

// wake ends the wait. It may be called from any goroutine.
func (p *poller) wake() {
	select {
	case p.awake <- struct{}{}:
	default:
	}
}

func (p *poller) tick() {}

func (p *poller) close() {}
