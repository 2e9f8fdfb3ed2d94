package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/larder-db/larder/engine"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/server/resp"
)

// As in Redis, DEBUG is one row whose handler looks at the subcommand itself.
var debugCommands = []serverCommand{
	{Command: command.Command{Name: "DEBUG", Arity: -2, Flags: watching, Group: "server", Since: "1.0.0",
		Summary: "For tests and for finding faults."}, Run: debugCommand},
}

// debugSub is a subcommand of DEBUG; arity counts as in rows, both names included.
type debugSub struct {
	name  string
	arity int
	run   func(s *session, args [][]byte, w *resp.Writer)
}

// debugSubs is a function because debugHelp lists what it returns.
func debugSubs() []debugSub {
	return []debugSub{
		{"DIGEST", 2, debugDigest},
		{"DIGEST-VALUE", -2, debugDigestValue},
		{"ERROR", 3, func(_ *session, args [][]byte, w *resp.Writer) { w.Error(string(args[2])) }},
		{"HELP", 2, debugHelp},
		{"LARDER-CLOCK", -3, debugClock},
		{"LARDER-DIGESTS", 2, debugShardDigests},
		{"LARDER-DISK", 3, debugDisk},
		{"LOADAOF", 2, debugLoadAOF},
		{"LOG", 3, debugLog},
		{"OBJECT", -3, debugObject},
		{"POPULATE", -3, debugPopulate},
		{"PROTOCOL", 3, debugProtocol},
		{"RELOAD", -2, debugReload},
		{"SET-ACTIVE-EXPIRE", 3, debugSetActiveExpire},
		{"SLEEP", 3, debugSleep},
	}
}

const debugDenied = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server."

func debugCommand(s *session, args [][]byte, w *resp.Writer) {
	if !s.server.config.Load().EnableDebugCommand.Allows(isLocal(s.conn.RemoteAddr())) {
		w.Error(debugDenied)
		return
	}
	for _, sub := range debugSubs() {
		row := command.Command{Arity: sub.arity}
		if isWord(args[1], sub.name) && row.ArityOK(len(args)) {
			sub.run(s, args, w)
			return
		}
	}
	debugUnknown(args, w)
}

func debugUnknown(args [][]byte, w *resp.Writer) {
	w.Error(fmt.Sprintf("ERR unknown subcommand or wrong number of arguments for '%s'. Try DEBUG HELP.", shortened(args[1], shownBytes)))
}

func debugHelp(_ *session, _ [][]byte, w *resp.Writer) {
	help(w, "DEBUG",
		"DIGEST",
		"    Returns a fingerprint of all data.",
		"DIGEST-VALUE <key> [<key> ...]",
		"    Returns fingerprints of the keys' values.",
		"ERROR <text>",
		"    Answers that error.",
		"LARDER-CLOCK <shift-ms> [<skew-ppm>]",
		"    Moves the data's wall clock from the machine's and lets it run fast, or slow.",
		"LARDER-DIGESTS",
		"    Returns the number and the fingerprint of each shard that is here.",
		"LARDER-DISK <milliseconds>",
		"    Has the disk of log and votes answer nothing for so long; 0 ends it.",
		"LOADAOF",
		"    Drops the front, goes back to the last checkpoint and replays the log.",
		"LOG <message>",
		"    Writes the message to the server's log.",
		"OBJECT <key>",
		"    Tells how the key's value is held.",
		"POPULATE <count> [<prefix>] [<size>]",
		"    Creates <count> string keys named key:<number>, or with another <prefix>.",
		"PROTOCOL (string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false)",
		"    Answers a value of that type.",
		"RELOAD [NOSAVE]",
		"    Takes a checkpoint (not with NOSAVE), drops the front and goes on from the store.",
		"SET-ACTIVE-EXPIRE (0|1)",
		"    With 0, keys whose time has come stay until somebody asks for them.",
		"SLEEP <seconds>",
		"    Has this connection, and no other, wait.")
}

// debugSleep has the client wait without holding up anybody else.
func debugSleep(s *session, args [][]byte, w *resp.Writer) {
	sec, err := strconv.ParseFloat(string(args[2]), 64)
	if err != nil || !(sec > 0) {
		w.Simple(reply.OK)
		return
	}
	const longest = math.MaxInt64 / int64(time.Second) / 2
	pause := time.Duration(min(sec, float64(longest)) * float64(time.Second))
	e, l := s.client.lastCommand, s.loop
	args = cloneArgs(args)
	s.busy = true
	time.AfterFunc(pause, func() {
		l.loop.Post(func() {
			s.resume(func() {
				s.took(e, args, pause)
				w := s.writer()
				w.Simple(reply.OK)
				s.served(e, w)
			})
		})
	})
}

func debugLog(s *session, args [][]byte, w *resp.Writer) {
	s.server.log.Info("DEBUG LOG", "message", string(args[2]))
	w.Simple(reply.OK)
}

func debugSetActiveExpire(s *session, args [][]byte, w *resp.Writer) {
	n, err := strconv.Atoi(string(args[2]))
	s.server.node.expireOff.Store(err != nil || n == 0)
	w.Simple(reply.OK)
}

