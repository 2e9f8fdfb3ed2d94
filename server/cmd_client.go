package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/server/resp"
)

// Flags of the subcommands of CLIENT.
const (
	aboutClient  = command.NoScript | command.Loading | command.Stale
	aboutClients = command.Admin | aboutClient
)

var clientCommands = []serverCommand{
	{
		Command: command.Command{Name: "CLIENT", Arity: -2, Group: "connection", Since: "2.4.0", Summary: "Commands about connections."},
		Sub: []serverCommand{
			clientRow("CACHING", 3, aboutClient, "6.0.0", "Says whether the next command's keys are tracked: none is.", clientCaching),
			clientRow("GETNAME", 2, aboutClient, "2.6.9", "Returns the name of this connection.", clientGetName),
			clientRow("GETREDIR", 2, aboutClient, "6.0.0", "Returns the client that invalidations are sent to: none.", clientGetRedir),
			clientRow("HELP", 2, command.Loading|command.Stale, "5.0.0", "Lists the subcommands.", clientHelp),
			clientRow("ID", 2, aboutClient, "5.0.0", "Returns the number of this connection.", clientID),
			clientRow("INFO", 2, aboutClient, "6.2.0", "Describes this connection.", clientInfoCommand, "nondeterministic_output"),
			clientRow("KILL", -3, aboutClients, "2.4.0", "Closes connections.", clientKill),
			clientRow("LIST", -2, aboutClients, "2.4.0", "Describes all connections.", clientList, "nondeterministic_output"),
			clientRow("NO-EVICT", 3, aboutClients, "7.0.0", "Exempts this connection from being closed to save memory.", clientNoEvict),
			clientRow("NO-TOUCH", 3, aboutClient, "7.2.0", "Has reads of this connection not count as uses of keys.", clientNoTouch),
			clientRow("PAUSE", -3, aboutClients, "2.9.50", "Has commands wait for a time.", clientPause),
			clientRow("REPLY", 3, aboutClient, "3.2.0", "Says whether replies are wanted.", clientReply),
			clientRow("SETINFO", 4, aboutClient, "7.2.0", "Names the client's library or its version.", clientSetInfo),
			clientRow("SETNAME", 3, aboutClient, "2.6.9", "Names this connection.", clientSetName),
			clientRow("TRACKING", -3, aboutClient, "6.0.0", "Turns tracking of keys off, which it is.", clientTracking),
			clientRow("TRACKINGINFO", 2, aboutClient, "6.2.0", "Tells about tracking of keys: it is off.", clientTrackingInfo),
			clientRow("UNBLOCK", -3, aboutClients, "5.0.0", "Ends another connection's blocking command: there are none.", clientUnblock),
			clientRow("UNPAUSE", 2, aboutClients, "6.2.0", "Ends CLIENT PAUSE.", clientUnpause),
		},
	},
}

// clientRow is a row of a subcommand of CLIENT.
func clientRow(name string, arity int, flags command.Flags, since, summary string, run func(*session, [][]byte, *resp.Writer), tips ...string) serverCommand {
	return serverCommand{
		Command: command.Command{Name: name, Arity: arity, Flags: flags, Group: "connection", Since: since, Summary: summary, Tips: tips},
		Run:     run,
	}
}

// help answers HELP of a container: lines are usages, each followed by what it does, indented.
func help(w *resp.Writer, container string, lines ...string) {
	w.Array(len(lines) + 3)
	w.Simple(container + " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, line := range lines {
		w.Simple(line)
	}
	w.Simple("HELP")
	w.Simple("    Lists the subcommands.")
}

func clientHelp(_ *session, _ [][]byte, w *resp.Writer) {
	help(w, "CLIENT",
		"GETNAME",
		"    Returns the name of this connection.",
		"GETREDIR",
		"    Returns -1: tracking of keys is off.",
		"ID",
		"    Returns the number of this connection.",
		"INFO",
		"    Describes this connection.",
		"KILL <ip:port>",
		"    Closes the connection from that address.",
		"KILL <option> <value> [<option> <value> ...]",
		"    Closes the connections that fit all options:",
		"    * ID <client-id>",
		"    * ADDR <ip:port>, LADDR <ip:port>",
		"      The peer's address, and this side's.",
		"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
		"    * USER <name>",
		"    * SKIPME (YES|NO)",
		"      Whether this connection is spared (default: yes).",
		"LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <client-id> [<client-id> ...]]",
		"    Describes all connections, or those.",
		"NO-EVICT (ON|OFF)",
		"    Exempts this connection from being closed to save memory.",
		"NO-TOUCH (ON|OFF)",
		"    Has reads of this connection not count as uses of keys.",
		"PAUSE <milliseconds> [WRITE|ALL]",
		"    Has commands wait so long: those that write, or all (default).",
		"REPLY (ON|OFF|SKIP)",
		"    Says whether replies are wanted; SKIP: not the next one.",
		"SETINFO (LIB-NAME|LIB-VER) <value>",
		"    Names the client's library, or its version.",
		"SETNAME <name>",
		"    Names this connection.",
		"TRACKING OFF",
		"    Turns tracking of keys off. It cannot be turned on.",
		"TRACKINGINFO",
		"    Tells about tracking of keys: it is off.",
		"UNBLOCK <client-id> [TIMEOUT|ERROR]",
		"    Returns 0: no connection is blocked.",
		"UNPAUSE",
		"    Ends CLIENT PAUSE.")
}

