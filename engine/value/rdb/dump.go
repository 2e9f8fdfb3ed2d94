package rdb

import (
	"encoding/binary"
	"fmt"
	"hash/crc64"
)

// footer is the length of version and checksum.
const footer = 2 + 8

// jones is the polynomial 0xad93d23594c935a9 with its bits reversed.
var jones = crc64.MakeTable(0x95ac9329ac4bc9b5)

// checksum is CRC-64 as Redis computes it: the standard library's without the inversions before and after.
func checksum(b []byte) uint64 {
	return ^crc64.Update(^uint64(0), jones, b)
}

// AppendDump appends the payload that DUMP gives for o.
func AppendDump(dst []byte, o Object) ([]byte, error) {
	typ, err := objectType(o)
	if err != nil {
		return dst, err
	}
	from := len(dst)
	dst = append(dst, typ)
	if dst, err = AppendObject(dst, o); err != nil {
		return dst[:from], err
	}
	dst = binary.LittleEndian.AppendUint16(dst, Version)
	return binary.LittleEndian.AppendUint64(dst, checksum(dst[from:])), nil
}

// ParseDump reads a payload as DUMP gives it. The object may alias the payload, and its sequences read it. Bytes between
// the object and the footer are ignored, as in Redis. Errors wrap ErrFooter or ErrFormat.
func ParseDump(payload []byte) (Object, error) {
	if len(payload) < footer {
		return Object{}, fmt.Errorf("%w: %d bytes", ErrFooter, len(payload))
	}
	body, foot := payload[:len(payload)-footer], payload[len(payload)-footer:]
	if v := binary.LittleEndian.Uint16(foot); v > MaxVersion {
		return Object{}, fmt.Errorf("%w: version %d, the highest known is %d", ErrFooter, v, MaxVersion)
	}
	if checksum(payload[:len(payload)-8]) != binary.LittleEndian.Uint64(foot[2:]) {
		return Object{}, ErrFooter
	}
	r := reader{b: body}
	typ, err := r.take(1)
	if err != nil {
		return Object{}, err
	}
	return r.object(typ[0])
}
