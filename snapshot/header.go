package snapshot

import (
	"encoding/binary"
	"fmt"
)

// Header says what a snapshot is of.
type Header struct {
	Cluster string // the cluster's ID; empty outside of one
	Shard   uint32
	Seed    uint64 // of the hash that orders keys, as State has it

	Index, Term        uint64 // the last entry that it contains, and its term
	Configuration      []byte // the Raft configuration at Index
	ConfigurationIndex uint64
	State              []byte // the key space's own state
}

// maxHeader bounds a header, bytes: the counts of 16 384 slots for each data base are a few MiB.
const maxHeader = 64 << 20

func (h *Header) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(h.Cluster)))
	b = append(b, h.Cluster...)
	b = binary.AppendUvarint(b, uint64(h.Shard))
	b = binary.LittleEndian.AppendUint64(b, h.Seed)
	b = binary.AppendUvarint(b, h.Index)
	b = binary.AppendUvarint(b, h.Term)
	b = binary.AppendUvarint(b, h.ConfigurationIndex)
	b = binary.AppendUvarint(b, uint64(len(h.Configuration)))
	b = append(b, h.Configuration...)
	return append(b, h.State...)
}

// parser takes fields off bytes.
type parser struct {
	b   []byte
	bad bool
}

func (p *parser) take(n uint64) []byte {
	if n > uint64(len(p.b)) {
		p.bad, p.b = true, nil
		return nil
	}
	b := p.b[:n:n]
	p.b = p.b[n:]
	return b
}

func (p *parser) uvarint() uint64 {
	v, n := binary.Uvarint(p.b)
	if n <= 0 {
		p.bad, p.b = true, nil
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) uint64() uint64 {
	if b := p.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (p *parser) bytes() []byte { return p.take(p.uvarint()) }

// parseHeader keeps b.
func parseHeader(b []byte) (h Header, err error) {
	p := parser{b: b}
	h.Cluster = string(p.bytes())
	shard := p.uvarint()
	h.Shard = uint32(shard)
	h.Seed = p.uint64()
	h.Index, h.Term, h.ConfigurationIndex = p.uvarint(), p.uvarint(), p.uvarint()
	h.Configuration = p.bytes()
	h.State = p.b
	if p.bad || shard>>32 != 0 {
		return Header{}, fmt.Errorf("%w: the header cannot be read", ErrCorrupt)
	}
	return h, nil
}

// Totals are what a snapshot ends with.
type Totals struct {
	Records uint64
	Bytes   uint64 // of keys and values
	Digest  [16]byte
}

func (t *Totals) append(b []byte) []byte {
	b = binary.AppendUvarint(b, t.Records)
	b = binary.AppendUvarint(b, t.Bytes)
	return append(b, t.Digest[:]...)
}

func parseTotals(b []byte) (t Totals, err error) {
	p := parser{b: b}
	t.Records, t.Bytes = p.uvarint(), p.uvarint()
	digest := p.take(uint64(len(t.Digest)))
	if p.bad || len(p.b) > 0 {
		return t, fmt.Errorf("%w: the trailer cannot be read", ErrCorrupt)
	}
	copy(t.Digest[:], digest)
	return t, nil
}
