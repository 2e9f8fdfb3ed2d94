package history

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// Workload is many clients on few keys. A key is used for a while and then left for a new one: what one key has seen
// stays small enough to be checked, and a key that is full of operations with unknown outcomes is not used for ever.
type Workload struct {
	System  System
	History *History
	Clients int
	Seed    uint64
	// Prefix begins the names of all keys, so that runs can follow each other on one system.
	Prefix string
	// Timeout is how long a client waits for a reply.
	Timeout time.Duration
	// Pause is about how long a client rests between two operations; with 0 it does not.
	Pause time.Duration

	mu struct {
		sync.Mutex
		places map[place]*placeState
		number int
		values int
		keys   []keyOf
	}
	acked counter
}

// place is where a key of a kind is in use at a time.
type place struct {
	kind Kind
	n    int
}

type placeState struct {
	key  string
	left int
}

type keyOf struct {
	kind Kind
	key  string
}

const (
	placesPerKind = 3   // keys of a kind that are in use at a time
	opsPerKey     = 200 // after which a key is left

	// Of the pushes and additions, about how often one has many elements, and how many. Two of them are more than a collection
	// may have that is kept in one piece.
	manyOneIn = 80
	many      = 150
)

// counter counts what is done, for those who wait until enough is.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

// Acknowledged is how many operations have been answered so far.
func (w *Workload) Acknowledged() int {
	w.acked.mu.Lock()
	defer w.acked.mu.Unlock()
	return w.acked.n
}

// Run lets the clients work until stop is closed.
func (w *Workload) Run(stop <-chan struct{}) {
	var clients sync.WaitGroup
	for i := range w.Clients {
		clients.Go(func() { w.client(i, stop) })
	}
	clients.Wait()
}

func (w *Workload) newClient(id int) *client {
	return &client{id: id, system: w.System, history: w.History, timeout: w.Timeout, node: id % w.System.Nodes(), moved: map[string]int{}}
}

// troubled is how long a client waits, at most, before it tries elsewhere.
const troubled = 50 * time.Millisecond

func (w *Workload) client(id int, stop <-chan struct{}) {
	c := w.newClient(id)
	defer c.close()
	rng := rand.New(rand.NewPCG(w.Seed, uint64(id)))
	for {
		select {
		case <-stop:
			return
		default:
		}
		o := w.next(rng)
		c.run(o)
		switch {
		case o.Outcome == OK:
			w.acked.add()
			if w.Pause > 0 {
				time.Sleep(time.Duration(rng.Int64N(int64(2 * w.Pause))))
			}
		case o.Outcome == Failed && o.Error == watchFailed:
		default:
			if _, known := c.moved[o.Key]; !known && rng.IntN(2) == 0 {
				c.leave()
				c.node = rng.IntN(w.System.Nodes())
			}
			time.Sleep(time.Duration(rng.Int64N(int64(troubled))))
		}
	}
}

// next chooses an operation.
func (w *Workload) next(rng *rand.Rand) *Op {
	kind := []Kind{Register, Register, Fleeting, Fleeting, Counter, List, Set, Bank, Bank}[rng.IntN(9)]
	o := &Op{Kind: kind, Key: w.key(place{kind, rng.IntN(placesPerKind)})}
	choose := func(names ...string) { o.Name = names[rng.IntN(len(names))] }
	switch kind {
	case Register:
		choose("get", "get", "get", "set", "set", "setnx", "setxx", "getset", "cas", "cas", "del")
		if o.Name != "get" && o.Name != "del" {
			o.In = []string{w.value(o.Key)}
		}
	case Fleeting:
		// Little is overwritten, as with locks, so that values live until their time has come.
		if choose("get", "setnx"); rng.IntN(10) == 0 {
			choose("set", "getset", "del")
		}
		switch o.Name {
		case "set", "setnx":
			o.In = []string{w.value(o.Key), timeToLive(rng.IntN(len(timesToLive)))}
		case "getset":
			o.In = []string{w.value(o.Key)}
		}
	case Counter:
		choose("incr", "incr", "get")
	case List:
		choose("push", "push", "range")
		if o.Name == "push" {
			o.In = w.elements(o.Key, rng)
		}
	case Set:
		choose("add", "add", "members")
		if o.Name == "add" {
			o.In = w.elements(o.Key, rng)
		}
	case Bank:
		choose("transfer", "transfer", "watched", "balances", "exec-balances")
		if o.Name == "transfer" || o.Name == "watched" {
			from := rng.IntN(accounts)
			to := (from + 1 + rng.IntN(accounts-1)) % accounts
			o.In = []string{strconv.Itoa(from), strconv.Itoa(to), strconv.Itoa(1 + rng.IntN(100))}
		}
	}
	return o
}

// key returns the key that is in use at the place. Its hash tag is its whole name, so keys spread over all slots.
func (w *Workload) key(p place) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.places == nil {
		w.mu.places = map[place]*placeState{}
	}
	s := w.mu.places[p]
	if s == nil || s.left == 0 {
		w.mu.number++
		s = &placeState{key: fmt.Sprintf("{%s%s:%d}", w.Prefix, p.kind, w.mu.number), left: opsPerKey}
		w.mu.places[p] = s
		w.mu.keys = append(w.mu.keys, keyOf{p.kind, s.key})
	}
	s.left--
	return s.key
}

// value makes a value that is written once, and tells which key it belongs to.
func (w *Workload) value(key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.values++
	return key + "=" + strconv.Itoa(w.mu.values)
}

// elements are what is put into a list or a set: one, or now and then so many that it is no small one any more.
func (w *Workload) elements(key string, rng *rand.Rand) []string {
	n := 1
	if rng.IntN(manyOneIn) == 0 {
		n = many
	}
	var all []string
	for range n {
		all = append(all, w.value(key))
	}
	return all
}

// lastReads are the operations that read all of a key.
var lastReads = map[Kind]string{Register: "get", Fleeting: "get", Counter: "get", List: "range", Set: "members", Bank: "balances"}

// ReadAll reads every key that was used, once the system is well again. What it reads becomes part of the history.
func (w *Workload) ReadAll(patience time.Duration) error {
	c := w.newClient(w.Clients)
	defer c.close()
	w.mu.Lock()
	keys := w.mu.keys
	w.mu.Unlock()
	deadline := time.Now().Add(patience)
	for _, k := range keys {
		for {
			o := &Op{Kind: k.kind, Key: k.key, Name: lastReads[k.kind]}
			c.run(o)
			if o.Outcome == OK {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s cannot be read from %s after all is healed: %s", k.key, nodeName(o.Node), o.Error)
			}
			if _, known := c.moved[o.Key]; !known {
				c.leave()
				c.node = (c.node + 1) % w.System.Nodes()
				time.Sleep(troubled)
			}
		}
	}
	return nil
}
