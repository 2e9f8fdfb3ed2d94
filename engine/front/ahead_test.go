package front

import "testing"

// Approach reaches the entries that Find finds, and none for keys that have none.
func TestApproachReachesWhatFindFinds(t *testing.T) {
	const n = 20_000 / raceFactor
	f := newFront(t, strongHash, func(key []byte) uint16 { return uint16(key[3] % 3) }) // slots of many segments
	sp := f.AddSpace(0, nil, 0)
	for i := range n {
		put(t, f, sp, number(i), number(i))
	}
	for at := 0; at < 2*n; at += Window {
		var keys [Window]Sought
		for i := range keys {
			key := number(at + i)
			slot, hash := f.Place(sp, key)
			keys[i] = Sought{Space: sp, Slot: slot, Hash: hash}
		}
		f.Approach(keys[:])
		for i, k := range keys {
			l := locate(f, sp, number(at+i))
			if l.Known() && k.ref != l.ref {
				t.Fatalf("key %d: approached %d, found %d", at+i, k.ref, l.ref)
			}
		}
	}
	f.Approach([]Sought{{Space: f.AddSpace(1, nil, 0), Slot: 5, Hash: 7}})
}
