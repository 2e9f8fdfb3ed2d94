package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// ErrCorrupt is wrapped by every error about a stream that does not hold what was written to it.
var ErrCorrupt = errors.New("snapshot is damaged")

const (
	magic   = "LARDSNAP"
	version = 1

	kindHeader  = 1
	kindRecords = 2
	kindTrailer = 3
	goesOn      = 0x80

	frameHead = 1 + 4 + 4 + 4
	maxRaw    = 1 << 20         // bytes in a frame
	frameSize = 64 << 10        // bytes that are put into one: what a frame takes to make keeps a core from others
	maxPacked = maxRaw + 64<<10 // what does not compress grows a little
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// check is a frame's checksum: its number makes sure that no frame stands in another's place.
func check(number uint64, head, packed []byte) uint32 {
	sum := crc32.Checksum(binary.LittleEndian.AppendUint64(nil, number), castagnoli)
	sum = crc32.Update(sum, castagnoli, head[:frameHead-4])
	return crc32.Update(sum, castagnoli, packed)
}

// frameWriter writes frames.
type frameWriter struct {
	w       io.Writer
	encoder *zstd.Encoder
	number  uint64
	out     []byte
}

func newFrameWriter(w io.Writer) (*frameWriter, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(frameSize))
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(append([]byte(magic), version)); err != nil {
		return nil, err
	}
	return &frameWriter{w: w, encoder: encoder}, nil
}

// write writes what a frame of some kind holds, in as many frames as it takes.
func (f *frameWriter) write(kind byte, raw []byte) error {
	for len(raw) > frameSize {
		if err := f.frame(kind|goesOn, raw[:frameSize]); err != nil {
			return err
		}
		raw = raw[frameSize:]
	}
	return f.frame(kind, raw)
}

func (f *frameWriter) frame(kind byte, raw []byte) error {
	f.out = append(f.out[:0], make([]byte, frameHead)...)
	f.out = f.encoder.EncodeAll(raw, f.out)
	head, packed := f.out[:frameHead], f.out[frameHead:]
	head[0] = kind
	binary.LittleEndian.PutUint32(head[1:], uint32(len(raw)))
	binary.LittleEndian.PutUint32(head[5:], uint32(len(packed)))
	binary.LittleEndian.PutUint32(head[9:], check(f.number, head, packed))
	f.number++
	_, err := f.w.Write(f.out)
	return err
}

// frameReader reads frames.
type frameReader struct {
	r       io.Reader
	decoder *zstd.Decoder
	number  uint64
	head    [frameHead]byte
	packed  []byte
	raw     []byte
}

func newFrameReader(r io.Reader) (*frameReader, error) {
	var opening [len(magic) + 1]byte
	if _, err := io.ReadFull(r, opening[:]); err != nil {
		return nil, cutOff(err)
	}
	if string(opening[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it is no snapshot", ErrCorrupt)
	}
	if v := opening[len(magic)]; v != version {
		return nil, fmt.Errorf("snapshot of version %d, this build knows %d: use the release that wrote it", v, version)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRaw),
		zstd.WithDecoderMaxWindow(maxRaw))
	if err != nil {
		return nil, err
	}
	return &frameReader{r: r, decoder: decoder}, nil
}

// next reads one frame; raw is valid until the next call.
func (f *frameReader) next() (kind byte, raw []byte, err error) {
	if _, err := io.ReadFull(f.r, f.head[:]); err != nil {
		return 0, nil, cutOff(err)
	}
	rawSize, packedSize := binary.LittleEndian.Uint32(f.head[1:]), binary.LittleEndian.Uint32(f.head[5:])
	if rawSize > maxRaw || packedSize > maxPacked {
		return 0, nil, fmt.Errorf("%w: frame %d of %d bytes, %d packed", ErrCorrupt, f.number, rawSize, packedSize)
	}
	if cap(f.packed) < int(packedSize) {
		f.packed = make([]byte, packedSize)
	}
	packed := f.packed[:packedSize]
	if _, err := io.ReadFull(f.r, packed); err != nil {
		return 0, nil, cutOff(err)
	}
	if check(f.number, f.head[:], packed) != binary.LittleEndian.Uint32(f.head[9:]) {
		return 0, nil, fmt.Errorf("%w: the checksum of frame %d does not match", ErrCorrupt, f.number)
	}
	f.raw, err = f.decoder.DecodeAll(packed, f.raw[:0])
	if err != nil || len(f.raw) != int(rawSize) {
		return 0, nil, fmt.Errorf("%w: frame %d holds %d bytes instead of %d: %v", ErrCorrupt, f.number, len(f.raw), rawSize, err)
	}
	f.number++
	return f.head[0], f.raw, nil
}

func (f *frameReader) close() { f.decoder.Close() }

// cutOff tells an end that comes too early.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early: %w", ErrCorrupt, io.ErrUnexpectedEOF)
	}
	return err
}
