package server

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/server/resp"
)

// Where slots decide, a command that names no key is about all that this node leads, as with a node of Redis Cluster: a
// worker runs it on each of those shards, one after the other, and puts the replies together.

// fanned is such a command while it is run.
type fanned struct {
	server  *Server
	routing *routing
	row     *command.Command
	name    []byte // in the log
	db      int
	resp3   bool
	wrote   []position
}

// fanOuts are the commands that are run so.
var fanOuts = map[string]func(f *fanned, args [][]byte, w *resp.Writer){
	"DBSIZE":    (*fanned).sum,
	"KEYS":      (*fanned).concatenate,
	"RANDOMKEY": (*fanned).one,
	"SCAN":      (*fanned).scan,
	"FLUSHALL":  (*fanned).write,
	"FLUSHDB":   (*fanned).write,
}

// fanOut runs a command on all shards that this node leads. It returns false if it has to wait.
func (s *session) fanOut(e *entry, args [][]byte) bool {
	if s.unfinished() > 0 {
		return false
	}
	s.loop.endRead()
	s.loop.stats[e.id].calls++
	f := &fanned{server: s.server, routing: s.server.node.routing.Load(), row: e.row, name: s.server.table.logName(e), db: s.db, resp3: s.resp3}
	s.slowlyThen(args, func(args [][]byte, w *resp.Writer) { e.fanOut(f, args, w) }, func() {
		for _, at := range f.wrote {
			s.wrote.note(at)
		}
	})
	return true
}

// each runs do for the shards, until it returns false.
func (f *fanned) each(do func(sh *shard) bool) {
	for _, sh := range f.routing.led() {
		if !sh.use() {
			continue
		}
		more := do(sh)
		sh.unuse()
		if !more {
			return
		}
	}
}

// read runs the command on one shard, whose use the caller has. Where it fails, it answers so and returns nil.
func (f *fanned) read(sh *shard, args [][]byte, w *resp.Writer) []byte {
	if why := sh.waitProven(); why != "" {
		w.Error(why)
		return nil
	}
	part := &resp.Writer{RESP3: f.resp3}
	if _, err := sh.engine.Detached(f.row, f.db, args, sh.group.Now(), sh.node.random(), part); err != nil {
		f.server.log.Error("a read met data that cannot be read", "command", f.row.Name, "shard", sh.id, "error", err)
		w.Error(unreadable)
		return nil
	}
	if part.Errors() > 0 {
		fail(w, part.Buf)
		return nil
	}
	return part.Buf
}

func (f *fanned) sum(args [][]byte, w *resp.Writer) {
	total, ok := int64(0), true
	f.each(func(sh *shard) bool {
		part := f.read(sh, args, w)
		ok = part != nil
		total += integerReply(part)
		return ok
	})
	if ok {
		w.Int(total)
	}
}

func (f *fanned) concatenate(args [][]byte, w *resp.Writer) {
	var all [][]byte
	total, ok := 0, true
	f.each(func(sh *shard) bool {
		part := f.read(sh, args, w)
		if ok = part != nil; ok {
			n, elements := openArray(part)
			total += n
			all = append(all, elements)
		}
		return ok
	})
	if !ok {
		return
	}
	w.Array(total)
	for _, elements := range all {
		w.Buf = append(w.Buf, elements...)
	}
}

// openArray reads the head of an array's reply.
func openArray(b []byte) (n int, elements []byte) {
	head, rest, _ := bytes.Cut(b, []byte("\r\n"))
	n, _ = strconv.Atoi(string(head[1:])) // a handler has written it
	return n, rest
}

// one answers with what one of the shards has, chosen in proportion to their keys; an empty one has nothing.
func (f *fanned) one(args [][]byte, w *resp.Writer) {
	type choice struct {
		sh   *shard
		keys int64
	}
	var choices []choice
	total := int64(0)
	f.each(func(sh *shard) bool {
		if n := sh.engine.Keys().Stats().Keys[f.db]; n > 0 {
			choices = append(choices, choice{sh, n})
			total += n
		}
		return true
	})
	for len(choices) > 0 {
		at, i := rand.Int64N(total), 0
		for ; at >= choices[i].keys; i++ {
			at -= choices[i].keys
		}
		sh := choices[i].sh
		total -= choices[i].keys
		choices = append(choices[:i], choices[i+1:]...)
		if !sh.use() {
			continue
		}
		part := f.read(sh, args, w)
		sh.unuse()
		if part == nil {
			return
		}
		if !bytes.HasPrefix(part, []byte("$-")) && !bytes.HasPrefix(part, []byte("_")) {
			w.Buf = append(w.Buf, part...)
			return
		}
	}
	w.Null()
}

// scanRuns bounds how many runs of slots one SCAN looks at.
const scanRuns = 64

