package keyspace

import (
	"errors"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/value"
	"github.com/larder-db/larder/engine/value/collection"
)

// A large collection that is deleted or overwritten is gone at once: its key's entry is, and nothing leads to its nodes any
// more, since its number is never given again. What is left is to free them in the front, a bounded step at a time
// (freeDeadLocked), and to remove them from the store, one range deletion in the next checkpoint. Until both is done the
// collection is in Keyspace.mu.dead: a checkpoint passes over its nodes, and no fill brings one back.

// collectionID tells large collections apart. Those of one slot never have the same number; a collection that was imported
// may have that of another slot's.
type collectionID struct {
	space  uint32 // the number of the name space of nodes
	slot   uint16
	number uint64
}

// deadCollection is a large collection that is gone.
type deadCollection struct {
	space  *front.Space // of nodes
	slot   uint16
	number uint64
}

func (d *deadCollection) id() collectionID { return collectionID{d.space.Number, d.slot, d.number} }

// errNodeGone reports a node that should be there.
var errNodeGone = errors.New("a node of a large collection is missing")

// abandonLocked gives up the nodes of the large collection at l, if there is one. The entry is about to go.
func (ks *Keyspace) abandonLocked(l *front.Loc) {
	it := ks.front.Item(l)
	if it.Tombstone || it.Enc != value.Large {
		return
	}
	number, nodes, _ := collection.Nodes(it.Value)
	sp := l.Space.Nodes
	ks.front.Forget(sp, l.Slot, nodes)
	d := deadCollection{sp, l.Slot, number}
	ks.mu.dead[d.id()] = struct{}{}
	ks.exportGone(d)
	ks.mu.toDrop = append(ks.mu.toDrop, d)
	ks.mu.toFree = append(ks.mu.toFree, d)
}

// freeDeadLocked frees about most nodes of collections that are gone and says whether more are left.
func (ks *Keyspace) freeDeadLocked(most int) (more bool) {
	if len(ks.mu.toFree) == 0 {
		return false
	}
	d := ks.mu.toFree[0]
	if !d.space.Dead() && ks.front.FreeNodes(d.space, d.slot, d.number, most) {
		return true
	}
	if ks.mu.toFree = ks.mu.toFree[1:]; len(ks.mu.toFree) == 0 {
		ks.mu.toFree = nil
	}
	return len(ks.mu.toFree) > 0
}

// bury forgets, behind a checkpoint, the collections that neither the front nor the store has any more. gone are those
// that the checkpoint removed from the store: a fill that has read them before is too late.
func (ks *Keyspace) bury(gone []deadCollection) {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	for _, d := range gone {
		d.space.Outdate(d.slot)
	}
	if len(ks.mu.dead) == 0 {
		return
	}
	left := make(map[collectionID]struct{}, len(ks.mu.toFree)+len(ks.mu.toDrop))
	for _, d := range ks.mu.toFree {
		left[d.id()] = struct{}{}
	}
	for _, d := range ks.mu.toDrop {
		left[d.id()] = struct{}{}
	}
	ks.mu.dead = left
}

// deadLocked says whether a node belongs to a collection that is gone.
func (ks *Keyspace) deadLocked(space uint32, slot uint16, hash uint64) bool {
	if len(ks.mu.dead) == 0 {
		return false
	}
	_, dead := ks.mu.dead[collectionID{space, slot, hash >> value.NodeBits}]
	return dead
}
