package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/larder-db/larder/race"
)

type record struct{ key, value string }

var testHeader = Header{
	Cluster: strings.Repeat("c", 40), Shard: 7, Seed: 1 << 63, Index: 1 << 40, Term: 300, ConfigurationIndex: 12,
	Configuration: []byte("configuration"), State: []byte("state"),
}

func written(t testing.TB, h Header, records []record) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := w.Add([]byte(r.key), []byte(r.value)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// all reads a snapshot; records are those that came before the error, if there is one.
func all(from io.Reader) (h Header, records []record, err error) {
	r, err := NewReader(from)
	if err != nil {
		return h, nil, err
	}
	defer r.Close()
	for {
		key, value, err := r.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return r.Header(), records, err
		}
		records = append(records, record{string(key), string(value)})
	}
}

// same compares headers; nil and empty are the same.
func same(a, b Header) bool {
	equal := bytes.Equal(a.Configuration, b.Configuration) && bytes.Equal(a.State, b.State)
	a.Configuration, a.State, b.Configuration, b.State = nil, nil, nil, nil
	return equal && reflect.DeepEqual(a, b)
}

func random(size int) string {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(b)
	return string(b)
}

func TestStreamRoundTrip(t *testing.T) {
	few := []record{{"", ""}, {"a", ""}, {"b", "value"}, {"c", strings.Repeat("x", 100)}}
	var many []record
	for i := range 100_000 {
		many = append(many, record{fmt.Sprintf("key%09d", i), fmt.Sprint("value", i*i)})
	}
	large := slices.Concat(few, []record{{"d", random(5 << 20)}, {"e", "small"}, {random(3 << 20), random(maxRaw)},
		{"f", random(maxRaw - 25)}, {"g", random(maxRaw + 1)}, {"h", ""}})
	for _, records := range [][]record{nil, few, many, large} {
		for _, h := range []Header{{}, testHeader, {State: []byte(random(5 << 20))}} {
			stream := written(t, h, records)
			// What stands behind it is not its own.
			from := bytes.NewReader(append(stream, "more"...))
			got, read, err := all(from)
			if err != nil || !slices.Equal(read, records) || from.Len() != 4 {
				t.Fatalf("%d of %d records, %d bytes left: %v", len(read), len(records), from.Len(), err)
			}
			if !same(got, h) {
				t.Fatalf("another header")
			}
			if _, totals, err := Verify(bytes.NewReader(stream)); err != nil || totals.Records != uint64(len(records)) {
				t.Fatal(totals, err)
			}
		}
	}
}

// A stream that is cut anywhere, or has any byte changed, or frames that were moved, is never taken for a whole one.
func TestDamagedStreamsAreTold(t *testing.T) {
	var records []record
	for i := range 60 {
		records = append(records, record{fmt.Sprintf("key%09d", i), random(i)})
	}
	damage(t, records, 1)
	damage(t, append(records, record{"long", random(2*maxRaw + 7)}), maxRaw/64+1)
}

func damage(t *testing.T, records []record, step int) {
	stream := written(t, testHeader, records)
	for at := 0; at < len(stream); at += step * race.Factor {
		_, read, err := all(bytes.NewReader(stream[:at]))
		if !errors.Is(err, ErrCorrupt) || !slices.Equal(read, records[:len(read)]) {
			t.Fatalf("cut at %d: %v", at, err)
		}
		for _, bit := range []byte{1, 0x80} {
			changed := slices.Clone(stream)
			changed[at] ^= bit
			if _, read, err := all(bytes.NewReader(changed)); err == nil || !slices.Equal(read, records[:len(read)]) {
				t.Fatalf("byte %d changed: %v", at, err)
			}
		}
	}
}

// Frames may be as long as they were in streams of earlier releases.
func TestLongFramesAreRead(t *testing.T) {
	want := record{"a", random(maxRaw - 10)}
	var b bytes.Buffer
	w, err := NewWriter(&b, testHeader)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add([]byte(want.key), []byte(want.value)); err != nil {
		t.Fatal(err)
	}
	_, _ = w.digest.Write(w.raw)
	if err := w.frames.frame(kindRecords, w.raw); err != nil {
		t.Fatal(err)
	}
	w.raw = w.raw[:0]
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, got, err := all(&b); err != nil || !slices.Equal(got, []record{want}) {
		t.Fatalf("%d records, %v", len(got), err)
	}
}

func TestFramesKeepTheirPlaces(t *testing.T) {
	records := []record{{"a", random(frameSize - 100)}, {"b", random(frameSize - 100)}, {"c", random(frameSize - 100)}}
	stream := written(t, testHeader, records)
	var frames [][]byte
	for at := len(magic) + 1; at < len(stream); {
		size := frameHead + int(stream[at+5]) + int(stream[at+6])<<8 + int(stream[at+7])<<16
		frames = append(frames, stream[at:at+size])
		at += size
	}
	if len(frames) != 5 {
		t.Fatalf("%d frames", len(frames))
	}
	for _, order := range [][]int{{0, 2, 1, 3, 4}, {0, 1, 3, 4}, {0, 1, 2, 2, 3, 4}, {0, 4}, {1, 2, 3, 4}, {0, 0, 1, 2, 3, 4}} {
		b := slices.Clone(stream[:len(magic)+1])
		for _, i := range order {
			b = append(b, frames[i]...)
		}
		if _, _, err := all(bytes.NewReader(b)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("frames %v: %v", order, err)
		}
	}
}

func TestLimits(t *testing.T) {
	if _, err := NewWriter(io.Discard, Header{State: make([]byte, maxHeader)}); err == nil {
		t.Fatal("a header without bound")
	}
	w, err := NewWriter(io.Discard, Header{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(nil, make([]byte, MaxRecord+1)); err == nil {
		t.Fatal("a record without bound")
	}
	// A header that never ends, of frames that take next to nothing.
	var b bytes.Buffer
	f, err := newFrameWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for range maxHeader/maxRaw + 1 {
		if err := f.frame(kindHeader|goesOn, make([]byte, maxRaw)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewReader(&b); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "too long") {
		t.Fatal(err)
	}
}

// reframed gives each frame of a stream its right checksum, so that a fuzzer gets behind them.
func reframed(b []byte) []byte {
	b = slices.Clone(b)
	at := len(magic) + 1
	for n := uint64(0); at+frameHead <= len(b); n++ {
		head := b[at : at+frameHead]
		size := int(head[5]) | int(head[6])<<8 | int(head[7])<<16
		if at+frameHead+size > len(b) {
			break
		}
		sum := check(n, head, b[at+frameHead:at+frameHead+size])
		head[9], head[10], head[11], head[12] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		at += frameHead + size
	}
	return b
}

// FuzzReader: any bytes end in an error or are a whole snapshot.
func FuzzReader(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(written(f, Header{}, nil), false)
	stream := written(f, testHeader, []record{{"a", "x"}, {"b", strings.Repeat("y", 300)}})
	f.Add(stream, true)
	f.Add(stream[:len(stream)-20], true)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) > len(magic) {
			b = reframed(b)
		}
		h, records, err := all(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, as, err := all(bytes.NewReader(written(t, h, records)))
		if err != nil || !slices.Equal(records, as) || !same(h, again) {
			t.Fatal("what was read does not come out the same", err)
		}
	})
}
