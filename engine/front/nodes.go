package front

import (
	"encoding/binary"

	"github.com/larder-db/larder/engine/value"
)

// Nodes of large collections are entries like any other, in name spaces of their own. A node's key is its slot and its
// hash, big-endian, so that a slot's nodes stand collection by collection, in the order in which the store has them.

// NodeKeySize is the length of a node's key, bytes.
const NodeKeySize = 2 + 8

// AppendNodeKey makes the key of a node.
func AppendNodeKey(b []byte, slot uint16, hash uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint16(b, slot), hash)
}

// isNodeKey says whether a key, which may be a client's, could be a node's.
func isNodeKey(key []byte) bool { return len(key) == NodeKeySize && nodeSlot(key) < Slots }

func nodeHash(key []byte) uint64 { return binary.BigEndian.Uint64(key[2:]) }

func nodeSlot(key []byte) uint16 { return binary.BigEndian.Uint16(key) }

// NodeHash is the hash of a collection's node. Nodes are spread over the collection's range by an odd factor, so that
// segments halve it evenly.
func NodeHash(collection uint64, id uint32) uint64 {
	return collection<<value.NodeBits | uint64(id*0x9e3779b1)&(1<<value.NodeBits-1)
}

// Forget takes n nodes of a collection that is gone out of a slot's count. Their entries are freed by FreeNodes.
func (f *Front) Forget(sp *Space, slotNo uint16, n uint32) {
	sp.change(slotNo, sp.slotFor(slotNo), -int32(n))
}

// Outdate makes the fills of a slot that are under way look again.
func (sp *Space) Outdate(slotNo uint16) { sp.slotFor(slotNo).epoch++ }

// FreeNodes drops entries of a collection that is gone, about most of them, without a trace, and says whether more are left.
// Walks that have yet to read them put them aside.
func (f *Front) FreeNodes(sp *Space, slotNo uint16, collection uint64, most int) (more bool) {
	s := sp.slot(slotNo)
	if s == nil {
		return false
	}
	for from, to := collection<<value.NodeBits, (collection+1)<<value.NodeBits; ; {
		si, next := f.segmentAt(sp, s, from)
		if si < 0 {
			if next == 0 || next >= to {
				return false
			}
			from = next
			continue
		}
		if most <= 0 {
			return true
		}
		most -= 1 + f.emptySegment(sp, s, si, most)
		if f.segments[si].n == 0 {
			f.removeSegment(sp, s, si)
		}
	}
}

// emptySegment drops up to most entries of a segment and returns how many that were.
func (f *Front) emptySegment(sp *Space, s *slot, si int32, most int) (n int) {
	seg := &f.segments[si]
	for n < most && seg.table != 0 {
		cells := f.cells(seg)
		i := len(cells) - 1
		for i >= 0 && cells[i] == 0 {
			i--
		}
		if i < 0 {
			break
		}
		r := cellRef(cells[i])
		key := f.arena.key(r)
		l := Loc{Space: sp, Slot: seg.slot, Hash: f.hash(sp, key), Key: key, slot: s, seg: si, cell: int32(i), ref: r}
		f.dropEntry(&l)
		n++
	}
	return n
}

// removeSegment takes an empty segment out of its slot.
func (f *Front) removeSegment(sp *Space, s *slot, si int32) {
	if s.seg >= 0 {
		s.seg = -1
	} else {
		list := sp.multi[-s.seg-2]
		for i, x := range list {
			if x == si {
				sp.multi[-s.seg-2] = append(list[:i], list[i+1:]...)
				break
			}
		}
	}
	f.segments[si] = segment{}
	f.unused = append(f.unused, si)
}
