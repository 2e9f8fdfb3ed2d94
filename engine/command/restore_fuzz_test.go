package command

import (
	"bufio"
	"encoding/binary"
	"hash/crc64"
	"os/exec"
	"strings"
	"testing"

	"github.com/larder-db/larder/engine/keyspace"
)

// FuzzRestore: a body behind a right footer is refused and changes nothing, or it is stored and comes out again the same.
func FuzzRestore(f *testing.F) {
	o := &oracle{t: f, proto: 2, space: newSpace(f)}
	if _, err := exec.LookPath("redis-server"); err == nil {
		o.conn = startRedis(f)
		o.in = bufio.NewReader(o.conn)
		for _, kind := range collectionKinds {
			for _, n := range []int{1, 3, 150, 600} {
				for form := range forms {
					o.FillTheirs("k", kind, n, form)
					payload := o.dumped("k")
					f.Add([]byte(payload[:len(payload)-footerSize]))
				}
			}
		}
	}
	f.Add([]byte("\x00\x05larder"))
	digest := func(key string) (d Digest) {
		o.space.write(1, 0, func(tx *keyspace.Tx) {
			d = Digest{}
			if e, ok := tx.Peek(0, []byte(key)); ok {
				d = DigestValue(tx, 0, []byte(key), e)
			}
		})
		return d
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o.t = t
		o.Ours("SET", "k", "before")
		before := digest("k")
		got := o.Ours("RESTORE", "k", "0", sealed(body), "REPLACE")
		if strings.HasPrefix(got, "-") {
			if got != "-ERR Bad data format\r\n" || digest("k") != before {
				t.Fatalf("%x: %q, and the key holds something else", body, got)
			}
			return
		}
		payload := o.bulk(o.Ours("DUMP", "k"))
		if got := o.Ours("RESTORE", "k2", "0", payload, "REPLACE"); got != "+OK\r\n" || digest("k2") != digest("k") {
			t.Fatalf("%x: %q, and it does not come out as it went in", body, got)
		}
	})
}

// footerSize is the length of a payload's version and checksum.
const footerSize = 10

// sealed puts a right footer behind a body.
func sealed(body []byte) string {
	table := crc64.MakeTable(0x95ac9329ac4bc9b5) // the polynomial of Jones, reversed
	b := append(append([]byte(nil), body...), 10, 0)
	return string(binary.LittleEndian.AppendUint64(b, ^crc64.Update(^uint64(0), table, b)))
}
