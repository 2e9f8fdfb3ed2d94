package repeat

import (
	"fmt"
	"testing"
	"time"
)

func TestRepeatedMessagesAreCounted(t *testing.T) {
	now := time.Unix(1, 0)
	f := New(func() time.Time { return now })
	step := func(text string, after time.Duration, again bool, kept int) {
		t.Helper()
		now = now.Add(after)
		if a, k := f.Again(text); a != again || k != kept {
			t.Errorf("%s after %s: %v, %d", text, after, a, k)
		}
	}
	step("a", 0, false, 0)
	step("a", 1, true, 0)
	step("b", 0, false, 0)
	step("a", Pause-2, true, 0)
	step("a", 1, false, 2)
	step("a", 2*Pause, false, 0)
	for i := range 10 * most {
		f.Again(fmt.Sprint(i))
	}
	if len(f.mu.messages) > most {
		t.Errorf("%d messages are kept", len(f.mu.messages))
	}
}
