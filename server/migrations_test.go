package server

import (
	"errors"
	"testing"

	"github.com/larder-db/larder/cluster"
	"github.com/larder-db/larder/engine/command"
	"github.com/larder-db/larder/engine/keyspace"
)

// TestImportsAreBraked: what refuses clients' writes refuses records of a migration, and nothing else of it.
func TestImportsAreBraked(t *testing.T) {
	t.Parallel()
	x := startTwoShards(t)
	sh := x.shards[0]
	m := sh.node.member
	records := command.ImportArgs(keyspace.ImportHead{Migration: 1, Attempt: 1, Entry: 1}, []byte("records"))
	others := [][][]byte{
		command.ImportArgs(keyspace.ImportHead{Migration: 1, Attempt: 1, Entry: 1}, nil),
		command.SlotsArgs(command.SlotsSeal, 1, 1, []keyspace.SlotRange{{From: 1, To: 1}}),
	}
	if err := m.brake(sh, append(others, records)); err != nil {
		t.Fatal(err)
	}
	sh.checkpoints.failing.Store(true)
	defer sh.checkpoints.failing.Store(false)
	if err := m.brake(sh, append(others, records)); !errors.Is(err, cluster.ErrBusy) {
		t.Error(err)
	}
	if err := m.brake(sh, others); err != nil {
		t.Error(err)
	}
}
