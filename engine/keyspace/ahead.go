package keyspace

import "github.com/larder-db/larder/engine/front"

// Window is how many keys an Ahead takes.
const Window = front.Window

// Ahead collects the keys of commands that are about to run, so that their memory is fetched together.
type Ahead struct {
	n    int
	keys [Window]front.Sought
}

// Add notes a key; beyond Window keys it does nothing. The caller holds the lock, shared at least, until Approach is done.
func (a *Ahead) Add(ks *Keyspace, db int, key []byte) {
	if a.n < Window {
		a.keys[a.n] = front.Sought{Space: ks.mu.dbs[db], Slot: Slot(key), Hash: ks.hash(key)}
		a.n++
	}
}

// Approach brings the memory of the keys noted near and forgets them.
func (a *Ahead) Approach(ks *Keyspace) {
	if a.n > 1 {
		ks.front.Approach(a.keys[:a.n])
	}
	a.n = 0
}
