package raftfsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// The stable store holds what a replica must not forget: its term and its vote. One store serves all groups of a node.
//
// A record's key is the group as 4 bytes, big-endian, then the name; its value is a CRC-32C (4 bytes, little-endian) over
// key and contents, then the contents. Numbers are 8 bytes, little-endian. A vote is one record, "vote": the term, then
// the candidate. The stock library writes them as two, term first, and reads a candidate that stands beside a newer
// term as that term's vote: after a crash between the two, the candidate of an earlier term would be granted the vote
// of this one. So the term is kept in memory until the candidate comes, and both are written at once.

// ErrStable is wrapped by every error about a stable store that is damaged.
var ErrStable = errors.New("damaged stable store")

// errNotFound must read like this: the library compares the text.
var errNotFound = errors.New("not found")

// keyVote is the name of the record that holds both of a vote's parts.
var keyVote = []byte("vote")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// records is where a stable store keeps its records. A put is on stable storage when it returns.
type records interface {
	get(key []byte) ([]byte, error) // a copy, or errNotFound
	put(key, value []byte) error
}

// groupStable is one group's part of a stable store.
type groupStable struct {
	records records
	prefix  [4]byte

	mu struct {
		sync.Mutex
		voteTerm uint64 // waits for its candidate
		waiting  bool
		numbers  map[string]uint64 // as stored, so that what does not change is not written again
	}
}

var _ raft.StableStore = (*groupStable)(nil)

func newGroupStable(r records, group uint32) *groupStable {
	s := &groupStable{records: r}
	binary.BigEndian.PutUint32(s.prefix[:], group)
	s.mu.numbers = make(map[string]uint64)
	return s
}

// Set writes a value; that of a vote's candidate completes the vote.
func (s *groupStable) Set(key, value []byte) error {
	if !slices.Equal(key, keyCandidate) {
		return s.write(key, value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.waiting {
		return errors.New("a vote's candidate without its term")
	}
	s.mu.waiting = false
	return s.write(keyVote, append(binary.LittleEndian.AppendUint64(nil, s.mu.voteTerm), value...))
}

// Get reads a value; the error's text is "not found" if there is none.
func (s *groupStable) Get(key []byte) ([]byte, error) {
	if !slices.Equal(key, keyCandidate) {
		return s.read(key)
	}
	_, candidate, err := s.vote()
	return candidate, err
}

// SetUint64 writes a number; a vote's term is written together with its candidate.
func (s *groupStable) SetUint64(key []byte, v uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(key, keyVoteTerm) {
		s.mu.voteTerm, s.mu.waiting = v, true
		return nil
	}
	if stored, ok := s.mu.numbers[string(key)]; ok && stored == v {
		return nil
	}
	delete(s.mu.numbers, string(key))
	if err := s.write(key, binary.LittleEndian.AppendUint64(nil, v)); err != nil {
		return err
	}
	s.mu.numbers[string(key)] = v
	return nil
}

// GetUint64 reads a number; the error's text is "not found" if there is none.
func (s *groupStable) GetUint64(key []byte) (uint64, error) {
	if slices.Equal(key, keyVoteTerm) {
		term, _, err := s.vote()
		return term, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.read(key)
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: %s is no number", ErrStable, key)
	}
	v := binary.LittleEndian.Uint64(b)
	s.mu.numbers[string(key)] = v
	return v, nil
}

func (s *groupStable) vote() (term uint64, candidate []byte, err error) {
	b, err := s.read(keyVote)
	if err != nil {
		return 0, nil, err
	}
	if len(b) < 8 {
		return 0, nil, fmt.Errorf("%w: a vote of %d bytes", ErrStable, len(b))
	}
	return binary.LittleEndian.Uint64(b), b[8:], nil
}

func (s *groupStable) key(name []byte) []byte {
	return append(s.prefix[:len(s.prefix):len(s.prefix)], name...)
}

func (s *groupStable) write(name, contents []byte) error {
	key := s.key(name)
	value := binary.LittleEndian.AppendUint32(nil, checksum(key, contents))
	if err := s.records.put(key, append(value, contents...)); err != nil {
		return fmt.Errorf("write %s to the stable store: %w", name, err)
	}
	return nil
}

func (s *groupStable) read(name []byte) ([]byte, error) {
	key := s.key(name)
	value, err := s.records.get(key)
	if err == errNotFound {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("read %s from the stable store: %w", name, err)
	}
	if len(value) < 4 || binary.LittleEndian.Uint32(value) != checksum(key, value[4:]) {
		return nil, fmt.Errorf("%w: the checksum of %s does not match", ErrStable, name)
	}
	return value[4:], nil
}

func checksum(key, contents []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, contents)
}

// MemoryStable is a stable store that is gone with the process: the twin of StableFile.
type MemoryStable struct {
	mu struct {
		sync.Mutex
		records map[string][]byte
	}
}

// NewMemoryStable returns an empty one.
func NewMemoryStable() *MemoryStable {
	m := &MemoryStable{}
	m.mu.records = make(map[string][]byte)
	return m
}

// Group is one group's part, to be asked for once per start of the group.
func (m *MemoryStable) Group(id uint32) raft.StableStore { return newGroupStable(m, id) }

func (m *MemoryStable) get(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.mu.records[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return slices.Clone(v), nil
}

func (m *MemoryStable) put(key, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.records[string(key)] = slices.Clone(value)
	return nil
}

// loudStable ends the process when a write to the stable store fails: Raft would panic, and a term or a vote that is not
// written must not be acted upon.
type loudStable struct {
	raft.StableStore
	fatal func(error)
}

func (l loudStable) failed(err error) error {
	if err != nil {
		err = fmt.Errorf("terms and votes cannot be written; if the file is damaged, restore the folder from a backup or a replica: %w", err)
		l.fatal(err)
	}
	return err
}

// Set writes a value.
func (l loudStable) Set(key, value []byte) error { return l.failed(l.StableStore.Set(key, value)) }

// SetUint64 writes a number.
func (l loudStable) SetUint64(key []byte, value uint64) error {
	return l.failed(l.StableStore.SetUint64(key, value))
}
