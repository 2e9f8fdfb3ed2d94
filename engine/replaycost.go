package engine

import (
	"sync/atomic"
	"time"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/keyspace"
)

// replayWork is what Apply has done, as far as it would have to be done again to replay it.
type replayWork struct {
	commands, bytes int64
}

// workCounter is a replayWork that is counted while others read it.
type workCounter struct {
	commands, bytes atomic.Int64
}

func (c *workCounter) load() replayWork {
	return replayWork{c.commands.Load(), c.bytes.Load()}
}

func (c *workCounter) store(w replayWork) {
	c.commands.Store(w.commands)
	c.bytes.Store(w.bytes)
}

// Costs of a replay, measured on a two-core machine: 6 million SETs of 64 bytes took 4 s; loading a cold slot takes about
// 0.45 µs a key, shared by two cores; a cold key alone some 4 µs.
const (
	commandCost = 600 * time.Nanosecond
	byteCost    = time.Nanosecond
	slotKeyCost = 450 * time.Nanosecond
	coldKeyCost = 4 * time.Microsecond
)

// ReplayCost estimates how long a restart would take to apply again what no checkpoint contains: the commands
// themselves, and all of it with the cold data that they touch, since after a restart everything is cold.
func (e *Engine) ReplayCost() (commands, all time.Duration) {
	done, saved := e.done.load(), e.saved.load()
	n := done.commands - saved.commands
	commands = time.Duration(n)*commandCost + time.Duration(done.bytes-saved.bytes)*byteCost
	touched, keys := min(n, front.Slots), e.keys.Stored()
	cold := time.Duration(n) * coldKeyCost
	if keys/front.Slots < keyspace.SlotFill {
		cold = min(cold, time.Duration(touched)*time.Duration(keys)*slotKeyCost/front.Slots)
	}
	if keys == 0 {
		cold = 0
	}
	return commands, commands + cold
}
