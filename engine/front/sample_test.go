package front

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/larder-db/larder/engine/value"
)

// TestSampleMeetsAllOnce goes once round from any place: every live entry comes up once, those with a time to live alone
// where they are asked for, and tombstones and other name spaces never.
func TestSampleMeetsAllOnce(t *testing.T) {
	for name, slot := range map[string]func([]byte) uint16{"one slot": oneSlot, "many": modelSlot, "spread": func(k []byte) uint16 { return uint16(strongHash(k)) % Slots }} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, strongHash, slot)
			sp, other := f.AddSpace(0, nil, 0), f.AddSpace(1, nil, 0)
			rng := rand.New(rand.NewPCG(1, 2))
			for _, n := range []int{0, 1, 7, 300, 5000 / raceFactor} {
				for i := range n {
					l := locate(f, sp, number(i))
					it := Item{Kind: value.String, Value: bytes.Repeat([]byte{1}, i%50), Expire: int64(i % 3)}
					if err := f.Put(&l, it, FreshUse(uint32(i))); err != nil {
						t.Fatal(err)
					}
					put(t, f, other, append(number(i), 'x'), nil)
				}
				for i := 0; i < n; i += 5 {
					remove(t, f, sp, number(i))
				}
				for range 20 {
					for _, timed := range []bool{false, true} {
						met := map[string]bool{}
						start := f.RandomPlace(sp, rng.Uint64(), rng.Uint64())
						f.SampleFrom(sp, start, 1<<30, 1<<30, timed, func(s Sampled) {
							if met[string(s.Key)] {
								t.Fatalf("%x comes up twice", s.Key)
							}
							met[string(s.Key)] = true
							l := locate(f, sp, s.Key)
							if it := f.Item(&l); s.Expire != it.Expire || s.Use != f.Recency(&l) || s.Bytes != EntryBytes(len(s.Key), len(it.Value), it.Expire) {
								t.Fatalf("%x: %+v", s.Key, s)
							}
						})
						if want := sp.Len(); !timed && int64(len(met)) != want || timed && int64(len(met)) != sp.Timed() {
							t.Fatalf("of %d keys, %d with a time to live, a sample (%t) meets %d", want, sp.Timed(), timed, len(met))
						}
					}
				}
				for i := range n {
					if l := locate(f, sp, number(i)); l.Known() {
						remove(t, f, sp, number(i))
					}
				}
			}
		})
	}
}

// TestSampleGoesOn takes a few entries at a time, each time from where the last one ended, and misses none.
func TestSampleGoesOn(t *testing.T) {
	f := newFront(t, strongHash, func(k []byte) uint16 { return uint16(k[3]%3) * 5000 })
	sp := f.AddSpace(0, nil, 0)
	const n = 3000
	for i := range n {
		put(t, f, sp, number(i), nil)
	}
	met, total := map[string]bool{}, 0
	var at Place
	for range n/7 + 1 {
		at = f.SampleFrom(sp, at, 7, 1000, false, func(s Sampled) { met[string(s.Key)] = true; total++ })
	}
	if len(met) != n || total != 7*(n/7+1) {
		t.Errorf("%d visits met %d of %d keys", total, len(met), n)
	}
	looked := 0
	f.SampleFrom(sp, at, 5, 40, true, func(Sampled) { looked++ })
	if looked != 0 {
		t.Error("found a time to live where there is none")
	}
}

// TestRandomPlacesAreFair: samples of a few come upon all keys about equally often.
func TestRandomPlacesAreFair(t *testing.T) {
	for _, n := range []int{50, 20_000} {
		f := newFront(t, strongHash, func(k []byte) uint16 { return uint16(strongHash(k)>>20) % Slots })
		sp := f.AddSpace(0, nil, 0)
		for i := range n {
			put(t, f, sp, fmt.Appendf(nil, "k%d", i), nil)
		}
		met := map[string]int{}
		rng := rand.New(rand.NewPCG(3, 4))
		const each = 200
		for range each * n / 5 {
			f.SampleFrom(sp, f.RandomPlace(sp, rng.Uint64(), rng.Uint64()), 5, 10, false, func(s Sampled) { met[string(s.Key)]++ })
		}
		seldom := 0
		for i := range n {
			if met[fmt.Sprintf("k%d", i)] < each/10 {
				seldom++
			}
		}
		if seldom > n/100 {
			t.Errorf("%d of %d keys come up less than a tenth as often as the others", seldom, n)
		}
	}
}

// TestReturning is the memory of tombstones and of what a walk has put aside.
func TestReturning(t *testing.T) {
	f := newFront(t, strongHash, oneSlot)
	sp := f.AddSpace(0, nil, 0)
	put(t, f, sp, []byte("a"), make([]byte, 1000))
	w := f.BeginCheckpoint()
	before := f.Live()
	remove(t, f, sp, []byte("a"))
	tombstone := int64(blockSize(entryHeader + 1))
	if got := f.Returning(); got != f.Live()-before+int64(blockSize(entryHeader+8+1+1000)) {
		t.Errorf("%d bytes return of %d, %d before", got, f.Live(), before)
	}
	if got := f.Stats().Tombstones; got != tombstone {
		t.Errorf("%d bytes of tombstones, want %d", got, tombstone)
	}
	for more := true; more; {
		_, _, more = w.Step(1000, func(Record) {})
	}
	for w.Settle(true, 1<<20) {
	}
	if got := f.Returning(); got != tombstone {
		t.Errorf("%d bytes return behind the checkpoint, want %d", got, tombstone)
	}
}

// A step in which entries go settles fewer of them than of those that stay: it takes as long.
func TestSettlingTombstonesTakesMoreSteps(t *testing.T) {
	const n = 1000
	f := newFront(t, strongHash, func(key []byte) uint16 { return binary.BigEndian.Uint16(key[2:]) })
	sp := f.AddSpace(0, nil, 0)
	settle := func() (steps int) {
		w := f.BeginCheckpoint()
		for more := true; more; {
			_, _, more = w.Step(1000, func(Record) {})
		}
		for w.Settle(true, 100) {
			steps++
		}
		return steps
	}
	for i := range n {
		put(t, f, sp, number(i), []byte("v"))
	}
	stay := settle()
	for i := range n {
		remove(t, f, sp, number(i))
	}
	if tombstones := f.Stats().Tombstones; tombstones == 0 {
		t.Fatal("there are no tombstones")
	}
	if gone := settle(); gone < stay*2 || f.Stats().Entries != 0 {
		t.Errorf("%d steps settle %d tombstones, %d as many entries; %d entries are left", gone, n, stay, f.Stats().Entries)
	}
}
