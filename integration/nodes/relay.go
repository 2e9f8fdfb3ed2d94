package nodes

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// relay takes the place of the switch where nodes cannot have a network of their own: a proxy in this program stands before
// each node's ports, and the addresses that nodes tell of themselves are the proxies'. So every connection between two of
// them, and every one of a client, passes here, where what is sent one way can be held up, each way on its own. What a broken
// link does to frames it does to pieces of the stream: a cut holds them until it is healed, as TCP would send them again, and
// a loss holds the piece, and all behind it, for about the time after which TCP does. A connection is made at once even
// where the link is cut, which it is not on a real one: the dialler learns it from the silence.
type relay struct {
	listeners []net.Listener
	closed    chan struct{}
	joined    sync.WaitGroup

	mu struct {
		sync.Mutex
		nodes   []*Node
		weather map[link]Weather
		changed chan struct{} // closed when the weather changes
		rng     *rand.Rand
	}
}

const (
	pieceLimit = 16 << 10
	// piecesUnderWay is how many pieces a connection may have on its way in one direction.
	piecesUnderWay = 64
	// sentAgain is how long a lost piece takes more.
	sentAgain = 200 * time.Millisecond
)

// newRelay fails where connections do not tell which node they come from.
func newRelay(seed uint64) (*relay, error) {
	if !knowsWhose {
		return nil, errNobodys
	}
	r := &relay{closed: make(chan struct{})}
	r.mu.weather, r.mu.changed = map[link]Weather{}, make(chan struct{})
	r.mu.rng = rand.New(rand.NewPCG(seed, 0))
	return r, nil
}

// front puts proxies before a node's ports, for clients and for peers, and returns where it is reached from now on.
func (r *relay) front(n *Node) (port, peerPort int, err error) {
	r.mu.Lock()
	r.mu.nodes = append(r.mu.nodes, n)
	r.mu.Unlock()
	if port, err = r.stand(n.Index, n.ip, n.port); err == nil {
		peerPort, err = r.stand(n.Index, n.ip, n.peerPort)
	}
	return port, peerPort, err
}

// dialler finds out which node's connection has been accepted.
func (r *relay) dialler(conn *net.TCPConn) (int, error) {
	r.mu.Lock()
	nodes := slices.Clone(r.mu.nodes)
	r.mu.Unlock()
	return whose(nodes, conn)
}

// stand puts a proxy before a node's port. It returns the port at which it is reached.
func (r *relay) stand(node int, ip string, port int) (int, error) {
	at, err := FreePort(ip)
	if err != nil {
		return 0, err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(at)))
	if err != nil {
		return 0, err
	}
	r.listeners = append(r.listeners, listener)
	target := net.JoinHostPort(ip, strconv.Itoa(port))
	r.joined.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.joined.Go(func() { r.join(node, conn.(*net.TCPConn), target) })
		}
	})
	return at, nil
}

// Set makes the weather on the way from one node to another. It may be called at any time.
func (r *relay) Set(from, to int, w Weather) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.weather[link{from, to}] = w
	r.changeLocked()
}

// Clear makes a fine day everywhere.
func (r *relay) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.mu.weather)
	r.changeLocked()
}

func (r *relay) changeLocked() {
	close(r.mu.changed)
	r.mu.changed = make(chan struct{})
}

// join carries a connection's pieces both ways until it ends at either end.
func (r *relay) join(node int, near *net.TCPConn, target string) {
	refuse := func() { _ = errors.Join(near.SetLinger(0), near.Close()) }
	from, err := r.dialler(near)
	if err != nil { // whoever it was has gone
		refuse()
		return
	}
	far, err := net.DialTimeout("tcp", target, patience)
	if err != nil {
		refuse()
		return
	}
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	var ways sync.WaitGroup
	ways.Go(func() { r.carry(link{from, node}, near, far.(*net.TCPConn), ended, end) })
	ways.Go(func() { r.carry(link{node, from}, far.(*net.TCPConn), near, ended, end) })
	r.joined.Go(func() {
		ways.Wait()
		end()
	})
	select {
	case <-ended:
	case <-r.closed:
		end()
	}
	_, _ = near.Close(), far.Close()
}

// piece is a part of a stream that is under way.
type piece struct {
	bytes []byte
	due   time.Time
}

// carry carries what comes in over a link, in its order. The end of the stream is carried like a piece.
func (r *relay) carry(l link, in, out *net.TCPConn, ended chan struct{}, end func()) {
	pieces := make(chan piece, piecesUnderWay)
	var deliverer sync.WaitGroup
	deliverer.Go(func() {
		for p := range pieces {
			if !r.await(l, p.due, ended) {
				continue
			}
			if _, err := out.Write(p.bytes); err != nil {
				end()
			}
		}
		if r.await(l, time.Time{}, ended) && out.CloseWrite() != nil {
			end()
		}
	})
	var due time.Time
	for {
		buffer := make([]byte, pieceLimit)
		n, err := in.Read(buffer)
		if n > 0 {
			if next := time.Now().Add(r.delay(l)); next.After(due) {
				due = next // no piece overtakes another
			}
			pieces <- piece{buffer[:n], due}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				end()
			}
			break
		}
	}
	close(pieces)
	deliverer.Wait()
}

// delay is how long a piece that is sent now takes.
func (r *relay) delay(l link) (d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.mu.weather[l]
	d = w.Delay
	if w.Jitter > 0 {
		d += time.Duration(r.mu.rng.Int64N(int64(w.Jitter)))
	}
	for w.Loss > 0 && r.mu.rng.Float64() < w.Loss && d < time.Second {
		d += sentAgain
	}
	return d
}

// await waits until a piece is due and the link is not cut. It returns false if the connection ends before.
func (r *relay) await(l link, due time.Time, ended chan struct{}) bool {
	for {
		r.mu.Lock()
		cut, changed := r.mu.weather[l].Cut, r.mu.changed
		r.mu.Unlock()
		left := time.Until(due)
		if !cut && left <= 0 {
			select {
			case <-ended:
				return false
			default:
				return true
			}
		}
		if cut {
			left = patience
		}
		select {
		case <-ended:
			return false
		case <-changed:
		case <-time.After(left):
		}
	}
}

func (r *relay) close() {
	for _, l := range r.listeners {
		_ = l.Close()
	}
	close(r.closed)
	r.joined.Wait()
}

// errNobodys says that a connection's other end was not found: mostly it has gone.
var errNobodys = errors.New("it cannot be told whose connection that is")
