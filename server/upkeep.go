package server

import (
	"context"
	"runtime"
	"time"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
)

// What the background does, it does for all shards: of each kind there is one goroutine, which looks at every shard in
// turn, and starts a job for one that needs it (shard.start). An idle shard costs the look alone.

const (
	workSpell = 200 * time.Microsecond
	restSpell = 50 * time.Microsecond
	longSpell = time.Millisecond      // of rest while slots or replicas move
	fillRest  = 25 * time.Millisecond // between steps of filling the log's next segment
)

// pace is called every few dozen microseconds by what builds tables, checkpoints and compactions. Now and then it sleeps:
// a goroutine that only yields goes on being runnable, and then Go's scheduler looks for ready sockets no sooner than
// after 10 ms. While slots move, which every node applies much for, or a replica is on its way, it sleeps longer, and longer
// still while others do: what all of them use together does not grow with how many they are.
func (n *node) pace() {
	if n.hurry.Load() {
		runtime.Gosched()
		return
	}
	if time.Since(time.Unix(0, n.rested.Load())) < workSpell {
		return
	}
	time.Sleep(restOf(n.resting.Add(1), n.moving.Load()))
	n.resting.Add(-1)
	n.rested.Store(time.Now().UnixNano())
}

// restOf is how long one of so many sleeps that sleep at the same time.
func restOf(resting int32, moving bool) time.Duration {
	if moving {
		return longSpell * time.Duration(resting)
	}
	return restSpell
}

const memoryLook = 10 * time.Millisecond

// keepMemory drops clean entries when a front is over its budget, frees what was flushed, and compacts.
func (n *node) keepMemory(ctx context.Context) {
	look := time.NewTicker(memoryLook)
	defer look.Stop()
	second := time.NewTicker(time.Second)
	begun := time.Now()
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-second.C:
			now := uint32(begun.Add(time.Since(begun)).Unix()) // a jump of the wall clock does not show
			n.each(func(sh *shard) { sh.engine.Keys().SetRecencyClock(now) })
			n.divide(n.local())
			n.noteDisk(n.config.Load())
			continue
		case <-look.C:
		}
		hold := false
		n.each(func(sh *shard) { hold = sh.keepMemory() || hold })
		if !hold {
			n.letGo()
		}
	}
}

// keepMemory does a step of the shard's upkeep, has a job do the rest if there is more, and says whether writes are held.
func (sh *shard) keepMemory() (hold bool) {
	n, keys := sh.node, sh.engine.Keys()
	if !sh.runs(jobMemory) && keys.Upkeep() {
		sh.start(jobMemory, func(ctx context.Context) {
			for more := true; more && ctx.Err() == nil; more = keys.Upkeep() {
				n.pace()
			}
		})
	}
	p := keys.Pressure()
	if p != keyspace.Easy {
		n.wantCheckpoint()
	}
	hold = p == keyspace.Hard && keys.Stats().DirtyBytes > 0
	sh.hold.Store(hold)
	return hold
}

const (
	expireLook     = 100 * time.Millisecond
	expireKeys     = 1000 // keys proposed at a time
	expireSegments = 800  // segments of the front looked at each time
	expireCommand  = "LARDER.EXPIRE"
)

// expireKeys has the log delete keys whose time has come.
func (n *node) expireKeys(ctx context.Context) {
	look := time.NewTicker(expireLook)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if n.expireOff.Load() || n.pause.what.Load() != pausedNothing {
			continue
		}
		n.each(func(sh *shard) {
			if sh.runs(jobExpire) || !sh.group.CanRead() {
				return
			}
			begun := reading()
			keys, err := sh.engine.Keys().Due(sh.group.Now(), expireKeys, expireSegments)
			switch {
			case err != nil:
				n.fatal(err)
			case len(keys) > 0:
				sh.start(jobExpire, func(ctx context.Context) { sh.expire(ctx, keys, begun) })
			}
		})
	}
}

// expire deletes keys that are due, and those that are found then.
func (sh *shard) expire(ctx context.Context, keys []keyspace.Key, begun time.Duration) {
	row := command.Lookup([]byte(expireCommand))
	for ctx.Err() == nil && len(keys) > 0 && sh.proposeExpiry(ctx, row, keys) == nil && len(keys) == expireKeys {
		var err error
		if keys, err = sh.engine.Keys().Due(sh.group.Now(), expireKeys, expireSegments); err != nil {
			sh.node.fatal(err)
			return
		}
	}
	sh.node.delayed(eventExpireCycle, reading()-begun)
}

// proposeExpiry deletes keys by name through the log and waits until that is applied.
func (sh *shard) proposeExpiry(ctx context.Context, row *command.Command, keys []keyspace.Key) (err error) {
	var removed expiryReplies
	b := &engine.Batch{Replies: &removed}
	for _, k := range keys {
		b.AddWrite(row, k.DB, [][]byte{[]byte(expireCommand), k.Key})
	}
	err = sh.proposeAndWait(ctx, b)
	sh.node.expired.Add(removed.keys)
	return err
}

// backgroundLoop stands for the background in entries' origins.
const backgroundLoop = 1 << 16

// expiryReplies adds up how many keys the commands of a batch removed.
type expiryReplies struct{ keys int64 }

func (e *expiryReplies) Begin(int) reply.Writer { return sum{reply.Discard, &e.keys} }
func (e *expiryReplies) End(int)                {}

// sum adds up the integers that it is given.
type sum struct {
	reply.Writer
	to *int64
}

// Int implements reply.Writer.
func (s sum) Int(n int64) { *s.to += n }
