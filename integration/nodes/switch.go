package nodes

import (
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// Weather is what a link does to the frames that go one way over it. The zero value is a fine day.
type Weather struct {
	Cut           bool
	Delay, Jitter time.Duration // a frame arrives after Delay and up to Jitter more, so frames may overtake each other
	Loss          float64       // the share of frames that are dropped, 0 … 1
}

// Outside is the test program's own place on the network, beside the nodes 0, 1, ….
const Outside = -1

type link struct{ from, to int }

// Switch is an Ethernet switch in this program: the nodes' network cards are its ports, so that each link can be cut,
// slowed and made lossy, each way on its own, without anything that the system's kernel would have to have. Port 0 is
// the outside, port i+1 is node i.
type Switch struct {
	ports  []io.ReadWriteCloser
	joined sync.WaitGroup

	mu struct {
		sync.Mutex
		weather map[link]Weather
		rng     *rand.Rand
	}
}

// frameLimit is more than the longest frame that a port sends.
const frameLimit = 16 << 10

// newSwitch forwards between the ports until it is closed, which closes them.
func newSwitch(ports []io.ReadWriteCloser, seed uint64) *Switch {
	s := &Switch{ports: ports}
	s.mu.weather = map[link]Weather{}
	s.mu.rng = rand.New(rand.NewPCG(seed, 0))
	for i := range ports {
		s.joined.Go(func() { s.forward(i) })
	}
	return s
}

// macOf is the hardware address of a port.
func macOf(port int) [6]byte { return [6]byte{0x02, 0x1a, 0, 0, 0, byte(port)} }

// Set makes the weather on the way from one node to another. It may be called at any time.
func (s *Switch) Set(from, to int, w Weather) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.weather[link{from + 1, to + 1}] = w
}

// Clear makes a fine day everywhere.
func (s *Switch) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.mu.weather)
}

// forward carries what a port sends to where it belongs, until the port is closed.
func (s *Switch) forward(from int) {
	buffer := make([]byte, frameLimit)
	for {
		n, err := s.ports[from].Read(buffer)
		if err != nil {
			return
		}
		if n < 14 {
			continue
		}
		for to := range s.ports {
			mac := macOf(to)
			if to == from || buffer[0]&1 == 0 && string(buffer[:6]) != string(mac[:]) {
				continue
			}
			s.carry(link{from, to}, buffer[:n])
		}
	}
}

// carry takes one frame over a link. A write that fails is a lost frame.
func (s *Switch) carry(l link, frame []byte) {
	after, lost := s.fate(l)
	switch {
	case lost:
	case after == 0:
		_, _ = s.ports[l.to].Write(frame)
	default:
		frame = append([]byte(nil), frame...)
		time.AfterFunc(after, func() { _, _ = s.ports[l.to].Write(frame) })
	}
}

func (s *Switch) fate(l link) (after time.Duration, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.mu.weather[l]
	if w.Cut || w.Loss > 0 && s.mu.rng.Float64() < w.Loss {
		return 0, true
	}
	after = w.Delay
	if w.Jitter > 0 {
		after += time.Duration(s.mu.rng.Int64N(int64(w.Jitter)))
	}
	return after, false
}

// close ends the switch and all its ports.
func (s *Switch) close() {
	for _, port := range s.ports {
		_ = port.Close()
	}
	s.joined.Wait()
}