// look runs a read of the keys that the command names from position 2 on, on a worker.
func (s *session) look(args [][]byte, w *resp.Writer, do command.Handler) {
	db := s.db
	row := &command.Command{Name: "DEBUG", Arity: -2, Flags: command.ReadOnly, Do: do,
		Keys: []command.KeySpec{{First: 2, Last: -1, Step: 1, Use: command.RO}}}
	ls, _, why := s.route(row, args)
	if why != "" {
		w.Error(why)
		return
	}
	sh := ls.shard
	s.slowly(args, func(args [][]byte, w *resp.Writer) {
		if !sh.use() {
			w.Error(noLeader)
			return
		}
		defer sh.unuse()
		// A key that is due is about to be deleted: it is looked at with the clock that stands still before that.
		now := sh.group.Now()
		due, err := sh.engine.Detached(row, db, args, now, sh.node.random(), w)
		if due && err == nil {
			_, err = sh.engine.Detached(row, db, args, 0, sh.node.random(), w)
		}
		if err != nil {
			sh.node.fatal(fmt.Errorf("the data cannot be read: %w", err))
			w.Error("ERR the data cannot be read")
		}
	})
}

func debugObject(s *session, args [][]byte, w *resp.Writer) {
	s.look(args[:3], w, func(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
		command.DebugObject(tx, args[2], s.server.thresholds(), w)
	})
}

func debugDigestValue(s *session, args [][]byte, w *resp.Writer) {
	s.look(args, w, func(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
		w.Array(len(args) - 2)
		for _, key := range args[2:] {
			var d command.Digest
			if e, ok := tx.Peek(tx.DB(), key); ok {
				d = command.DigestValue(tx, tx.DB(), key, e)
			}
			w.Simple(d.String())
		}
	})
}

// addTo adds all of the shard's data to a digest.
func (sh *shard) addTo(d *command.DataDigest) error {
	return sh.engine.Keys().Each(func(tx *keyspace.Tx, db int, key []byte, e keyspace.Entry) error {
		d.Add(tx, db, key, e)
		return nil
	})
}

// debugShardDigests answers the number and the digest of each shard that is open here, in turn.
func debugShardDigests(s *session, args [][]byte, _ *resp.Writer) {
	n := s.server.node
	s.slowly(args, func(_ [][]byte, w *resp.Writer) {
		var numbers []uint32
		var digests []string
		var err error
		n.each(func(sh *shard) {
			var d command.DataDigest
			err = errors.Join(err, sh.addTo(&d))
			numbers, digests = append(numbers, sh.id), append(digests, d.Sum().String())
		})
		if err != nil {
			w.Error("ERR the data cannot be read: " + err.Error())
			return
		}
		w.Array(2 * len(numbers))
		for i, number := range numbers {
			w.Int(int64(number))
			w.Simple(digests[i])
		}
	})
}

func debugDigest(s *session, args [][]byte, _ *resp.Writer) {
	n := s.server.node
	s.slowly(args, func(_ [][]byte, w *resp.Writer) {
		var d command.DataDigest
		var err error
		n.each(func(sh *shard) { err = errors.Join(err, sh.addTo(&d)) })
		if err != nil {
			w.Error("ERR the data cannot be read: " + err.Error())
			return
		}
		w.Simple(d.Sum().String())
	})
}

