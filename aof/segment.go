package aof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// segmentHeaderSize is a page, so that no record shares one with the header.
	segmentHeaderSize    = 4096
	segmentHeaderContent = 36
	segmentMagic         = "LARDRAOF"
	formatVersion        = 1

	segmentSuffix = ".log"
	sparePrefix   = "spare-"
	numberDigits  = 10
)

func segmentName(seq uint32) string { return fmt.Sprintf("%0*d%s", numberDigits, seq, segmentSuffix) }
func spareName(seq uint32) string   { return fmt.Sprintf("%s%0*d", sparePrefix, numberDigits, seq) }

// parseSegmentName returns the number of the segment that a file's name gives, or false.
func parseSegmentName(name string) (uint32, bool) {
	digits, found := strings.CutSuffix(name, segmentSuffix)
	if !found || len(digits) != numberDigits {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 32)
	return uint32(seq), err == nil && seq > 0
}

// segment is one file of the log.
type segment struct {
	seq         uint32
	incarnation uint64
	size        int64 // of the file when it got its header, in bytes
	path        string

	// end is where its records end, in bytes: final for all segments but the current one.
	end int64
	// base is the log's position (Log.mu.written) of the segment's offset 0. It may be below zero.
	base int64
	// live counts the entries in it that some shard still has. Guarded by Log.mu.
	live int

	// pin is held for reading by those who read the file, and for writing by whoever takes it away.
	pin  sync.RWMutex
	file vfs.File // nil once taken away; guarded by pin for readers
}

// encodeHeader returns the segment's first bytes.
func (s *segment) encodeHeader() []byte {
	b := make([]byte, 0, segmentHeaderContent)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, s.seq)
	b = binary.LittleEndian.AppendUint64(b, s.incarnation)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.size))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readHeader fills in incarnation and size from the file and checks that the file is the segment that
// its name says, and as long as it was.
func (s *segment) readHeader() error {
	b := make([]byte, segmentHeaderContent)
	if _, err := s.file.ReadAt(b, 0); err != nil {
		if errors.Is(err, io.EOF) {
			return s.damage(0, "the file is shorter than a segment's header")
		}
		return fmt.Errorf("reading the header of %s: %w", s.path, err)
	}
	if binary.LittleEndian.Uint32(b[32:]) != crc32.Checksum(b[:32], castagnoli) || string(b[:8]) != segmentMagic {
		return s.damage(0, "the segment's header does not check out")
	}
	if version := binary.LittleEndian.Uint32(b[8:]); version != formatVersion {
		return fmt.Errorf("%s has format version %d; this program knows version %d: use the one that wrote it",
			s.path, version, formatVersion)
	}
	if seq := binary.LittleEndian.Uint32(b[12:]); seq != s.seq {
		return s.damage(12, fmt.Sprintf("the header says segment %d", seq))
	}
	s.incarnation = binary.LittleEndian.Uint64(b[16:])
	s.size = int64(binary.LittleEndian.Uint64(b[24:]))
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("size of %s: %w", s.path, err)
	}
	if info.Size() < s.size {
		return s.damage(info.Size(), fmt.Sprintf("the file has %d bytes, it had %d", info.Size(), s.size))
	}
	return nil
}

func (s *segment) damage(offset int64, detail string) error {
	return &DamageError{Path: s.path, Offset: offset, Detail: detail}
}

// read reads the record at the place into buf, which it grows if needed, and checks that it is the
// entry. The record is a view of the returned buffer. The caller holds pin.
func (s *segment) read(p place, shard, index uint64, buf []byte) (record, []byte, error) {
	if s.file == nil {
		return record{}, buf, ErrClosed
	}
	size := int(p.size())
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if _, err := s.file.ReadAt(buf, p.offset()); err != nil {
		return record{}, buf, fmt.Errorf("reading %s at offset %d: %w", s.path, p.offset(), err)
	}
	r, ok := decodeRecord(buf, p.offset(), s.incarnation)
	if !ok || r.size() != int64(size) || !r.kind.isEntry() || r.shard != shard || r.index != index {
		return record{}, buf, s.damage(p.offset(), fmt.Sprintf("the entry %d of shard %d does not check out", index, shard))
	}
	return r, buf, nil
}

// readHead is read for the record's header alone. The caller holds pin.
func (s *segment) readHead(p place, shard, index uint64) (record, error) {
	if s.file == nil {
		return record{}, ErrClosed
	}
	b := pool.Get().(*buffers)
	defer b.free()
	if cap(b.bytes) < recordHeaderSize {
		b.bytes = make([]byte, recordHeaderSize)
	}
	header := b.bytes[:recordHeaderSize]
	if _, err := s.file.ReadAt(header, p.offset()); err != nil {
		return record{}, fmt.Errorf("reading %s at offset %d: %w", s.path, p.offset(), err)
	}
	r, ok := decodeHeader(header, p.offset(), s.incarnation)
	if !ok || !r.kind.isEntry() || r.shard != shard || r.index != index {
		return record{}, s.damage(p.offset(), fmt.Sprintf("the header of entry %d of shard %d does not check out", index, shard))
	}
	return r, nil
}

// beginning is what the first record of a segment says.
type beginning struct {
	prevIncarnation uint64 // of the segment before, 0 if there is none
	prevEnd         int64  // where its records end, in bytes
	start           uint32 // the log's first segment
	policy          SyncPolicy
	forgot          bool   // the log may have forgotten entries that it promised
	bootID          string // of the machine's run that wrote it
}

const beginningFixedSize = 22

// appendBeginning appends the finished first record of a segment.
func appendBeginning(buf []byte, b *beginning) []byte {
	start := len(buf)
	buf = beginRecord(buf, &record{kind: kindBegin})
	buf = binary.LittleEndian.AppendUint64(buf, b.prevIncarnation)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(b.prevEnd))
	buf = binary.LittleEndian.AppendUint32(buf, b.start)
	forgot := byte(0)
	if b.forgot {
		forgot = 1
	}
	buf = append(buf, byte(b.policy), forgot)
	buf = append(buf, b.bootID...)
	return finishRecord(buf, start)
}

// decodeBeginning returns false if the payload is not one that appendBeginning writes.
func decodeBeginning(payload []byte) (beginning, bool) {
	if len(payload) < beginningFixedSize || len(payload) > beginningFixedSize+maxBootIDLength {
		return beginning{}, false
	}
	b := beginning{
		prevIncarnation: binary.LittleEndian.Uint64(payload),
		prevEnd:         int64(binary.LittleEndian.Uint64(payload[8:])),
		start:           binary.LittleEndian.Uint32(payload[16:]),
		policy:          SyncPolicy(payload[20]),
		forgot:          payload[21] == 1,
		bootID:          string(payload[beginningFixedSize:]),
	}
	return b, b.policy <= No && payload[21] <= 1 && b.prevEnd >= 0 && b.start > 0
}