func clientID(s *session, _ [][]byte, w *resp.Writer) { w.Int(int64(s.conn.ID())) }

func clientGetName(s *session, _ [][]byte, w *resp.Writer) {
	if s.client.name == "" {
		w.Null()
		return
	}
	w.BulkString(s.client.name)
}

func clientSetName(s *session, args [][]byte, w *resp.Writer) {
	if !validName(args[2]) {
		w.Error(badName)
		return
	}
	s.client.name = string(args[2])
	w.Simple(reply.OK)
}

func clientSetInfo(s *session, args [][]byte, w *resp.Writer) {
	var field *string
	switch {
	case isWord(args[2], "LIB-NAME"):
		field = &s.client.libName
	case isWord(args[2], "LIB-VER"):
		field = &s.client.libVer
	default:
		w.Error(fmt.Sprintf("ERR Unrecognized option '%s'", args[2]))
		return
	}
	if !validName(args[3]) {
		w.Error(fmt.Sprintf("ERR %s cannot contain spaces, newlines or special characters.", args[2]))
		return
	}
	*field = string(args[3])
	w.Simple(reply.OK)
}

func clientGetRedir(_ *session, _ [][]byte, w *resp.Writer) { w.Int(-1) }

func clientTrackingInfo(_ *session, _ [][]byte, w *resp.Writer) {
	w.Map(3)
	w.BulkString("flags")
	w.Set(1)
	w.BulkString("off")
	w.BulkString("redirect")
	w.Int(-1)
	w.BulkString("prefixes")
	w.Array(0)
}

