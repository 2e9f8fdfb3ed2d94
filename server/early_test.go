package server

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestEarlyRepliesAreTakenInOrder answers calls in an order of chance, of which some are issued meanwhile, and compares with a
// map.
func TestEarlyRepliesAreTakenInOrder(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		var x earlyReplies
		model := map[uint64]early{}
		finished, issued := random.Uint64N(1<<40), uint64(0)
		issued = finished
		var open []uint64
		for total := 1 + random.IntN(300); total > 0 || len(open) > 0; {
			for n := random.IntN(40); n > 0 && total > 0; n-- {
				open = append(open, issued)
				issued++
				total--
			}
			if len(open) == 0 {
				continue
			}
			i := random.IntN(len(open))
			number := open[i]
			open = append(open[:i], open[i+1:]...)
			e := early{number: number, slot: random.IntN(5), bytes: fmt.Append(nil, number)}
			if number != finished {
				x.add(e, finished)
				model[number] = e
			} else {
				for finished++; ; finished++ {
					want, there := model[finished]
					got, ok := x.take(finished)
					if ok != there || string(got) != string(want.bytes) {
						t.Fatalf("call %d: got %q, %t, want %q", finished, got, ok, want.bytes)
					}
					if !ok {
						break
					}
					delete(model, finished)
				}
			}
			number, slot, want := finished+random.Uint64N(20), random.IntN(5), false
			for n, e := range model {
				want = want || n > number && e.slot == slot
			}
			if got := x.behind(number, slot); got != want || x.count != len(model) {
				t.Fatalf("behind call %d: %t; %d of %d are there", number, got, x.count, len(model))
			}
		}
		if x.count != 0 || x.ring != nil {
			t.Fatalf("%d are left", x.count)
		}
	}
}

// BenchmarkEarlyReplies answers the calls of a pipeline over two shards of which one is sooner: the cost of a call does not grow
// with their number.
func BenchmarkEarlyReplies(b *testing.B) {
	for _, n := range []uint64{1000, 10_000, 60_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for done := 0; done < b.N; done += int(n) {
				var x earlyReplies
				for i := uint64(1); i < n; i += 2 {
					x.add(early{number: i}, 0)
				}
				for i := uint64(1); i < n; i += 2 {
					if _, ok := x.take(i); !ok {
						b.Fatal(i)
					}
				}
			}
		})
	}
}
