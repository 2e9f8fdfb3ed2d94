package peer

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
)

// tape plays what the other end says and records what this one answers.
type tape struct {
	io.Reader
	said bytes.Buffer
}

func (t *tape) Write(b []byte) (int, error) { return t.said.Write(b) }

// FuzzAccept has an acceptor read anything, with proofs that are right as far as the statement in it can be found: what a
// peer gone mad may send. It must end with an error or a verdict, say at most a nonce to who has not proven itself, and
// take no more memory than the bounds allow.
func FuzzAccept(f *testing.F) {
	s := statement{lowest: 1, highest: 1, service: Service{Raft, 3}, cluster: "larder", node: "a"}
	f.Add([]byte("GET /"), []byte(nil), false)
	f.Add([]byte(greeting), make([]byte, nonceSize), false)
	f.Add([]byte(nil), s.encodeDialler(), true)
	f.Add([]byte(nil), append(s.encodeDialler(), "what a later version adds"...), true)
	s.node = strings.Repeat("a", maxID)
	f.Add([]byte(nil), s.encodeDialler(), true)
	f.Fuzz(func(t *testing.T, opening, said []byte, proven bool) {
		opening, said = opening[:min(len(opening), 4096)], said[:min(len(said), 4096)]
		var input bytes.Buffer
		input.Write(opening)
		if proven {
			input.Reset()
			input.WriteString(greeting)
			input.Write(make([]byte, nonceSize))
			shadow := transcript{secret: "s"}
			_ = writeStatement(&input, said, shadow.proof(diallerRole, said))
		} else {
			input.Write(said)
		}
		rw := &tape{Reader: &input}
		h := transcript{secret: "s"}
		judged := false
		peer, v, err := h.accept(rw, bytes.NewReader(make([]byte, nonceSize)), s, func(statement) verdict {
			judged = true
			return otherCluster
		})
		switch {
		case !judged && (err == nil || rw.said.Len() > nonceSize):
			t.Fatalf("%d bytes said to a stranger, error %v", rw.said.Len(), err)
		case judged && (!proven || v != otherCluster || len(said) > maxStatement):
			t.Fatal("judged without a proof")
		case judged:
			if !bytes.HasPrefix(said, peer.encodeDialler()) {
				t.Fatalf("%+v was not said by %q", peer, said)
			}
		}
	})
}

// FuzzDial is the same for the dialler: only an answer that is proven is ever read.
func FuzzDial(f *testing.F) {
	s := statement{lowest: 1, highest: 1, verdict: otherVersion, cluster: "larder", node: "a"}
	f.Add(s.encodeAcceptor(), true)
	f.Add(s.encodeAcceptor(), false)
	f.Fuzz(func(t *testing.T, said []byte, proven bool) {
		said = said[:min(len(said), 4096)]
		self := statement{lowest: 1, highest: 1, service: Service{Raft, 3}}
		h := transcript{secret: "s"}
		proof := make([]byte, sha256.Size)
		if proven {
			proof = h.proof(acceptorRole, self.encodeDialler(), said)
		}
		input := bytes.NewBuffer(make([]byte, nonceSize))
		_ = writeStatement(input, said, proof)
		peer, err := h.dial(&tape{Reader: input}, bytes.NewReader(make([]byte, nonceSize)), self)
		if err == nil && (!proven || !bytes.HasPrefix(said, peer.encodeAcceptor())) {
			t.Fatalf("%+v was not said by %q", peer, said)
		}
		if !proven && len(said) <= maxStatement && !errors.Is(err, ErrSecret) {
			t.Fatal(err)
		}
	})
}
