package collection

import "github.com/larder-db/larder/engine/value"

// Home is where one collection lives: the bytes of its key's entry and, for a large one, numbered nodes beside it. A key
// that does not exist is the home of an empty collection: the first Resize creates it, Drop removes it.
//
// Slices alias the home's memory. They are valid until the next call of a method that changes the home.
type Home interface {
	// Root is the entry's bytes and encoding; nil while there is no entry.
	Root() ([]byte, value.Encoding)
	// ResizeRoot makes the entry's bytes n long, creates the entry if need be, and gives write access. What was there
	// stays, as far as it fits; new bytes are zero.
	ResizeRoot(n int, enc value.Encoding) []byte
	// Drop removes the entry with all nodes.
	Drop()

	// Node is the bytes of a node; nil if they cannot be had now (the transaction then knows why).
	Node(id uint32) []byte
	// WriteNode gives write access to a node that could be had before.
	WriteNode(id uint32) []byte
	// ResizeNode is ResizeRoot for a node.
	ResizeNode(id uint32, n int) []byte
	// NewCollection draws the number under which the collection's nodes stand from now on.
	NewCollection() uint64
	// AddNode makes a node of n zero bytes under an unused number.
	AddNode(id uint32, n int) []byte
	// HasNode says whether there is a node of that number.
	HasNode(id uint32) bool
	// RemoveNode removes one.
	RemoveNode(id uint32)

	// Hash is the order of members within hashes and sets, hashBits bits, seeded.
	Hash(member []byte) uint64
}

const hashBits = 62
