package server

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/larder-db/larder/server/resp"
)

// uplink is a connection to the leader, for one session. Three goroutines work for it: one dials and then reads, one
// writes, one closes. They touch the session by posting to its loop only, and reading stops until the loop has taken what
// was read.
type uplink struct {
	taken chan struct{} // capacity 1: the reader may go on
	gone  chan struct{} // closed by close
	stop  context.CancelFunc

	mu struct {
		sync.Mutex
		wake   sync.Cond // the writer waits for bytes, or for closed
		out    []byte
		closed bool
	}
}

// uplinkEvents are what an uplink posts.
type uplinkEvents struct {
	connected func()
	// arrived gets bytes and the places in them behind each reply that ends there. They are good until the uplink is told
	// to read on.
	arrived func(b []byte, ends []int)
	lost    func(err error)
}

const (
	uplinkRead     = 16 << 10
	uplinkPatience = time.Second // for dialling
)

// openUplink begins to dial a node. post runs a function on the session's loop, and returns false if that has stopped.
func (f *forwarding) openUplink(node string, post func(func()) bool, events uplinkEvents) *uplink {
	ctx, cancel := context.WithCancel(f.ctx)
	k := &uplink{taken: make(chan struct{}, 1), gone: make(chan struct{}), stop: cancel}
	k.mu.wake.L = &k.mu
	f.joined.Go(func() { k.run(ctx, f, node, post, events) })
	return k
}

func (k *uplink) run(ctx context.Context, f *forwarding, node string, post func(func()) bool, events uplinkEvents) {
	dialling, cancel := context.WithTimeout(ctx, uplinkPatience)
	conn, err := f.dialNode(dialling, node)
	cancel()
	if err != nil {
		post(func() { events.lost(err) })
		return
	}
	f.joined.Go(func() {
		select {
		case <-k.gone:
		case <-ctx.Done():
		}
		_ = conn.Close() // whoever is at the other end notices, or is gone
	})
	f.joined.Go(func() { k.write(conn, post, events) })
	if post(events.connected) {
		k.read(ctx, conn, post, events)
	}
}

// read is the reading goroutine.
func (k *uplink) read(ctx context.Context, conn net.Conn, post func(func()) bool, events uplinkEvents) {
	var scanner resp.ReplyScanner
	var ends []int
	buf := make([]byte, idleUplinkRead)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			var bad error
			if ends, bad = scanner.Feed(buf[:n], ends[:0]); bad != nil {
				post(func() { events.lost(bad) })
				return
			}
			if !post(func() { events.arrived(buf[:n], ends) }) {
				return
			}
			select {
			case <-k.taken:
			case <-k.gone:
				return
			case <-ctx.Done():
				return
			}
			if n == len(buf) && n < uplinkRead {
				buf = make([]byte, uplinkRead)
			}
		}
		if err != nil {
			post(func() { events.lost(err) })
			return
		}
	}
}

// idleUplinkRead is the buffer of a connection on which no long replies have come.
const idleUplinkRead = 1 << 10

// readOn says that what arrived was taken.
func (k *uplink) readOn() {
	select {
	case k.taken <- struct{}{}:
	default: // it has been told already
	}
}

// write is the writing goroutine.
func (k *uplink) write(conn net.Conn, post func(func()) bool, events uplinkEvents) {
	var b []byte
	for {
		k.mu.Lock()
		for len(k.mu.out) == 0 && !k.mu.closed {
			k.mu.wake.Wait()
		}
		if k.mu.closed {
			k.mu.Unlock()
			return
		}
		if cap(b) > keepBytes {
			b = nil
		}
		b, k.mu.out = k.mu.out, b[:0]
		k.mu.Unlock()
		if _, err := conn.Write(b); err != nil {
			post(func() { events.lost(err) })
			return
		}
	}
}

// send has b written, of which it keeps a copy.
func (k *uplink) send(b []byte) {
	if len(b) == 0 {
		return
	}
	k.mu.Lock()
	k.mu.out = append(k.mu.out, b...)
	k.mu.wake.Signal()
	k.mu.Unlock()
}

// close ends the link. Nothing that it posts afterwards counts.
func (k *uplink) close() {
	k.mu.Lock()
	if k.mu.closed {
		k.mu.Unlock()
		return
	}
	k.mu.closed = true
	k.mu.wake.Signal()
	k.mu.Unlock()
	close(k.gone)
	k.stop()
}
