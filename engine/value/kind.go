// Package value holds the data types as pure data structures: no protocol, no key space, no I/O.
package value

// Kind is the type of a key's value. The numbers are part of the stored format.
type Kind uint8

// The kinds of value.
const (
	None   Kind = 0
	String Kind = 1
	List   Kind = 2
	Set    Kind = 3
	ZSet   Kind = 4
	Hash   Kind = 5
	Stream Kind = 6
)

var kindNames = [...]string{None: "none", String: "string", List: "list", Set: "set", ZSet: "zset", Hash: "hash", Stream: "stream"}

// String is the kind's name as the TYPE command gives it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Encoding says how a value is stored, and refines what OBJECT ENCODING reports, since Redis lets a value's history show
// there. It is stored with the value. The numbers are part of the stored format.
type Encoding uint8

// The encodings of a string.
const (
	Natural Encoding = 0 // by content: int if it is a canonical 64-bit integer, else embstr up to 44 bytes, else raw
	Raw     Encoding = 1 // raw whatever its content: it was grown or patched in place
	NotInt  Encoding = 2 // embstr or raw by length, though the content may be an integer (INCRBYFLOAT)
)

// The encodings of a collection; a small one is Natural.
const (
	Integers Encoding = 2 // a small set of integers alone, ordered by number
	Large    Encoding = 3 // the value is a root, whose elements stand in nodes of their own
)

// NodeBits is how many bits the number of a node within its collection has.
const NodeBits = 27
