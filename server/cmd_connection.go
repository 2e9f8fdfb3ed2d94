package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/server/resp"
)

var connectionCommands = []serverCommand{
	{Command: command.Command{Name: "PING", Arity: -1, Flags: command.Fast, Group: "connection", Since: "1.0.0",
		Summary: "Answers PONG, or the message.", Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}}, Run: ping, Anytime: true, Subscribed: true},
	{Command: command.Command{Name: "ECHO", Arity: 2, Flags: command.Loading | command.Stale | command.Fast, Group: "connection", Since: "1.0.0",
		Summary: "Answers the message."}, Run: echo, Anytime: true},
	{Command: command.Command{Name: "SELECT", Arity: 2, Flags: command.Loading | command.Stale | command.Fast, Group: "connection", Since: "1.0.0",
		Summary: "Changes the data base of this connection."}, Run: selectDB, Anytime: true},
	{Command: command.Command{Name: "QUIT", Arity: -1, Flags: command.AllowBusy | command.NoScript | command.Loading | command.Stale | command.Fast | command.NoAuth, Group: "connection", Since: "1.0.0",
		Summary: "Closes the connection."}, Run: quit, InMulti: true, Subscribed: true},
	{Command: command.Command{Name: "RESET", Arity: 1, Flags: command.NoScript | command.Loading | command.Stale | command.Fast | command.NoAuth | command.AllowBusy, Group: "connection", Since: "6.2.0",
		Summary: "Brings the connection back to how it began."}, Run: reset, InMulti: true, Subscribed: true},
	{Command: command.Command{Name: "AUTH", Arity: -2, Flags: command.NoScript | command.Loading | command.Stale | command.Fast | command.NoAuth | command.AllowBusy, Group: "connection", Since: "1.0.0",
		Summary: "Logs the connection in."}, Run: auth},
	{Command: command.Command{Name: "HELLO", Arity: -1, Flags: command.NoScript | command.Loading | command.Stale | command.Fast | command.NoAuth | command.AllowBusy, Group: "connection", Since: "6.0.0",
		Summary: "Chooses the protocol, logs in, names the connection."}, Run: hello},
}

func randomID() uint64 { return rand.Uint64() }

func ping(s *session, args [][]byte, w *resp.Writer) {
	if s.subscribed.count() > 0 && !s.resp3 && len(args) <= 2 {
		pingSubscribed(args, w)
		return
	}
	switch len(args) {
	case 1:
		w.Simple("PONG")
	case 2:
		w.Bulk(args[1])
	default:
		w.Error("ERR wrong number of arguments for 'ping' command")
	}
}

func echo(_ *session, args [][]byte, w *resp.Writer) { w.Bulk(args[1]) }

func selectDB(s *session, args [][]byte, w *resp.Writer) {
	n, err := s.selectable(args[1])
	if err != "" {
		w.Error(err)
		return
	}
	s.db = n
	w.Simple(reply.OK)
}

// selectable reads SELECT's argument, or says what is wrong with it.
func (s *session) selectable(arg []byte) (n int, wrong string) {
	n, err := strconv.Atoi(string(arg))
	switch {
	case err != nil:
		return 0, reply.NotInteger
	case n != 0 && s.inCluster():
		return 0, "ERR SELECT is not allowed in cluster mode"
	case n < 0 || n >= keyspace.Databases || n >= s.server.config.Load().Databases:
		return 0, reply.DBOutOfRange
	}
	return n, ""
}

func quit(s *session, _ [][]byte, w *resp.Writer) {
	w.Simple(reply.OK)
	s.conn.CloseAfterFlush()
}

func reset(s *session, _ [][]byte, w *resp.Writer) {
	s.discard()
	s.forgetEvents()
	s.db, s.resp3 = 0, false
	s.asking, s.readOnly = false, false
	s.client.name = ""
	s.client.replyOff, s.client.replySkip, s.client.skipNext = false, false, false
	s.client.noEvict, s.client.noTouch = false, false
	s.setAuthenticated(s.server.config.Load().RequirePass == "")
	w.RESP3 = false
	w.Simple("RESET")
}

func (s *session) setAuthenticated(on bool) {
	s.authenticated = on
	s.limits.Authenticated = on
}

const wrongPass = "WRONGPASS invalid username-password pair or user is disabled."

// login checks a password for the user default, the only one there is.
func (s *session) login(user, password []byte) bool {
	want := s.server.config.Load().RequirePass
	if string(user) != "default" {
		return false
	}
	if want != "" {
		a, b := sha256.Sum256(password), sha256.Sum256([]byte(want))
		if subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
			return false
		}
	}
	s.setAuthenticated(true)
	return true
}

func auth(s *session, args [][]byte, w *resp.Writer) {
	user, password := []byte("default"), args[1]
	switch len(args) {
	case 2:
		if s.server.config.Load().RequirePass == "" {
			w.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
			return
		}
	case 3:
		user, password = args[1], args[2]
	default:
		w.Error(reply.Syntax)
		return
	}
	if !s.login(user, password) {
		w.Error(wrongPass)
		return
	}
	w.Simple(reply.OK)
}

func hello(s *session, args [][]byte, w *resp.Writer) {
	version := 0
	if len(args) > 1 {
		n, err := strconv.ParseInt(string(args[1]), 10, 64)
		if err != nil {
			w.Error("ERR Protocol version is not an integer or out of range")
			return
		}
		if n < 2 || n > 3 {
			w.Error("NOPROTO unsupported protocol version")
			return
		}
		version = int(n)
	}
	var user, password, name []byte
	for i := 2; i < len(args); i++ {
		switch left := len(args) - i - 1; {
		case strings.EqualFold(string(args[i]), "AUTH") && left >= 2:
			user, password = args[i+1], args[i+2]
			i += 2
		case strings.EqualFold(string(args[i]), "SETNAME") && left >= 1:
			name = args[i+1]
			i++
		default:
			w.Error(fmt.Sprintf("ERR Syntax error in HELLO option '%.128s'", args[i]))
			return
		}
	}
	if user != nil && !s.login(user, password) {
		w.Error(wrongPass)
		return
	}
	if s.mustLogIn() {
		w.Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if name != nil {
		if !validName(name) {
			w.Error(badName)
			return
		}
		s.client.name = string(name)
	}
	if version != 0 {
		s.resp3 = version == 3
		w.RESP3 = s.resp3
	}
	s.greet(w)
}

// greet writes HELLO's reply.
func (s *session) greet(w *resp.Writer) {
	proto := int64(2)
	if s.resp3 {
		proto = 3
	}
	w.Map(7)
	w.BulkString("server")
	w.BulkString("redis")
	w.BulkString("version")
	w.BulkString(RedisVersion)
	w.BulkString("proto")
	w.Int(proto)
	w.BulkString("id")
	w.Int(int64(s.conn.ID()))
	w.BulkString("mode")
	w.BulkString(s.server.mode())
	w.BulkString("role")
	w.BulkString(s.server.role())
	w.BulkString("modules")
	w.Array(0)
}

const badName = "ERR Client names cannot contain spaces, newlines or special characters."

// validName says whether a client may be called so: visible ASCII only.
func validName(name []byte) bool {
	for _, c := range name {
		if c < '!' || c > '~' {
			return false
		}
	}
	return true
}
