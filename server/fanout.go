package server

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
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
	lost    bool // the last read failed since this node did not lead its shard any more
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

// holders are the shards that this node leads, each with the states of its slots at a moment.
type holders []holding

type holding struct {
	shard *shard
	table *keyspace.SlotTable
}

// look is how it is now.
func (f *fanned) look() (h holders) {
	f.routing = f.server.node.routing.Load()
	for _, sh := range f.routing.led() {
		h = append(h, holding{sh, sh.engine.Keys().Slots()})
	}
	return h
}

// same says that no slot has come, gone or been frozen between two looks.
func (h holders) same(other holders) bool { return slices.Equal(h, other) }

// shows says whether the keys of a slot in a state are counted and listed.
func shows(s keyspace.SlotState) bool { return s == keyspace.Owned || s == keyspace.Frozen }

// doubled are the slots that a shard shows, frozen, although another one here owns them by now.
func (h holders) doubled(sh *shard) map[uint16]bool {
	i := slices.IndexFunc(h, func(x holding) bool { return x.shard == sh })
	if i < 0 || !h[i].table.Any(keyspace.Frozen) {
		return nil
	}
	slots := map[uint16]bool{}
	for slot := range uint16(keyspace.SlotCount) {
		if h[i].table.State(slot) == keyspace.Frozen && slices.ContainsFunc(h, func(x holding) bool { return x.table.State(slot) == keyspace.Owned }) {
			slots[slot] = true
		}
	}
	return slots
}

// each runs do for the shards, until it returns false.
func (h holders) each(do func(sh *shard) bool) {
	for _, x := range h {
		if !x.shard.use() {
			continue
		}
		more := do(x.shard)
		x.shard.unuse()
		if !more {
			return
		}
	}
}

// steadyTries is how often a command about all shards begins anew because slots moved meanwhile. A migration takes a handful
// of steps.
const steadyTries = 8

// steadily has do go through the shards until no slot and no shard has moved meanwhile, or until it fails, and has answered so.
func (f *fanned) steadily(w *resp.Writer, do func(h holders) bool) (ok bool) {
	for range steadyTries {
		before := f.look()
		unanswer(w)
		if ok = do(before); !ok && !f.lost || before.same(f.look()) {
			break
		}
	}
	return ok
}