// debugReload is Redis's "save and load again". Its other options have no meaning here: nothing can be merged with what
// is loaded, since all of it is the same data.
func debugReload(s *session, args [][]byte, w *resp.Writer) {
	save := true
	for _, a := range args[2:] {
		switch {
		case isWord(a, "NOSAVE"):
			save = false
		case isWord(a, "MERGE"), isWord(a, "NOFLUSH"):
			w.Error("ERR DEBUG RELOAD cannot keep what is in memory: only NOSAVE is supported")
			return
		default:
			w.Error("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
			return
		}
	}
	s.reload(args, save)
}

func debugLoadAOF(s *session, args [][]byte, _ *resp.Writer) { s.reload(args, false) }

func (s *session) reload(args [][]byte, save bool) {
	n := s.server.node
	s.slowly(args, func(_ [][]byte, w *resp.Writer) {
		if save {
			if err := n.checkpoint(); err != nil {
				w.Error("ERR Error trying to load the RDB dump: the checkpoint failed: " + err.Error())
				return
			}
		}
		if err := n.reload(); err != nil {
			n.fatal(fmt.Errorf("store and log cannot be loaded again: %w", err))
			w.Error("ERR Error trying to load the RDB dump: " + err.Error())
			return
		}
		w.Simple(reply.OK)
	})
}

// Bounds of a piece of POPULATE: everybody waits while it is applied.
const (
	populateKeys  = 1000
	populateBytes = 1 << 20
)

func debugPopulate(s *session, args [][]byte, w *resp.Writer) {
	if len(args) > 5 {
		debugUnknown(args, w)
		return
	}
	numbers := [2]int64{}
	for i, at := range []int{2, 4} {
		if at >= len(args) {
			continue
		}
		n, ok := value.ParseInt(args[at])
		if !ok || n < 0 {
			w.Error("ERR value is out of range, must be positive")
			return
		}
		numbers[i] = n
	}
	prefix := []byte("key")
	if len(args) > 3 {
		prefix = args[3]
	}
	p := populate{server: s.server, db: s.db, prefix: append([]byte(nil), prefix...), count: numbers[0], size: numbers[1]}
	s.slowly(args, func(_ [][]byte, w *resp.Writer) { p.run(w) })
}

// populate writes many keys through the log, in pieces.
type populate struct {
	server      *Server
	db          int
	prefix      []byte
	count, size int64
}

// run proposes piece after piece and writes OK, or the first error.
func (p *populate) run(w *resp.Writer) {
	row := command.Lookup([]byte("LARDER.POPULATE"))
	each := max(1, min(populateKeys, populateBytes/(p.size+int64(len(p.prefix))+1)))
	for start := int64(0); start < p.count; start += each {
		r := p.server.node.routing.Load()
		for sh, b := range p.piece(r, row, start, min(each, p.count-start)) {
			why := p.propose(row, sh, b)
			if why == noLeader && r.sole == nil { // they are not served here any more
				continue
			}
			if why != "" {
				w.Error(why)
				return
			}
		}
	}
	w.Simple(reply.OK)
}

// piece is what writes count keys from number start on. Where slots decide, keys that are not served here are left out.
func (p *populate) piece(r *routing, row *command.Command, start, count int64) map[*shard]*engine.Batch {
	number := func(n int64) []byte { return strconv.AppendInt(nil, n, 10) }
	batches := map[*shard]*engine.Batch{}
	add := func(sh *shard, start, count int64) {
		if batches[sh] == nil {
			batches[sh] = &engine.Batch{Replies: singleReply{&resp.Writer{}}}
		}
		batches[sh].AddWrite(row, p.db, [][]byte{[]byte(row.Name), number(count), p.prefix, number(p.size), number(start)})
	}
	if sole := r.sole; sole != nil {
		add(sole, start, count)
		return batches
	}
	for i := start; i < start+count; i++ {
		slot := keyspace.Slot(fmt.Appendf(nil, "%s:%d", p.prefix, i))
		if sh := r.owners[r.slots[slot]].local; sh != nil && sh.leads() {
			add(sh, i, 1)
		}
	}
	return batches
}

// propose takes a batch of populate's through the shard's log and says what went wrong, or "".
func (p *populate) propose(row *command.Command, sh *shard, b *engine.Batch) string {
	if !sh.use() {
		return noLeader
	}
	defer sh.unuse()
	for sh.holdWrites() && !p.server.workers.ending() && sh.ctx.Err() == nil {
		time.Sleep(memoryLook)
	}
	if p.server.workers.ending() {
		return "ERR the server is shutting down"
	}
	if why := sh.refuse(row); why != "" {
		return why
	}
	if err := sh.proposeAndWait(context.Background(), b); err != nil {
		return strings.TrimSuffix(string(errorReply(err)[1:]), "\r\n")
	}
	if answer, ok := b.Replies.(singleReply); ok && answer.w.Errors() > 0 {
		head, _, _ := strings.Cut(string(answer.w.Buf[1:]), "\r\n")
		return head
	}
	return ""
}

// singleReply keeps the reply of a batch of one call.
type singleReply struct{ w *resp.Writer }

func (r singleReply) Begin(int) reply.Writer { return r.w }
func (r singleReply) End(int)                {}

// debugProtocol answers Redis's examples of every type, for tests of client libraries.
func debugProtocol(_ *session, args [][]byte, w *resp.Writer) {
	switch strings.ToLower(string(args[2])) {
	case "string":
		w.BulkString("Hello World")
	case "integer":
		w.Int(12345)
	case "double":
		w.Double(3.141)
	case "bignum":
		w.BigNumber("1234567999999999999999999999999999999")
	case "null":
		w.Null()
	case "array":
		w.Array(3)
		writeNumbers(w)
	case "set":
		w.Set(3)
		writeNumbers(w)
	case "map":
		w.Map(3)
		for i := range 3 {
			w.Int(int64(i))
			w.Bool(i == 1)
		}
	case "attrib":
		if w.RESP3 {
			w.Buf = append(w.Buf, "|1\r\n"...)
			w.BulkString("key-popularity")
			w.Array(2)
			w.BulkString("key:123")
			w.Int(90)
		}
		w.BulkString("Some real reply following the attribute")
	case "push":
		if !w.RESP3 {
			w.Error("ERR RESP2 is not supported by this command")
			return
		}
		w.Push(2)
		w.BulkString("server-cpu-usage")
		w.Int(42)
		w.BulkString("Some real reply following the push reply")
	case "verbatim":
		w.Verbatim("txt", "This is a verbatim\nstring")
	case "true":
		w.Bool(true)
	case "false":
		w.Bool(false)
	default:
		w.Error("ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false")
	}
}

func writeNumbers(w *resp.Writer) {
	for i := range 3 {
		w.Int(int64(i))
	}
}