// scan goes on from the cursor, which is a position and so says the slot: in the shard that owns that slot, through the
// run of slots behind it that are the same shard's, and so on, until something is found. So it goes on where it was when
// slots have come or gone meanwhile.
func (f *fanned) scan(args [][]byte, w *resp.Writer) {
	cursor, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil || !f.next(&cursor) {
		f.scanNothing(args, w)
		return
	}
	var found []byte
	n := 0
	for range scanRuns {
		step := append([][]byte{args[0], strconv.AppendUint(nil, cursor, 10)}, args[2:]...)
		sh, end := f.runAt(keyspace.CursorSlot(cursor))
		if !sh.use() {
			w.Error(noLeader)
			return
		}
		part := f.read(sh, step, w)
		sh.unuse()
		if part == nil {
			return
		}
		next, keys := openScan(part)
		for _, key := range keys {
			if int(keyspace.Slot(key)) <= end {
				found = appendBulk(found, key)
				n++
			}
		}
		if next == 0 || keyspace.CursorSlot(next) > end {
			next = keyspace.SlotCursor(end + 1)
		}
		if cursor = next; cursor == 0 || !f.next(&cursor) || n > 0 {
			break
		}
	}
	w.Array(2)
	w.BulkString(strconv.FormatUint(cursor, 10))
	w.Array(n)
	w.Buf = append(w.Buf, found...)
}

// next moves a cursor on to the next slot that is led here, if its own is not; else to 0, and it returns false.
func (f *fanned) next(cursor *uint64) bool {
	slot := keyspace.CursorSlot(*cursor)
	for at := slot; at < cluster.Slots; at++ {
		sh := f.routing.owners[f.routing.slots[at]].local
		if sh == nil || !sh.leads() {
			continue
		}
		if at != slot {
			*cursor = keyspace.SlotCursor(at)
		}
		return true
	}
	*cursor = 0
	return false
}

// runAt is the shard of a slot, and the last slot of the run behind it that is the same shard's.
func (f *fanned) runAt(slot int) (sh *shard, end int) {
	r := f.routing
	for end = slot; end+1 < cluster.Slots && r.slots[end+1] == r.slots[slot]; end++ {
	}
	return r.owners[r.slots[slot]].local, end
}

// scanNothing answers a scan that is at its end, or whose arguments are wrong, as the engine does.
func (f *fanned) scanNothing(args [][]byte, w *resp.Writer) {
	done, answered := append([][]byte(nil), args...), false
	f.each(func(sh *shard) bool {
		if part := f.read(sh, done, w); part != nil {
			w.Array(2)
			w.BulkString("0")
			w.Array(0)
		}
		answered = true
		return false
	})
	if !answered {
		w.Error(noLeader)
	}
}

// openScan reads the reply of a scan.
func openScan(b []byte) (next uint64, keys [][]byte) {
	_, b = openArray(b)
	bulk := func() (s []byte) {
		n, rest := openArray(b)
		s, b = rest[:n], rest[n+2:]
		return s
	}
	next, _ = strconv.ParseUint(string(bulk()), 10, 64) // a handler has written it
	n, b2 := openArray(b)
	b = b2
	for range n {
		keys = append(keys, bulk())
	}
	return next, keys
}

func appendBulk(dst, s []byte) []byte {
	dst = append(dst, '$')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, s...)
	return append(dst, "\r\n"...)
}

// write takes the command through the logs of all shards. Where it was carried out in some of them already, an error that
// says that nothing was done would be wrong.
func (f *fanned) write(args [][]byte, w *resp.Writer) {
	why := ""
	f.each(func(sh *shard) bool {
		why = sh.refuse(f.row)
		return why == ""
	})
	if why != "" {
		w.Error(why)
		return
	}
	args = append([][]byte{f.name}, args[1:]...)
	done := false
	f.each(func(sh *shard) bool {
		answer, err := f.writeOne(sh, args)
		switch {
		case err == nil && answer.w.Errors() == 0:
			f.wrote = append(f.wrote, position{sh.id, sh.engine.AppliedIndex()})
			w.Buf, done = append(w.Buf[:0], answer.w.Buf...), true
			return true
		case done:
			w.Buf = w.Buf[:0]
			fail(w, indeterminateReply)
		case err != nil:
			fail(w, errorReply(err))
		default:
			fail(w, answer.w.Buf)
		}
		return false
	})
	if len(w.Buf) == 0 {
		w.Error(noLeader)
	}
}

// fail answers with an error that is there as a reply.
func fail(w *resp.Writer, reply []byte) { w.Error(strings.TrimSuffix(string(reply[1:]), "\r\n")) }

// writeOne takes the command through the log of one shard. A data base is not changed while a slot of it is frozen.
func (f *fanned) writeOne(sh *shard, args [][]byte) (singleReply, error) {
	for until := time.Now().Add(slotPatience); ; time.Sleep(slotLook) {
		answer := singleReply{&resp.Writer{RESP3: f.resp3}}
		b := &engine.Batch{Replies: answer}
		b.AddWrite(f.row, f.db, args)
		err := sh.proposeAndWait(context.Background(), b)
		_, refused := refusedIn(answer.w.Buf)
		if err != nil || !refused {
			return answer, err
		}
		if time.Now().After(until) {
			answer.w.Buf = answer.w.Buf[:0]
			answer.w.Error(tryAgain)
			return answer, nil
		}
	}
}
