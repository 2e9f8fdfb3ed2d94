package command

import (
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"

	"github.com/larder-db/larder/engine/keyspace"
	"github.com/larder-db/larder/engine/reply"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/rdb"
)

// What DEBUG needs of the engine: the row that fills a data base, and functions for the server's own rows.
var debugCommands = []Command{
	{
		Name: internal + "POPULATE", Arity: -2, Flags: Write | DenyOOM | TouchesAll, Do: populate,
		Group: "server", Since: "7.0.0", Summary: "Creates a number of keys for experiments.",
	},
}

// Digest is Redis's fingerprint of a value, a key or a data set. Two mixing steps build it up from SHA-1: xor adds
// to a set, whose order does not matter; mix adds to a sequence, whose order does. It detects differences, not forgeries.
type Digest [sha1.Size]byte

// String is the digest in hexadecimal, as DEBUG DIGEST shows it.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

func (d *Digest) xor(b []byte) {
	for i, c := range sha1.Sum(b) {
		d[i] ^= c
	}
}

func (d *Digest) mix(b []byte) {
	d.xor(b)
	*d = sha1.Sum(d[:])
}

func (d *Digest) mixNumber(n uint32) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	d.mix(b[:])
}

// redisTypes are Redis's numbers of the kinds, which enter digests.
var redisTypes = [...]uint32{value.String: 0, value.List: 1, value.Set: 2, value.ZSet: 3, value.Hash: 4, value.Stream: 6}

// mixValue adds what key holds, e, and whether it has a time to live.
func (d *Digest) mixValue(tx *keyspace.Tx, db int, key []byte, e keyspace.Entry) {
	d.mixNumber(redisTypes[e.Kind])
	o := objectUnder(tx, db, key, e)
	switch e.Kind {
	case value.List:
		for e := range o.Elements {
			d.mix(e)
		}
	case value.Set:
		for m := range o.Elements {
			d.xor(m)
		}
	case value.Hash:
		for f, v := range o.Fields {
			d.xorPair(f, v)
		}
	case value.ZSet:
		var text [32]byte
		for m, score := range o.Scores {
			d.xorPair(m, appendPrinted(text[:0], score))
		}
	default:
		d.mix(tx.Whole(db, key, e))
	}
	if e.Expire != 0 {
		d.xor([]byte("!!expire!!"))
	}
}

// xorPair adds a sequence of two to a set.
func (d *Digest) xorPair(a, b []byte) {
	var pair Digest
	pair.mix(a)
	pair.mix(b)
	d.xor(pair[:])
}

// appendPrinted appends a score as C's %.17g prints it.
func appendPrinted(b []byte, score float64) []byte {
	switch {
	case math.IsInf(score, 1):
		return append(b, "inf"...)
	case math.IsInf(score, -1):
		return append(b, "-inf"...)
	}
	return strconv.AppendFloat(b, score, 'g', 17, 64)
}

// DigestValue is the fingerprint of what key holds, e, whatever its key: what DEBUG DIGEST-VALUE shows. A key that does
// not exist has the zero Digest there.
func DigestValue(tx *keyspace.Tx, db int, key []byte, e keyspace.Entry) Digest {
	var d Digest
	d.mixValue(tx, db, key, e)
	return d
}

// DigestKey is the fingerprint of a key and what it holds, e.
func DigestKey(tx *keyspace.Tx, db int, key []byte, e keyspace.Entry) Digest {
	var d Digest
	d.mix(key)
	d.mixValue(tx, db, key, e)
	return d
}

// DataDigest gathers the fingerprint of a whole data set, as DEBUG DIGEST shows it. Keys come in any order.
type DataDigest struct {
	dbs [keyspace.Databases]struct {
		keys Digest
		any  bool
	}
}

// Add takes a key of data base db, which holds e.
func (d *DataDigest) Add(tx *keyspace.Tx, db int, key []byte, e keyspace.Entry) {
	k := DigestKey(tx, db, key, e)
	d.dbs[db].keys.xor(k[:])
	d.dbs[db].any = true
}

// Sum is the digest of what was added: data bases without keys do not count.
func (d *DataDigest) Sum() (sum Digest) {
	for db := range d.dbs {
		if !d.dbs[db].any {
			continue
		}
		sum.mixNumber(uint32(db))
		for i, c := range d.dbs[db].keys {
			sum[i] ^= c
		}
	}
	return sum
}

// DebugObject answers DEBUG OBJECT for a key of the selected data base: a line in Redis's format. Values have no
// address that would stay, so that it shows none.
func DebugObject(tx *keyspace.Tx, key []byte, t Thresholds, w reply.Writer) {
	e, ok := tx.Peek(tx.DB(), key)
	if !ok {
		w.Error(reply.NoSuchKey)
		return
	}
	serialized, err := rdb.AppendObject(nil, objectUnder(tx, tx.DB(), key, e))
	if err != nil {
		w.Error("ERR " + err.Error())
		return
	}
	idle, _, _ := tx.Recency(tx.DB(), key)
	w.Simple(fmt.Sprintf("Value at:0x0 refcount:1 encoding:%s serializedlength:%d lru:%d lru_seconds_idle:%d",
		encodingName(tx, tx.DB(), key, e, t), len(serialized), lruClock(tx.Now()-idle), idle/1000))
}

// lruClock is a time in milliseconds on Redis's clock of last uses: seconds, 24 bits of them.
func lruClock(ms int64) int64 { return ms / 1000 & (1<<24 - 1) }

// populate creates count keys, prefix:start and so on, in the selected data base:
// LARDER.POPULATE count [prefix [size [start]]]. start is 0 unless given: whoever wants many keys asks for them in
// pieces, since a command holds everybody else up. A key that exists stays, one in a slot that the shard
// does not own is left out. The value is value:0 and so on, cut or filled up with zeros where a size is given.
func populate(tx *keyspace.Tx, args [][]byte, w reply.Writer) {
	count, ok := positiveArg(w, args[1])
	if !ok {
		return
	}
	prefix := []byte("key")
	if len(args) > 2 {
		prefix = args[2]
	}
	var size, start int64
	if len(args) > 3 {
		if size, ok = positiveArg(w, args[3]); !ok {
			return
		}
	}
	if len(args) > 4 {
		if start, ok = positiveArg(w, args[4]); !ok {
			return
		}
	}
	if len(args) > 5 {
		w.Error(reply.Syntax)
		return
	}
	if size > MaxString {
		w.Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
		return
	}
	var key, val []byte
	for i := start; i < start+count; i++ {
		key = append(append(key[:0], prefix...), ':')
		key = strconv.AppendInt(key, i, 10)
		if _, taken := tx.Peek(tx.DB(), key); taken || !tx.Owns(key) {
			continue
		}
		val = strconv.AppendInt(append(val[:0], "value:"...), i, 10)
		if size > 0 {
			val = resized(val, int(size))
		}
		tx.Put(tx.DB(), key, keyspace.Entry{Kind: value.String, Value: val})
	}
	w.Simple(reply.OK)
}

// resized cuts b to n bytes or fills it up with zeros.
func resized(b []byte, n int) []byte {
	if n > len(b) {
		return append(b, make([]byte, n-len(b))...)
	}
	return b[:n]
}

// positiveArg reads an integer that is not negative; where it is none, it answers the error and returns false.
func positiveArg(w reply.Writer, arg []byte) (n int64, ok bool) {
	n, ok = value.ParseInt(arg)
	if !ok || n < 0 {
		w.Error("ERR value is out of range, must be positive")
		return 0, false
	}
	return n, true
}
