package store

import (
	"encoding/binary"
	"fmt"
)

// Meta is what a checkpoint says about itself; it is durable exactly when the checkpoint's records are.
type Meta struct {
	Index, Term        uint64 // A, the last entry that the store contains, and its term
	Configuration      []byte // the Raft configuration at A, opaque here
	ConfigurationIndex uint64
	State              []byte // the key space's own state at A, opaque here
}

// Layout of the meta record; integers are uvarints:
//
//	version  1 byte
//	index, term, configuration index
//	configuration: length, bytes
//	state: the rest
const metaVersion = 1

func appendMeta(b []byte, m Meta) []byte {
	b = append(b, metaVersion)
	b = binary.AppendUvarint(b, m.Index)
	b = binary.AppendUvarint(b, m.Term)
	b = binary.AppendUvarint(b, m.ConfigurationIndex)
	b = binary.AppendUvarint(b, uint64(len(m.Configuration)))
	b = append(b, m.Configuration...)
	return append(b, m.State...)
}

// decodeMeta copies out of b.
func decodeMeta(b []byte) (m Meta, err error) {
	if len(b) == 0 {
		return m, fmt.Errorf("%w: the meta record is empty", ErrCorrupt)
	}
	if b[0] != metaVersion {
		return m, fmt.Errorf("store: meta record of version %d, this build knows %d: run the release that wrote it", b[0], metaVersion)
	}
	b = b[1:]
	var length uint64
	for _, field := range []*uint64{&m.Index, &m.Term, &m.ConfigurationIndex, &length} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return Meta{}, fmt.Errorf("%w: the meta record ends early", ErrCorrupt)
		}
		*field, b = v, b[n:]
	}
	if length > uint64(len(b)) {
		return Meta{}, fmt.Errorf("%w: the meta record ends early", ErrCorrupt)
	}
	m.Configuration = append([]byte(nil), b[:length]...)
	m.State = append([]byte(nil), b[length:]...)
	return m, nil
}