// read runs the command on one shard, whose use the caller has. Where it fails, it answers so and returns nil.
func (f *fanned) read(sh *shard, args [][]byte, w *resp.Writer) []byte {
	why := sh.waitProven()
	if f.lost = why != ""; f.lost {
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

// unanswer takes an answer back.
func unanswer(w *resp.Writer) {
	w.Buf = w.Buf[:0]
	w.ResetErrors()
}

func (f *fanned) sum(args [][]byte, w *resp.Writer) {
	total := int64(0)
	ok := f.steadily(w, func(h holders) bool {
		total = 0
		ok := true
		h.each(func(sh *shard) bool {
			part := f.read(sh, args, w)
			ok = part != nil
			total += integerReply(part)
			for slot := range h.doubled(sh) {
				total -= sh.engine.CountKeysInSlot(f.db, slot)
			}
			return ok
		})
		return ok
	})
	if ok {
		w.Int(total)
	}
}

func (f *fanned) concatenate(args [][]byte, w *resp.Writer) {
	var all [][]byte
	total := 0
	ok := f.steadily(w, func(h holders) bool {
		all, total = nil, 0
		ok := true
		h.each(func(sh *shard) bool {
			part := f.read(sh, args, w)
			if ok = part != nil; ok {
				n, elements := openArray(part)
				if twice := h.doubled(sh); len(twice) > 0 {
					n, elements = without(n, elements, twice)
				}
				total += n
				all = append(all, elements)
			}
			return ok
		})
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

// without leaves those keys out whose slots are among the given ones.
func without(n int, elements []byte, slots map[uint16]bool) (left int, kept []byte) {
	for range n {
		size, rest := openArray(elements)
		key := rest[:size]
		if elements = rest[size+2:]; !slots[keyspace.Slot(key)] {
			kept = appendBulk(kept, key)
			left++
		}
	}
	return left, kept
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
	f.look().each(func(sh *shard) bool {
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
		if part == nil && f.lost {
			unanswer(w)
			continue
		}
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
// slots have come or gone meanwhile. What was read while they did counts for nothing.
func (f *fanned) scan(args [][]byte, w *resp.Writer) {
	cursor, err := strconv.ParseUint(string(args[1]), 10, 64)
	var sh *shard
	if err == nil {
		sh = f.next(&cursor)
	}
	if sh == nil {
		f.scanNothing(args, w)
		return
	}
	var found []byte
	n := 0
	for range scanRuns {
		step := append([][]byte{args[0], strconv.AppendUint(nil, cursor, 10)}, args[2:]...)
		slot, table := keyspace.CursorSlot(cursor), sh.engine.Keys().Slots()
		end := f.runEnd(sh, table, slot)
		var part []byte
		if f.lost = !sh.use(); !f.lost {
			part = f.read(sh, step, w)
			sh.unuse()
		}
		if part == nil && !f.lost {
			return
		}
		if f.lost || sh.engine.Keys().Slots() != table || !shows(table.State(uint16(slot))) {
			unanswer(w)
			before := sh
			if sh = f.next(&cursor); sh == nil {
				break
			}
			if f.lost && sh == before { // it leads as far as it knows, and cannot prove it
				w.Error(noLeader)
				return
			}
			continue
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
		if cursor = next; cursor == 0 {
			break
		}
		if sh = f.next(&cursor); sh == nil || n > 0 {
			break
		}
	}
	w.Array(2)
	w.BulkString(strconv.FormatUint(cursor, 10))
	w.Array(n)
	w.Buf = append(w.Buf, found...)
}

// next moves a cursor on to the next slot that is shown here, if its own is not, and returns the shard that shows it; else to
// 0, and it returns nil.
func (f *fanned) next(cursor *uint64) *shard {
	f.routing = f.server.node.routing.Load()
	slot := keyspace.CursorSlot(*cursor)
	for at := slot; at < cluster.Slots; at++ {
		sh := f.holder(at)
		if sh == nil {
			continue
		}
		if at != slot {
			*cursor = keyspace.SlotCursor(at)
		}
		return sh
	}
	*cursor = 0
	return nil
}

// holder is the shard here that shows the keys of a slot; nil: none does. The one that the map names is looked at first: it
// lets go of the slot behind the moment from which another one owns it.
func (f *fanned) holder(slot int) *shard {
	r := f.routing
	sh := r.owners[r.slots[slot]].local
	if sh != nil && (!sh.leads() || !shows(sh.engine.SlotState(uint16(slot)))) {
		sh = nil
	}
	if taker := r.taken(slot); taker != nil {
		return taker
	}
	return sh
}

// runEnd is the last slot of the run behind a slot that are all shown by the same shard, as its table says.
func (f *fanned) runEnd(sh *shard, table *keyspace.SlotTable, slot int) (end int) {
	r := f.routing
	here := func(slot int) bool {
		if other := r.taken(slot); other != nil {
			return other == sh
		}
		return r.owners[r.slots[slot]].local == sh && shows(table.State(uint16(slot)))
	}
	for end = slot; end+1 < cluster.Slots && here(end+1); end++ {
	}
	return end
}

// scanNothing answers a scan that is at its end, or whose arguments are wrong, as the engine does.
func (f *fanned) scanNothing(args [][]byte, w *resp.Writer) {
	done, answered := append([][]byte(nil), args...), false
	f.look().each(func(sh *shard) bool {
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
// says that nothing was done would be wrong. If slots moved meanwhile, keys may have gone from where it was still to come to
// where it had been: then it is done once more.
func (f *fanned) write(args [][]byte, w *resp.Writer) {
	why := ""
	f.look().each(func(sh *shard) bool {
		why = sh.refuse(f.row)
		return why == ""
	})
	if why != "" {
		w.Error(why)
		return
	}
	args = append([][]byte{f.name}, args[1:]...)
	done := false
	for range steadyTries {
		before := f.look()
		if !f.writeAll(before, args, &done, w) {
			return
		}
		if before.same(f.look()) {
			if !done {
				w.Error(noLeader)
			}
			return
		}
	}
	w.Buf = w.Buf[:0]
	fail(w, indeterminateReply)
}

// writeAll takes the command through the logs of some shards. done says whether it was carried out in any. Where it fails, it
// answers so and returns false.
func (f *fanned) writeAll(h holders, args [][]byte, done *bool, w *resp.Writer) bool {
	ok := true
	h.each(func(sh *shard) bool {
		answer, err := f.writeOne(sh, args)
		ok = err == nil && answer.w.Errors() == 0
		switch {
		case ok:
			f.wrote = append(f.wrote, position{sh.id, sh.engine.AppliedIndex()})
			w.Buf, *done = append(w.Buf[:0], answer.w.Buf...), true
		case *done:
			w.Buf = w.Buf[:0]
			fail(w, indeterminateReply)
		case err != nil:
			fail(w, errorReply(err))
		default:
			fail(w, answer.w.Buf)
		}
		return ok
	})
	return ok
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
