package server

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestIdentityIsKept(t *testing.T) {
	dir := t.TempDir()
	if _, ok, err := loadIdentity(dir); ok || err != nil {
		t.Fatalf("a new folder: %v, %v", ok, err)
	}
	want := nodeIdentity{Node: randomHex(), Cluster: randomHex(), Seed: 1<<64 - 1, Founder: true, Members: []string{"127.0.0.1:1"}}
	if err := want.save(dir); err != nil {
		t.Fatal(err)
	}
	got, ok, err := loadIdentity(dir)
	if !ok || err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, %v, %v; want %+v", got, ok, err, want)
	}
}

// A folder whose identity cannot be read must not begin a life of its own.
func TestDamagedIdentityIsRefused(t *testing.T) {
	for _, text := range []string{"", "{", `{"node":"abc"}`, `{"node":"` + strings.Repeat("a", 40) + `","cluster":"x"}`, `{"nodes":1}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, identityFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, ok, err := loadIdentity(dir); err == nil {
			t.Errorf("%q: %+v, %v", text, id, ok)
		}
	}
}
