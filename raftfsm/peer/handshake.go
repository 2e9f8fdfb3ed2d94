package peer

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The versions of the protocol behind the handshake that this release speaks.
const (
	lowestVersion  = 1
	highestVersion = 1
)

const (
	greeting     = "LRDP\x01"
	nonceSize    = 32
	maxStatement = 1024
	maxID        = 255
)

type nonce [nonceSize]byte

// verdict is what the acceptor makes of a dialler that has proven itself.
type verdict byte

const (
	welcome verdict = iota
	otherCluster
	otherVersion
	noSuchService
	notMember
)

// statement is what one end says of itself. Service is the dialler's alone, verdict the acceptor's.
type statement struct {
	lowest, highest uint16
	service         Service
	verdict         verdict
	cluster, node   string
}

var errMalformed = errors.New("malformed handshake")

func (s *statement) encodeDialler() []byte {
	b := s.encodeVersions()
	b = append(b, s.service.Kind)
	b = binary.BigEndian.AppendUint32(b, s.service.Group)
	return s.appendIDs(b)
}

func (s *statement) encodeAcceptor() []byte {
	return s.appendIDs(append(s.encodeVersions(), byte(s.verdict)))
}

func (s *statement) encodeVersions() []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 128), s.lowest)
	return binary.BigEndian.AppendUint16(b, s.highest)
}

func (s *statement) appendIDs(b []byte) []byte {
	for _, id := range []string{s.cluster, s.node} {
		b = append(append(b, byte(len(id))), id...)
	}
	return b
}

func decodeDialler(b []byte) (s statement, err error) {
	if len(b) < 9 {
		return s, errMalformed
	}
	s.decodeVersions(b)
	s.service = Service{Kind: b[4], Group: binary.BigEndian.Uint32(b[5:])}
	return s, s.decodeIDs(b[9:])
}

func decodeAcceptor(b []byte) (s statement, err error) {
	if len(b) < 5 {
		return s, errMalformed
	}
	s.decodeVersions(b)
	s.verdict = verdict(b[4])
	return s, s.decodeIDs(b[5:])
}

func (s *statement) decodeVersions(b []byte) {
	s.lowest, s.highest = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
}

func (s *statement) decodeIDs(b []byte) error {
	for _, id := range []*string{&s.cluster, &s.node} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return errMalformed
		}
		end := 1 + int(b[0])
		*id, b = string(b[1:end]), b[end:]
	}
	return nil
}

// transcript is what the MACs of one handshake cover.
type transcript struct {
	secret            string
	binding           []byte // of the TLS session; nil without TLS
	dialler, acceptor nonce
}

// proof is the MAC of the end with the given role over the statements so far, the last of which is its own.
func (t *transcript) proof(role byte, statements ...[]byte) []byte {
	h := hmac.New(sha256.New, []byte(t.secret))
	h.Write([]byte(greeting))
	h.Write([]byte{role, byte(len(t.binding))})
	h.Write(t.binding)
	h.Write(t.dialler[:])
	h.Write(t.acceptor[:])
	for _, s := range statements {
		h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(s))))
		h.Write(s)
	}
	return h.Sum(nil)
}

const (
	diallerRole  = 'D'
	acceptorRole = 'A'
)

// readGreeting reads the dialler's first message.
func readGreeting(r io.Reader) (n nonce, err error) {
	var b [len(greeting) + nonceSize]byte
	// The first bytes alone: a stranger that speaks another protocol is recognised without waiting for more.
	if _, err := io.ReadFull(r, b[:len(greeting)]); err != nil {
		return n, err
	}
	if string(b[:len(greeting)]) != greeting {
		return n, errMalformed
	}
	_, err = io.ReadFull(r, n[:])
	return n, err
}

// writeStatement writes a statement with its proof.
func writeStatement(w io.Writer, s, proof []byte) error {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(s)+len(proof)), uint16(len(s)))
	_, err := w.Write(append(append(b, s...), proof...))
	return err
}

// readStatement reads what writeStatement wrote.
func readStatement(r io.Reader) (s, proof []byte, err error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n > maxStatement {
		return nil, nil, errMalformed
	}
	b := make([]byte, n+sha256.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, nil, err
	}
	return b[:n], b[n:], nil
}

// accept is the acceptor's side. judge decides about a dialler that has proven itself. An error says that the dialler has
// not, and has been told nothing.
func (t *transcript) accept(rw io.ReadWriter, random io.Reader, self statement, judge func(statement) verdict) (
	theirs statement, v verdict, err error) {
	if t.dialler, err = readGreeting(rw); err != nil {
		return theirs, v, err
	}
	if _, err = io.ReadFull(random, t.acceptor[:]); err != nil {
		return theirs, v, fmt.Errorf("draw a nonce: %w", err)
	}
	if _, err = rw.Write(t.acceptor[:]); err != nil {
		return theirs, v, err
	}
	said, proof, err := readStatement(rw)
	if err != nil {
		return theirs, v, err
	}
	if !hmac.Equal(proof, t.proof(diallerRole, said)) {
		return theirs, v, ErrSecret
	}
	if theirs, err = decodeDialler(said); err != nil {
		return theirs, v, err
	}
	self.verdict = judge(theirs)
	own := self.encodeAcceptor()
	return theirs, self.verdict, writeStatement(rw, own, t.proof(acceptorRole, said, own))
}

// dial is the dialler's side. It returns what the acceptor has proven to have said.
func (t *transcript) dial(rw io.ReadWriter, random io.Reader, self statement) (theirs statement, err error) {
	if _, err = io.ReadFull(random, t.dialler[:]); err != nil {
		return theirs, fmt.Errorf("draw a nonce: %w", err)
	}
	if _, err = rw.Write(append([]byte(greeting), t.dialler[:]...)); err != nil {
		return theirs, err
	}
	if _, err = io.ReadFull(rw, t.acceptor[:]); err != nil {
		if errors.Is(err, io.EOF) || isReset(err) {
			err = fmt.Errorf("it hung up before it said anything (does one of the two use TLS, and the other not?): %w", err)
		}
		return theirs, err
	}
	own := self.encodeDialler()
	if err = writeStatement(rw, own, t.proof(diallerRole, own)); err != nil {
		return theirs, err
	}
	said, proof, err := readStatement(rw)
	if errors.Is(err, io.EOF) || isReset(err) {
		return theirs, fmt.Errorf("%w: it hung up on our proof", ErrSecret)
	}
	if err != nil {
		return theirs, err
	}
	if !hmac.Equal(proof, t.proof(acceptorRole, own, said)) {
		return theirs, ErrSecret
	}
	return decodeAcceptor(said)
}
