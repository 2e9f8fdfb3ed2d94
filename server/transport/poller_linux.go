package transport

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A pollee is something with a file descriptor that a loop waits for.
type pollee interface {
	// ready is called with what epoll said.
	ready(events uint32)
}

// poller is a loop's epoll instance.
//
// The loop waits for it by way of the Go runtime's own poller, which an epoll instance can be registered with like any
// other file: while there is nothing to do the loop is a parked goroutine, and holds no processor. Other goroutines
// wake it by letting its read deadline expire, which readies it at once and needs no system call.
//
// Measured with redis-benchmark (50 connections, 64 bytes) against the server of turn_linux_test.go, whose every SET
// goes to a goroutine that posts its completion, on two cores shared with others, requests per second, lowest to highest of four to seven runs. The
// processor time is the server's, for the SETs and GETs of a run:
//
//	way to wait                              P 1 SET      P 1 GET   s      P 16 SET      P 16 GET   s
//	a blocking epoll_wait, eventfd to wake   28 to 46 k   44 to 63  5.7    479 to 711 k  495 to 905  2.6
//	the same, after 4 times yielding         41 to 70 k   31 to 67  4.5    764 to 928 k  872 to 1071 2.0
//	the runtime's poller, eventfd to wake    55 to 67 k   56 to 67  4.7    831 to 968 k  563 to 999  2.1
//	the runtime's poller, deadline to wake   48 to 66 k   61 to 65  4.4    771 to 931 k  825 to 998  2.0
//	redis-server 7.0 (two runs)              56 to 58 k   45 to 59         227 to 247 k  358 to 417
//
// A goroutine in a blocking epoll_wait keeps its processor until the runtime's monitor takes it away, and all else
// waits; yielding first hides that while there is load, but not when it ebbs.
type poller struct {
	file         *os.File        // the epoll instance as the runtime knows it
	raw          syscall.RawConn // of file
	epfd         int
	collectReady func(uintptr) bool // collect, for raw
	pollees      []pollee           // by file descriptor
	events       []unix.EpollEvent
	n            int      // events collected and not yet dispatched
	atTick       []func() // to be called at the next tick
}

const maxEvents = 512

// expired is a read deadline that ends a wait.
var expired = time.Unix(1, 0)

func newPoller() (*poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("transport: epoll_create1: %w", err)
	}
	if err := unix.SetNonblock(epfd, true); err != nil { // else the runtime would not poll it
		unix.Close(epfd)
		return nil, fmt.Errorf("transport: epoll instance: %w", err)
	}
	p := &poller{file: os.NewFile(uintptr(epfd), "epoll"), epfd: epfd, events: make([]unix.EpollEvent, maxEvents)}
	p.collectReady = func(uintptr) bool { return p.collect() }
	p.raw, err = p.file.SyscallConn()
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails if the runtime does not poll it
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("transport: epoll instance: %w", err)
	}
	return p, nil
}

// add registers fd, level-triggered.
func (p *poller) add(fd int, events uint32, who pollee) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("transport: epoll_ctl: %w", err)
	}
	for fd >= len(p.pollees) {
		p.pollees = append(p.pollees, nil)
	}
	p.pollees[fd] = who
	return nil
}

// modify changes what fd is waited for. Errors and hang-ups are always reported.
func (p *poller) modify(fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_MOD, fd, &ev); err != nil {
		return fmt.Errorf("transport: epoll_ctl: %w", err)
	}
	return nil
}

// remove forgets fd, which the caller is about to close or keeps for itself.
func (p *poller) remove(fd int) {
	// The only errors possible say that it was not registered.
	_ = unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, &unix.EpollEvent{})
	p.pollees[fd] = nil
}

// collect takes the events that are there, without waiting, and says whether there are any.
func (p *poller) collect() bool {
	p.n = epollNow(p.epfd, p.events)
	return p.n > 0
}

// block waits until there are events, and takes them, or until wake is called.
func (p *poller) block() {
	// Any error is the deadline's: the file is open, and newPoller has made sure that the runtime polls it.
	if p.raw.Read(p.collectReady) != nil {
		_ = p.file.SetReadDeadline(time.Time{})
	}
}

// dispatch calls the pollees of the collected events. A pollee that was removed meanwhile is not called, and none can
// have been added under its number, because adding is done by posted functions.
func (p *poller) dispatch() {
	n := p.n
	p.n = 0
	for i := range p.events[:n] {
		ev := &p.events[i]
		if fd := int(ev.Fd); fd < len(p.pollees) && p.pollees[fd] != nil {
			p.pollees[fd].ready(ev.Events)
		}
	}
}

// wake ends the wait, or the next one. Any goroutine may call it, but not after close.
func (p *poller) wake() {
	// It can only fail on a file that is closed or not polled by the runtime.
	_ = p.file.SetReadDeadline(expired)
}

// tick calls what was put off.
func (p *poller) tick() {
	fns := p.atTick
	p.atTick = nil
	for _, fn := range fns {
		fn()
	}
}

func (p *poller) close() {
	_ = p.file.Close() // nothing was written to it that could be lost
}
