package server

import "testing"

func TestThrift(t *testing.T) {
	x := newThrift(8)
	look := func(want int, replicated bool, used float64, times int) {
		t.Helper()
		for i := range times {
			if got := x.look(replicated, used); got != want {
				t.Fatalf("%d processors instead of %d after %d looks", got, want, i+1)
			}
		}
	}
	look(8, false, 0, 100) // alone: all
	look(8, true, 0.5, easyLooks-1)
	look(4, true, 0.5, 1)
	look(4, true, 3.7, 100) // between the marks nothing changes
	look(4, true, 3.9, busyLooks-1)
	look(4, true, 3.7, 1)
	look(4, true, 3.9, busyLooks-1)
	look(8, true, 3.9, 1)
	look(8, true, 3.7, 100)
	look(8, true, 3.5, easyLooks-1)
	look(8, true, 3.7, 1)
	look(8, true, 3.5, easyLooks-1)
	look(4, true, 3.5, 1)
	look(8, false, 3.5, 1) // alone again
	if x := newThrift(1); x.few != 1 {
		t.Fatal(x.few)
	}
}
