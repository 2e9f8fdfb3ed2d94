package aof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/s2"
)

const (
	// MaxEntrySize bounds an entry's data and extensions together, in bytes.
	MaxEntrySize = 1 << 30
	// compressAbove is the size of data, in bytes, from which compression is tried.
	compressAbove = 4 << 10
)

// appendEntry appends a finished record for an entry of a shard.
func appendEntry(buf []byte, shard uint64, log *raft.Log) []byte {
	start := len(buf)
	r := record{
		kind:       kindEntry,
		raftType:   uint8(log.Type),
		shard:      shard,
		index:      log.Index,
		term:       log.Term,
		extensions: uint32(len(log.Extensions)),
	}
	if !log.AppendedAt.IsZero() {
		r.flags |= flagAppendedAt
	}
	buf = beginRecord(buf, &r)
	if !log.AppendedAt.IsZero() {
		buf = binary.LittleEndian.AppendUint64(buf, uint64(log.AppendedAt.UnixNano()))
	}
	buf = append(buf, log.Extensions...)
	if len(log.Data) > compressAbove {
		data := len(buf)
		buf = slices.Grow(buf, s2.MaxEncodedLen(len(log.Data)))
		compressed := s2.Encode(buf[data:cap(buf)], log.Data)
		if len(compressed) < len(log.Data) {
			buf[start+46] |= flagCompressed
			return finishRecord(buf[:data+len(compressed)], start)
		}
	}
	return finishRecord(append(buf, log.Data...), start)
}

// encodedBound is the most bytes that appendEntry may add for an entry.
func encodedBound(log *raft.Log) int {
	data := len(log.Data)
	if data > compressAbove {
		data = s2.MaxEncodedLen(data)
	}
	return recordHeaderSize + 8 + len(log.Extensions) + data + alignment
}

var errEntryFormat = errors.New("the record's payload does not match its header")

// decodeEntry fills log from an entry's record. Nothing in log points into the record.
func decodeEntry(r *record, log *raft.Log) error {
	rest := r.payload
	*log = raft.Log{Index: r.index, Term: r.term, Type: raft.LogType(r.raftType)}
	if r.flags&flagAppendedAt != 0 {
		if len(rest) < 8 {
			return fmt.Errorf("time of the entry: %w", errEntryFormat)
		}
		log.AppendedAt = time.Unix(0, int64(binary.LittleEndian.Uint64(rest)))
		rest = rest[8:]
	}
	if uint64(r.extensions) > uint64(len(rest)) {
		return fmt.Errorf("extensions of the entry: %w", errEntryFormat)
	}
	if r.extensions > 0 {
		log.Extensions = slices.Clone(rest[:r.extensions])
		rest = rest[r.extensions:]
	}
	if r.flags&flagCompressed == 0 {
		if len(rest) > 0 {
			log.Data = slices.Clone(rest)
		}
		return nil
	}
	size, err := s2.DecodedLen(rest)
	if err != nil {
		return fmt.Errorf("compressed data of the entry: %w", err)
	}
	if size > MaxEntrySize {
		return fmt.Errorf("compressed data of the entry: %d bytes: %w", size, ErrTooLarge)
	}
	log.Data, err = s2.Decode(make([]byte, 0, size), rest)
	if err != nil {
		return fmt.Errorf("compressed data of the entry: %w", err)
	}
	return nil
}

// isEntry returns whether records of the kind can be read as entries.
func (k kind) isEntry() bool { return k == kindEntry || k == kindCarried || k == kindStandIn }
