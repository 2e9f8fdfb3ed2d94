package store

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// model is the store as maps.
type model struct {
	records map[string]string // by stored key
	due     map[DueKey]bool
}

func (m model) clone() model { return model{maps.Clone(m.records), maps.Clone(m.due)} }

func (m model) drop(r Range) {
	maps.DeleteFunc(m.records, func(k, _ string) bool { return k >= string(r.from) && k < string(r.to) })
}

func (m model) list() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m.records)) {
		p := decodePosition([]byte(k))
		out = append(out, fmt.Sprintf("%d/%d/%x %s=%s", p.Namespace, p.Slot, p.Hash, k[positionSize:], m.records[k]))
	}
	return out
}

// pinned is a view with what it must show.
type pinned struct {
	view *View
	want []string
}

// TestModel runs random checkpoints, reopenings and views against maps.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		options := Options{FS: fs, Dir: "shard", Logger: quiet(), TableSize: 4 << 10}
		s, err := Open(options)
		check(t, err)
		m := model{map[string]string{}, map[DueKey]bool{}}
		var views []pinned
		index := uint64(0)
		closeViews := func() {
			for _, p := range views {
				check(t, p.view.Close())
			}
			views = nil
		}
		defer func() { closeViews(); check(t, s.Close()) }()
		t.Repeat(map[string]func(*rapid.T){
			"checkpoint": func(t *rapid.T) {
				c, err := s.NewCheckpoint()
				check(t, err)
				next := m.clone()
				randomCheckpoint(t, c, next)
				if rapid.IntRange(0, 9).Draw(t, "abort") == 0 {
					check(t, c.Abort())
					return
				}
				index++
				check(t, c.Commit(Meta{Index: index}))
				m = next
			},
			"reopen": func(t *rapid.T) {
				closeViews()
				check(t, s.Close())
				s, err = Open(options)
				check(t, err)
			},
			"view": func(t *rapid.T) {
				if len(views) < 4 {
					v, err := s.View()
					check(t, err)
					views = append(views, pinned{v, m.list()})
				}
			},
			"": func(t *rapid.T) {
				compare(t, s, m)
				for _, p := range views {
					if got := walk(t, p.view); !slices.Equal(got, p.want) {
						t.Fatalf("a view has changed: %v, want %v", got, p.want)
					}
				}
			},
		})
	})
}

// randomCheckpoint does the same to a checkpoint and to the model.
func randomCheckpoint(t *rapid.T, c *Checkpoint, m model) {
	namespaces := rapid.Uint32Range(0, 2)
	slots := rapid.Uint16Range(0, 2)
	for range rapid.IntRange(0, 2).Draw(t, "drops") {
		if ns := namespaces.Draw(t, "ns"); rapid.Bool().Draw(t, "whole") {
			c.DropNamespace(ns)
			m.drop(InNamespace(ns))
		} else {
			slot := slots.Draw(t, "slot")
			c.DropSlot(ns, slot)
			m.drop(InSlot(ns, slot))
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "trim") == 0 {
		until := rapid.Int64Range(-2, 9).Draw(t, "until")
		c.TrimDue(until)
		maps.DeleteFunc(m.due, func(d DueKey, _ bool) bool { return d.At <= until })
	}
	records := map[string]int64{} // stored key to deadline
	for range rapid.IntRange(0, 40).Draw(t, "records") {
		p := Position{namespaces.Draw(t, "ns"), slots.Draw(t, "slot"), rapid.Uint64Range(0, 5).Draw(t, "hash")}
		k := appendRecordKey(nil, p, fmt.Append(nil, "k", rapid.IntRange(0, 1).Draw(t, "key")))
		records[string(k)] = rapid.Int64Range(-3, 8).Draw(t, "deadline")
	}
	for _, k := range slices.Sorted(maps.Keys(records)) {
		p, key, at := decodePosition([]byte(k)), []byte(k[positionSize:]), records[k]
		if at == -3 {
			check(t, c.Delete(p, key))
			delete(m.records, k)
			continue
		}
		value := fmt.Sprintf("%0*d", rapid.IntRange(1, 900).Draw(t, "size"), at)
		check(t, c.Set(p, key, []byte(value), at))
		m.records[k] = value
		if at != 0 {
			m.due[DueKey{at, p}] = true
		}
	}
}

func compare(t *rapid.T, s *Store, m model) {
	v, err := s.View()
	check(t, err)
	defer v.Close()
	if got, want := walk(t, v), m.list(); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	got, err := s.Due(1<<62, DueKey{}, 1<<20)
	check(t, err)
	if len(got) != len(m.due) {
		t.Fatalf("due: %v, want %v", got, m.due)
	}
	for _, d := range got {
		if !m.due[d] {
			t.Fatalf("due: %v, want %v", got, m.due)
		}
	}
	for _, hash := range []uint64{0, 3, 6} {
		p := Position{1, 1, hash}
		value, found, err := s.Get(p, []byte("k1"), []byte("<"))
		check(t, err)
		want, there := m.records[string(appendRecordKey(nil, p, []byte("k1")))]
		if found != there || string(value) != "<"+want {
			t.Fatalf("get: %q %t, want %q %t", value, found, want, there)
		}
	}
}

func walk(t *rapid.T, v *View) (out []string) {
	it, err := v.Iter(All())
	check(t, err)
	for it.Next() {
		value, err := it.Value()
		check(t, err)
		p := it.Position()
		out = append(out, fmt.Sprintf("%d/%d/%x %s=%s", p.Namespace, p.Slot, p.Hash, it.Key(), value))
	}
	check(t, it.Close())
	return out
}

func check(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}