func clientCaching(_ *session, _ [][]byte, w *resp.Writer) {
	w.Error("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
}

// clientTracking refuses to promise invalidations that nobody would send.
func clientTracking(_ *session, args [][]byte, w *resp.Writer) {
	switch {
	case isWord(args[2], "OFF") && len(args) == 3:
		w.Simple(reply.OK)
	case isWord(args[2], "ON"):
		w.Error("ERR Larder does not track keys for client-side caching")
	default:
		w.Error(reply.Syntax)
	}
}

func clientUnblock(_ *session, args [][]byte, w *resp.Writer) {
	if len(args) > 4 {
		w.Error("ERR unknown subcommand or wrong number of arguments for '" + string(shortened(args[1], shownBytes)) + "'. Try CLIENT HELP.")
		return
	}
	if len(args) == 4 && !isWord(args[3], "TIMEOUT") && !isWord(args[3], "ERROR") {
		w.Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
		return
	}
	if _, ok := value.ParseInt(args[2]); !ok {
		w.Error(reply.NotInteger)
		return
	}
	w.Int(0)
}

// onOff reads ON or OFF into a flag.
func onOff(arg []byte, flag *bool, w *resp.Writer) {
	switch {
	case isWord(arg, "ON"):
		*flag = true
	case isWord(arg, "OFF"):
		*flag = false
	default:
		w.Error(reply.Syntax)
		return
	}
	w.Simple(reply.OK)
}

func clientNoEvict(s *session, args [][]byte, w *resp.Writer) { onOff(args[2], &s.client.noEvict, w) }
func clientNoTouch(s *session, args [][]byte, w *resp.Writer) { onOff(args[2], &s.client.noTouch, w) }

// clientReply changes what becomes of replies, its own included: session.finish drops that if it is not wanted.
func clientReply(s *session, args [][]byte, w *resp.Writer) {
	c := &s.client
	switch {
	case isWord(args[2], "ON"):
		c.replyOff, c.replySkip, c.skipNext = false, false, false
		w.Simple(reply.OK)
	case isWord(args[2], "OFF"):
		c.replyOff = true
	case isWord(args[2], "SKIP"):
		c.replySkip = !c.replyOff
	default:
		w.Error(reply.Syntax)
	}
}

func clientInfoCommand(s *session, _ [][]byte, w *resp.Writer) {
	w.Verbatim("txt", string(s.describe(nil)))
}

// clientTypes are the kinds of connections that CLIENT LIST and KILL tell apart. All are normal here.
var clientTypes = []string{"normal", "slave", "replica", "master", "pubsub"}

// clientType reads a kind of connections; normal says that clients are of it.
func clientType(arg []byte, w *resp.Writer) (normal, ok bool) {
	for _, name := range clientTypes {
		if isWord(arg, name) {
			return name == "normal", true
		}
	}
	w.Error(fmt.Sprintf("ERR Unknown client type '%s'", arg))
	return false, false
}

func clientList(s *session, args [][]byte, w *resp.Writer) {
	all := true
	var ids []int64
	switch {
	case len(args) == 4 && isWord(args[2], "TYPE"):
		var ok bool
		if all, ok = clientType(args[3], w); !ok {
			return
		}
	case len(args) > 3 && isWord(args[2], "ID"):
		all = false
		for _, a := range args[3:] {
			id, ok := value.ParseInt(a)
			if !ok {
				w.Error("ERR Invalid client ID")
				return
			}
			ids = append(ids, id)
		}
	case len(args) != 2:
		w.Error(reply.Syntax)
		return
	}
	wanted := func(id uint64) bool { return all || slices.Contains(ids, int64(id)) }
	gather(s, func(l *loop) map[int64][]byte { return l.describe(wanted) }, func(parts []map[int64][]byte, w *resp.Writer) {
		lines := map[int64][]byte{}
		var order []int64
		for _, part := range parts {
			for id, line := range part {
				lines[id] = line
				order = append(order, id)
			}
		}
		if slices.Sort(order); ids != nil {
			order = ids
		}
		var text strings.Builder
		for _, id := range order {
			text.Write(lines[id])
		}
		w.Verbatim("txt", text.String())
	})
}

// describe describes the loop's wanted clients, by ID.
func (l *loop) describe(wanted func(id uint64) bool) map[int64][]byte {
	lines := map[int64][]byte{}
	for id, s := range l.sessions {
		if wanted(id) {
			lines[int64(id)] = s.describe(nil)
		}
	}
	return lines
}

// killFilter says which clients CLIENT KILL closes: those that fit everything that is set.
type killFilter struct {
	addr, laddr string
	id          uint64
	nobody      bool // a type or user is named that no client has
	skipMe      bool
}

func (k *killFilter) fits(s *session) bool {
	return !k.nobody &&
		(k.addr == "" || k.addr == s.peer()) &&
		(k.laddr == "" || k.laddr == addrOf(s.conn.LocalAddr())) &&
		(k.id == 0 || k.id == s.conn.ID())
}

func clientKill(s *session, args [][]byte, w *resp.Writer) {
	k := killFilter{skipMe: true}
	single := len(args) == 3 // the old form: an address alone
	if single {
		k.skipMe = false
		k.addr = string(args[2])
	} else if !k.parse(args[2:], w) {
		return
	}
	if single && k.addr == "" {
		k.nobody = true
	}
	gather(s, func(l *loop) int64 { return l.kill(&k, s) }, func(parts []int64, w *resp.Writer) {
		killed := int64(0)
		for _, n := range parts {
			killed += n
		}
		if !k.skipMe && k.fits(s) {
			killed++
			s.conn.CloseAfterFlush()
		}
		switch {
		case !single:
			w.Int(killed)
		case killed == 0:
			w.Error("ERR No such client")
		default:
			w.Simple(reply.OK)
		}
	})
}

// kill closes the loop's clients that fit, but not the one that asks, and returns how many there were.
func (l *loop) kill(k *killFilter, asking *session) (killed int64) {
	for _, s := range l.sessions {
		if s != asking && k.fits(s) {
			s.conn.Close()
			killed++
		}
	}
	return killed
}

// parse reads options and their values.
func (k *killFilter) parse(args [][]byte, w *resp.Writer) bool {
	for ; len(args) > 0; args = args[2:] {
		if len(args) < 2 {
			w.Error(reply.Syntax)
			return false
		}
		arg := args[1]
		switch option := args[0]; {
		case isWord(option, "ID"):
			id, ok := value.ParseInt(arg)
			if !ok || id < 1 {
				w.Error("ERR client-id should be greater than 0")
				return false
			}
			k.id = uint64(id)
		case isWord(option, "TYPE"):
			normal, ok := clientType(arg, w)
			if !ok {
				return false
			}
			k.nobody = k.nobody || !normal
		case isWord(option, "ADDR"):
			k.addr = string(arg)
			k.nobody = k.nobody || len(arg) == 0
		case isWord(option, "LADDR"):
			k.laddr = string(arg)
			k.nobody = k.nobody || len(arg) == 0
		case isWord(option, "USER"):
			if string(arg) != "default" {
				w.Error(fmt.Sprintf("ERR No such user '%s'", arg))
				return false
			}
		case isWord(option, "SKIPME") && isWord(arg, "YES"):
			k.skipMe = true
		case isWord(option, "SKIPME") && isWord(arg, "NO"):
			k.skipMe = false
		default:
			w.Error(reply.Syntax)
			return false
		}
	}
	return true
}
