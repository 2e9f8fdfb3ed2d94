package aof

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	recordHeaderSize = 48
	alignment        = 8
)

// kind says what a record means. The numbers are part of the format.
type kind uint8

const (
	kindBegin    kind = 1 + iota // the first record of a segment: payload is a beginning
	kindEntry                    // an entry of a shard
	kindCarried                  // a copy of an older entry of a shard
	kindStandIn                  // the shard is emptied; this index and term stand for all before
	kindTruncate                 // the shard's entries from index on are dropped
	kindCut                      // the shard's entries below index are dropped
	kindStart                    // the log starts with segment number index
	kindState                    // index: sync policy; term: 1 if the log may have forgotten entries
	kindVoucher                  // nothing but the voucher
	kindClosed                   // the log was closed in order
	kindLimit                    // one more than the greatest kind
)

const (
	flagCompressed = 1 << iota
	flagAppendedAt
	flagsLimit // one more than the greatest combination
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is a record's header, with a view of the payload that is valid only until the next read.
type record struct {
	kind       kind
	raftType   uint8
	flags      uint8
	shard      uint64
	index      uint64
	term       uint64
	extensions uint32 // length in bytes
	length     uint32 // of the payload, in bytes, without padding
	vouched    int64  // offset in the segment, in bytes
	payloadCRC uint32
	payload    []byte
}

// size returns how many bytes the record takes in the segment.
func (r *record) size() int64 { return recordSize(r.length) }

func recordSize(length uint32) int64 { return recordHeaderSize + align(int64(length)) }

func align(n int64) int64 { return (n + alignment - 1) &^ (alignment - 1) }

// beginRecord appends the header of a record to buf, all of it but the payload's length and the checksums.
func beginRecord(buf []byte, r *record) []byte {
	start := len(buf)
	buf = append(buf, make([]byte, recordHeaderSize)...)
	header := buf[start:]
	binary.LittleEndian.PutUint64(header[16:], r.shard)
	binary.LittleEndian.PutUint64(header[24:], r.index)
	binary.LittleEndian.PutUint64(header[32:], r.term)
	binary.LittleEndian.PutUint32(header[40:], r.extensions)
	header[44] = byte(r.kind)
	header[45] = r.raftType
	header[46] = r.flags
	return buf
}

// finishRecord pads the record that begins at start and fills in its length and the payload's checksum.
// What depends on the place in the segment is left to seal.
func finishRecord(buf []byte, start int) []byte {
	length := len(buf) - start - recordHeaderSize
	buf = append(buf, make([]byte, align(int64(length))-int64(length))...)
	header := buf[start:]
	binary.LittleEndian.PutUint32(header[4:], crc32.Update(0, castagnoli, header[recordHeaderSize:]))
	binary.LittleEndian.PutUint32(header[8:], uint32(length))
	return buf
}

// appendControl appends a finished record without payload.
func appendControl(buf []byte, r record) []byte {
	start := len(buf)
	return finishRecord(beginRecord(buf, &r), start)
}

// seal completes the finished records in buf for the place where they are about to be written. It runs
// under the log's lock, so it touches headers only.
func seal(buf []byte, offset int64, incarnation uint64, vouched int64) {
	for len(buf) > 0 {
		size := recordSize(binary.LittleEndian.Uint32(buf[8:]))
		binary.LittleEndian.PutUint32(buf[12:], uint32(vouched/alignment))
		binary.LittleEndian.PutUint32(buf, headerCRC(buf, offset, incarnation))
		buf = buf[size:]
		offset += size
	}
}

func headerCRC(header []byte, offset int64, incarnation uint64) uint32 {
	return crc32.Update(checksumSeed(offset, incarnation), castagnoli, header[4:recordHeaderSize])
}

// checksumSeed mixes offset and incarnation with the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
// Different seeds give different checksums for the same bytes.
func checksumSeed(offset int64, incarnation uint64) uint32 {
	x := incarnation + uint64(offset)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return uint32(x) ^ uint32(x>>32)
}

// decodeHeader reads the header at offset, or returns false if it does not check out. The cheap tests
// come first: a search for vouchers sees every eighth byte of a segment.
func decodeHeader(header []byte, offset int64, incarnation uint64) (record, bool) {
	if len(header) < recordHeaderSize || header[44] == 0 || header[44] >= byte(kindLimit) || header[46] >= flagsLimit || header[47] != 0 {
		return record{}, false
	}
	if binary.LittleEndian.Uint32(header) != headerCRC(header, offset, incarnation) {
		return record{}, false
	}
	r := record{
		kind:       kind(header[44]),
		raftType:   header[45],
		flags:      header[46],
		shard:      binary.LittleEndian.Uint64(header[16:]),
		index:      binary.LittleEndian.Uint64(header[24:]),
		term:       binary.LittleEndian.Uint64(header[32:]),
		extensions: binary.LittleEndian.Uint32(header[40:]),
		length:     binary.LittleEndian.Uint32(header[8:]),
		vouched:    int64(binary.LittleEndian.Uint32(header[12:])) * alignment,
		payloadCRC: binary.LittleEndian.Uint32(header[4:]),
	}
	return r, r.vouched <= offset
}

// setPayload takes the bytes behind the header, padding included, and returns whether they check out.
func (r *record) setPayload(padded []byte) bool {
	if int64(len(padded)) != align(int64(r.length)) || crc32.Update(0, castagnoli, padded) != r.payloadCRC {
		return false
	}
	r.payload = padded[:r.length]
	return true
}

// decodeRecord reads the record that fills buf exactly.
func decodeRecord(buf []byte, offset int64, incarnation uint64) (record, bool) {
	r, ok := decodeHeader(buf, offset, incarnation)
	if !ok || !r.setPayload(buf[recordHeaderSize:]) {
		return record{}, false
	}
	return r, true
}
