package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Layout of an entry, which is the payload of one Raft log record. Integers are little-endian.
//
//	level   1 byte    feature level: what a replica must know to apply the entry
//	clock   8 bytes   the proposer's clock, Unix milliseconds
//	seed    8 bytes   random number that seeds what the commands draw
//	origin 24 bytes   who proposed it: node, start, loop and batch
//	then, until the end, one record per command:
//	db      uvarint   selected data base
//	argc    uvarint   number of arguments, the command's name included
//	args              each: length as uvarint, bytes
const (
	// FeatureLevel is the highest level that this build can apply, and the one it writes.
	FeatureLevel = 1

	entryHeader = 1 + 8 + 8 + originSize
	originSize  = 24

	// MaxArgs bounds the arguments of one command in an entry.
	MaxArgs = 1 << 20
)

// ErrEntry is wrapped by every error about bytes that are no entry.
var ErrEntry = errors.New("malformed log entry")

// ErrFeatureLevel reports an entry written by a newer release.
var ErrFeatureLevel = errors.New("log entry needs a newer release of larder")

// Origin names a batch: unique to its node, that node's start, the event loop and the batch on it. The node that
// proposed an entry finds the waiting sessions by it, whatever its role has become meanwhile.
type Origin struct {
	Node  uint64 // random, drawn at each start of the process, so that it names node and start in one
	Loop  uint32
	Group uint32 // the shard, since a loop has one batch stream for each
	Batch uint64
}

// Header is the fixed part of an entry.
type Header struct {
	Level  uint8
	Clock  int64
	Seed   uint64
	Origin Origin
}

func putHeader(b []byte, h Header) {
	b[0] = h.Level
	binary.LittleEndian.PutUint64(b[1:], uint64(h.Clock))
	binary.LittleEndian.PutUint64(b[9:], h.Seed)
	binary.LittleEndian.PutUint64(b[17:], h.Origin.Node)
	binary.LittleEndian.PutUint32(b[25:], h.Origin.Loop)
	binary.LittleEndian.PutUint32(b[29:], h.Origin.Group)
	binary.LittleEndian.PutUint64(b[33:], h.Origin.Batch)
}

// DecodeHeader reads the fixed part of an entry and returns the commands' bytes.
func DecodeHeader(entry []byte) (h Header, commands []byte, err error) {
	if len(entry) < entryHeader {
		return h, nil, fmt.Errorf("%w: %d bytes, the header alone has %d", ErrEntry, len(entry), entryHeader)
	}
	h.Level = entry[0]
	if h.Level == 0 || h.Level > FeatureLevel {
		return h, nil, fmt.Errorf("%w: level %d, this build knows %d", ErrFeatureLevel, h.Level, FeatureLevel)
	}
	h.Clock = int64(binary.LittleEndian.Uint64(entry[1:]))
	h.Seed = binary.LittleEndian.Uint64(entry[9:])
	h.Origin = Origin{
		Node:  binary.LittleEndian.Uint64(entry[17:]),
		Loop:  binary.LittleEndian.Uint32(entry[25:]),
		Group: binary.LittleEndian.Uint32(entry[29:]),
		Batch: binary.LittleEndian.Uint64(entry[33:]),
	}
	return h, entry[entryHeader:], nil
}

// NextCommand splits the first command off the commands' bytes. The arguments are appended to args and alias b.
func NextCommand(b []byte, args [][]byte) (db int, _ [][]byte, rest []byte, err error) {
	d, b, err := uvarint(b, math.MaxInt32, "data base")
	if err != nil {
		return 0, args, nil, err
	}
	argc, b, err := uvarint(b, MaxArgs, "argument count")
	if err != nil {
		return 0, args, nil, err
	}
	if argc == 0 {
		return 0, args, nil, fmt.Errorf("%w: a command without a name", ErrEntry)
	}
	for ; argc > 0; argc-- {
		var n uint64
		n, b, err = uvarint(b, uint64(len(b)), "argument length")
		if err != nil {
			return 0, args, nil, err
		}
		if n > uint64(len(b)) {
			return 0, args, nil, fmt.Errorf("%w: an argument of %d bytes where %d are left", ErrEntry, n, len(b))
		}
		args = append(args, b[:n:n])
		b = b[n:]
	}
	return int(d), args, b, nil
}

// appendCommand encodes one command behind b.
func appendCommand(b []byte, db int, args [][]byte) []byte {
	b = binary.AppendUvarint(b, uint64(db))
	b = binary.AppendUvarint(b, uint64(len(args)))
	for _, a := range args {
		b = binary.AppendUvarint(b, uint64(len(a)))
		b = append(b, a...)
	}
	return b
}

func uvarint(b []byte, most uint64, what string) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > most {
		return 0, nil, fmt.Errorf("%w: bad %s", ErrEntry, what)
	}
	return v, b[n:], nil
}
