package command

import (
	"bufio"
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rows of strings and bitmaps against redis-server's COMMAND: every field that it shows.
func TestStringRowsAgainstRedis(t *testing.T) {
	conn := startRedis(t)
	server := &oracle{t: t, conn: conn, in: bufio.NewReader(conn), proto: 2}
	for _, row := range slices.Concat(stringCommands, bitmapCommands) {
		info := server.Theirs("COMMAND", "INFO", row.Name)
		if ours := string(commandInfo(row)); ours != info {
			t.Errorf("COMMAND INFO %s\n ours   %s\n theirs %s", row.Name, flatten(t, ours), flatten(t, info))
		}
		docs := flatten(t, server.Theirs("COMMAND", "DOCS", row.Name))
		for _, field := range [][2]string{{"since", row.Since}, {"group", row.Group}} {
			if at := slices.Index(docs, field[0]); at < 0 || docs[at+1] != field[1] {
				t.Errorf("COMMAND DOCS %s: %s is %s, theirs %q", row.Name, field[0], field[1], docs)
			}
		}
		if row.Summary == "" || slices.Contains(docs, strings.TrimSuffix(row.Summary, ".")) {
			t.Errorf("%s: the summary %q is none of our own", row.Name, row.Summary)
		}
	}
}

// commandInfo is a row in the shape of COMMAND INFO's reply, RESP2.
func commandInfo(row Command) []byte {
	w := &respWriter{proto: 2}
	simples := func(words []string, prefix string) {
		w.Array(len(words))
		for _, word := range words {
			w.Simple(prefix + word)
		}
	}
	first, last, step := row.KeyRange()
	w.Array(1)
	w.Array(10)
	w.BulkString(strings.ToLower(row.Name))
	w.Int(int64(row.Arity))
	simples(row.Flags.Names(), "")
	w.Int(int64(first))
	w.Int(int64(last))
	w.Int(int64(step))
	simples(row.Categories(), "@")
	w.Array(len(row.Tips))
	for _, tip := range row.Tips {
		w.BulkString(tip)
	}
	w.Array(len(row.Keys))
	for _, k := range row.Keys {
		if k.Notes != "" {
			w.Map(4)
			w.BulkString("notes")
			w.BulkString(k.Notes)
		} else {
			w.Map(3)
		}
		w.BulkString("flags")
		simples(k.Use.Names(), "")
		w.BulkString("begin_search")
		w.Map(2)
		w.BulkString("type")
		w.BulkString("index")
		w.BulkString("spec")
		w.Map(1)
		w.BulkString("index")
		w.Int(int64(k.First))
		w.BulkString("find_keys")
		w.Map(2)
		w.BulkString("type")
		w.BulkString("range")
		w.BulkString("spec")
		w.Map(3)
		lastKey := k.Last
		if lastKey > 0 {
			lastKey -= k.First // Redis counts from the first
		}
		w.BulkString("lastkey")
		w.Int(int64(lastKey))
		w.BulkString("keystep")
		w.Int(int64(k.Step))
		w.BulkString("limit")
		w.Int(int64(k.Limit))
	}
	w.Array(0) // no subcommands
	return w.out
}

// flatten is the leaves of a reply in RESP2, one after the other.
func flatten(t *testing.T, reply string) (leaves []string) {
	in := bufio.NewReader(bytes.NewReader([]byte(reply)))
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return leaves
		}
		line = strings.TrimSuffix(line, "\r\n")
		switch line[0] {
		case '*':
		case '$':
			n, err := strconv.Atoi(line[1:])
			if err != nil {
				t.Fatalf("bad length %q", line)
			}
			bulk := make([]byte, n+2)
			if _, err := in.Read(bulk); err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, string(bulk[:n]))
		default:
			leaves = append(leaves, line[1:])
		}
	}
}
