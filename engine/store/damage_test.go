package store

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// damaged makes a store with several levels' worth of tables and returns its files and its state.
func damaged(t *testing.T) (files map[string][]byte, want []string) {
	t.Helper()
	fs := vfs.NewMem()
	w := &workload{states: map[uint64][]string{}}
	if err := w.run(t, fs); err != nil {
		t.Fatal(err)
	}
	return fileBytes(t, fs), w.states[workloadCheckpoints]
}

// fileBytes reads the files in a store's folder.
func fileBytes(t *testing.T, fs vfs.FS) map[string][]byte {
	t.Helper()
	names, err := fs.List("shard")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		f, err := fs.Open("shard/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := f.Stat(); err != nil {
			t.Fatal(err)
		} else if !info.IsDir() {
			if files[name], err = io.ReadAll(f); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	return files
}

// reopened puts files into a new file system, opens the store there and reads all of it.
func reopened(t *testing.T, files map[string][]byte) (state []string, left []string, err error) {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll("shard", 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		f, err := fs.Create("shard/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(slices.Clone(data)); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	defer func() { left, _ = fs.List("shard") }()
	s, err := Open(Options{FS: fs, Dir: "shard", Logger: quiet(), TableSize: 4 << 10})
	if err != nil {
		return nil, nil, err
	}
	state, err = readAll(s)
	return state, nil, errors.Join(err, s.Close())
}

// readAll is what state does, with an error instead of a failed test.
func readAll(s *Store) (state []string, err error) {
	v, err := s.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	it, err := v.Iter(All())
	if err != nil {
		return nil, err
	}
	defer it.Close()
	for it.Next() {
		value, err := it.Value()
		if err != nil {
			return nil, err
		}
		p := it.Position()
		got, found, err := s.Get(p, it.Key(), nil)
		if err != nil {
			return nil, err
		}
		if !found || string(got) != string(value) {
			return nil, fmt.Errorf("%s: get and walk disagree", it.Key())
		}
		state = append(state, fmt.Sprintf("%d/%d/%x %s=%s", p.Namespace, p.Slot, p.Hash, it.Key(), value))
	}
	if err := it.Close(); err != nil {
		return nil, err
	}
	due, err := s.Due(1<<62, DueKey{}, 1<<20)
	if err != nil {
		return nil, err
	}
	m, ok := s.Meta()
	return append(state, fmt.Sprint(due, m.Index, m.Term, string(m.State), ok)), nil
}

// verdict fails the test unless the state is whole or the error says what is damaged.
func verdict(t *testing.T, what, name string, state, want []string, err error) (reported bool) {
	t.Helper()
	switch {
	case err == nil && slices.Equal(state, want):
		return false
	case err == nil:
		t.Errorf("%s: silently another state", what)
	case strings.HasSuffix(name, ".sst") &&
		!(errors.Is(err, ErrCorrupt) && strings.Contains(err.Error(), strings.TrimSuffix(name, ".sst")) && strings.Contains(err.Error(), advice)):
		t.Errorf("%s: %v", what, err)
	}
	return true
}

func TestFlippedBytes(t *testing.T) {
	files, want := damaged(t)
	for name, data := range files {
		reports := 0
		for at := len(name) % 7; at < len(data); at += max(1, len(data)/40) {
			flipped := mapWith(files, name, slices.Clone(data))
			flipped[name][at] ^= 0x40
			state, _, err := reopened(t, flipped)
			if verdict(t, fmt.Sprintf("%s, byte %d of %d", name, at, len(data)), name, state, want, err) {
				reports++
			}
		}
		if strings.HasSuffix(name, ".sst") && reports == 0 {
			t.Errorf("%s: no flipped byte was noticed", name)
		}
	}
}

func TestTruncatedAndMissingFiles(t *testing.T) {
	files, want := damaged(t)
	for name, data := range files {
		without := mapWith(files, name, nil)
		delete(without, name)
		state, _, err := reopened(t, without)
		verdict(t, name+" missing", name, state, want, err)
		for _, length := range []int{0, len(data) / 4, len(data) / 2, len(data) - 9, len(data) - 1} {
			if length < 0 || len(data) == 0 {
				continue
			}
			cut := mapWith(files, name, data[:length])
			state, _, err := reopened(t, cut)
			noticed := verdict(t, fmt.Sprintf("%s cut to %d of %d", name, length, len(data)), name, state, want, err)
			if strings.HasSuffix(name, ".sst") && !noticed {
				t.Errorf("%s cut to %d bytes: not noticed", name, length)
			}
		}
	}
}

// A MANIFEST that has lost its end is an older store by all that Pebble can tell. It is reported, wherever the end was,
// and no table that such a MANIFEST does not know is removed.
func TestLostManifest(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open(Options{FS: fs, Dir: "shard", Logger: quiet(), TableSize: 4 << 10, HoldCompactions: true}) // no file goes meanwhile
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		checkpoint(t, s, i+1, func(c *Checkpoint) { setMany(t, c, uint32(i), 0, 20, "v") })
	}
	files := fileBytes(t, fs) // as after a crash: Close adds nothing
	want := state(t, s)
	closeStore(t, s)
	var manifest string
	for name := range files {
		if strings.HasPrefix(name, "MANIFEST-") && name > manifest {
			manifest = name
		}
	}
	lost := 0
	for length := range files[manifest] {
		state, left, err := reopened(t, mapWith(files, manifest, files[manifest][:length]))
		if !verdict(t, fmt.Sprintf("MANIFEST cut to %d bytes", length), manifest, state, want, err) {
			continue
		}
		if errors.Is(err, ErrCorrupt) && strings.Contains(err.Error(), "MANIFEST") && strings.Contains(err.Error(), advice) {
			lost++
		}
		for name := range files {
			if !slices.Contains(left, name) && (strings.HasSuffix(name, ".sst") || name == manifest) {
				t.Fatalf("MANIFEST cut to %d bytes: %s was removed", length, name)
			}
		}
	}
	if lost < 50 {
		t.Errorf("of %d lengths, %d were reported", len(files[manifest]), lost)
	}
}

// One process, one Store: the second is told so, and not that the store is damaged.
func TestOpenTwice(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs)
	_, err := Open(Options{FS: fs, Dir: "shard", Logger: quiet()})
	if err == nil || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "in use") {
		t.Error(err)
	}
	closeStore(t, s)
	dir := t.TempDir()
	a, err := Open(Options{Dir: dir, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Open(Options{Dir: dir, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Error(err)
	}
	closeStore(t, a)
}

func mapWith(files map[string][]byte, name string, data []byte) map[string][]byte {
	m := make(map[string][]byte, len(files))
	for n, d := range files {
		m[n] = d
	}
	m[name] = data
	return m
}

// FuzzMeta: any bytes decode to an error or to what encodes to the same.
func FuzzMeta(f *testing.F) {
	f.Add(appendMeta(nil, Meta{Index: 1 << 40, Term: 3, Configuration: []byte("c"), ConfigurationIndex: 9, State: []byte("state")}))
	f.Add([]byte{metaVersion, 1, 1, 1, 200, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := decodeMeta(appendMeta(nil, m))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
			t.Fatal(m, again, err)
		}
	})
}

// FuzzDue: any bytes are no record of the deadline index, or one that encodes to the same.
func FuzzDue(f *testing.F) {
	f.Add(appendDue(nil, DueKey{At: -5, Position: Position{Namespace: 1, Slot: 2, Hash: 3}}))
	f.Add([]byte{kindDue})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDue(b)
		if err != nil || b[0] != kindDue {
			return
		}
		if again := appendDue(nil, d); string(again) != string(b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}
