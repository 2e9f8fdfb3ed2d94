package peer

import (
	"strings"
	"testing"
)

// TestIDsOfAnyLength: an ID's length is a byte, and all that a byte can say is an ID's length.
func TestIDsOfAnyLength(t *testing.T) {
	for n := range maxID + 1 {
		want := statement{lowest: 1, highest: 2, service: Service{Raft, 7}, cluster: strings.Repeat("c", n), node: strings.Repeat("n", maxID-n)}
		for _, got := range []func() (statement, error){
			func() (statement, error) { return decodeDialler(want.encodeDialler()) },
			func() (statement, error) { return decodeAcceptor(want.encodeAcceptor()) },
		} {
			s, err := got()
			if err != nil || s.cluster != want.cluster || s.node != want.node {
				t.Fatalf("%d bytes: %+v, %v", n, s, err)
			}
		}
	}
}
