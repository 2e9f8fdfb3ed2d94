package server

import (
	"testing"

	"github.com/larder-db/larder/server/config"
)

// TestAnnouncedAddressIsListenedOn: what others are told is where the node is, whatever address it calls them from.
func TestAnnouncedAddressIsListenedOn(t *testing.T) {
	for _, c := range []struct{ bind, toMember, want string }{
		{"*", "10.0.0.7:40000", "10.0.0.7:16379"},
		{"10.0.0.5", "10.0.0.7:40000", "10.0.0.5:16379"},
		{"10.0.0.5 10.0.0.7", "10.0.0.7:40000", "10.0.0.7:16379"},
		{"127.0.0.3", "127.0.0.1:40000", "127.0.0.3:16379"},
	} {
		loaded, _, err := config.Load(config.Options{Version: Version, Args: []string{
			"--bind", c.bind, "--cluster-secret", "long enough to be one", "--port", "6379"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := addressesOf(loaded.Load(), c.toMember).peer; got != c.want {
			t.Errorf("bind %s, reached from %s: %s, want %s", c.bind, c.toMember, got, c.want)
		}
	}
}
