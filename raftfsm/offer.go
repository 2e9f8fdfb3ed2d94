package raftfsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What sender and receiver of a snapshot say to each other, on a connection of its own; integers are little-endian.
//
//	sender    offer     version 1 byte, 1; shard 4, term 8 (the sender's), index 8, index's term 8
//	receiver  judgement   kind 1, term 8, index 8, text: length 2, bytes
//	sender    snapshot  package snapshot, if the judgement is take
//	receiver  judgement
//
// Both close the connection at any error: then nothing has changed, or all of it has and the next offer is answered with have.

const (
	offerVersion = 1
	offerSize    = 1 + 4 + 8 + 8 + 8
	maxReason    = 1 << 10
)

// offer is what a leader could send.
type offer struct {
	shard       uint32
	term        uint64 // the leader's
	index       uint64
	termAtIndex uint64
}

func (o *offer) write(w io.Writer) error {
	b := []byte{offerVersion}
	b = binary.LittleEndian.AppendUint32(b, o.shard)
	for _, v := range []uint64{o.term, o.index, o.termAtIndex} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	_, err := w.Write(b)
	return err
}

func readOffer(r io.Reader) (o offer, err error) {
	var b [offerSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return o, err
	}
	if b[0] != offerVersion {
		return o, fmt.Errorf("a snapshot is offered in version %d, this build knows %d", b[0], offerVersion)
	}
	o.shard = binary.LittleEndian.Uint32(b[1:])
	o.term = binary.LittleEndian.Uint64(b[5:])
	o.index = binary.LittleEndian.Uint64(b[13:])
	o.termAtIndex = binary.LittleEndian.Uint64(b[21:])
	return o, nil
}

// Kinds of judgements.
const (
	judgedTake   = 1 // send it
	judgedHave   = 2 // everything up to index is here
	judgedRefuse = 3 // the sender's term is over: term
	judgedFailed = 4 // try again later: reason
)

// judgement is a receiver's answer.
type judgement struct {
	kind   byte
	term   uint64 // the receiver's
	index  uint64 // for have: it holds the leader's log up to here
	reason string
}

func failed(err error) judgement { return judgement{kind: judgedFailed, reason: err.Error()} }

func (v *judgement) write(w io.Writer) error {
	reason := v.reason[:min(len(v.reason), maxReason)]
	b := []byte{v.kind}
	b = binary.LittleEndian.AppendUint64(b, v.term)
	b = binary.LittleEndian.AppendUint64(b, v.index)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(reason)))
	_, err := w.Write(append(b, reason...))
	return err
}

func readJudgement(r io.Reader) (v judgement, err error) {
	var b [1 + 8 + 8 + 2]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return v, err
	}
	reason := make([]byte, binary.LittleEndian.Uint16(b[17:]))
	if len(reason) > maxReason {
		return v, errors.New("a judgement on a snapshot gives too long a reason")
	}
	if _, err := io.ReadFull(r, reason); err != nil {
		return v, err
	}
	v = judgement{kind: b[0], term: binary.LittleEndian.Uint64(b[1:]), index: binary.LittleEndian.Uint64(b[9:]), reason: string(reason)}
	return v, nil
}
