package engine

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/engine/command"
)

// On a replica a key that is due counts as absent. That must not make a key absent that only the store has.
func TestReplicaReadsColdKeysBesideDueOnes(t *testing.T) {
	e := openTest(t, vfs.NewMem())
	defer e.close()
	e.do("SET", "cold", "v")
	e.commit()
	e.chill()
	e.do("SET", "due", "v", "PX", "5")
	later := e.clock + 6
	for _, words := range [][]string{{"MGET", "due", "cold"}, {"MGET", "cold", "due"}} {
		args := byteArgs(words...)
		row := command.Lookup(args[0])
		r := e.NewReader()
		r.Begin(later, 1)
		plain, err := r.Do(row, 0, args, &e.out)
		past, errPast := r.DoPast(row, 0, args, &e.out)
		r.End()
		e.out.take()
		if plain != Due || past != Cold || err != nil || errPast != nil {
			t.Errorf("%q: outcomes %d and, on a replica, %d: %v, %v", words, plain, past, err, errPast)
		}
		if err := e.DetachedPast(row, 0, args, later, 1, &e.out); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"due": "_\n$v\n", "cold": "$v\n_\n"}[words[1]]
		if got := e.out.take(); got != "*2\n"+want {
			t.Errorf("%q: %q", words, got)
		}
		e.chill()
	}
	r := e.NewReader()
	r.Begin(later, 1)
	defer r.End()
	if outcome, err := r.DoPast(command.Lookup([]byte("GET")), 0, byteArgs("GET", "due"), &e.out); outcome != Answered || err != nil || e.out.take() != "_\n" {
		t.Errorf("the key that is due alone: outcome %d, %v", outcome, err)
	}
}
