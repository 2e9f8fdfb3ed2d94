package collection

import "iter"

// String is a string that is too long for its key's entry: pieces of equal length, each a node under its own place. A piece
// that was never written is no node, and all zero; so is what a piece lacks at its end.
type String struct{ core }

const (
	// LargeString is from which length on a string is stored in pieces, bytes.
	LargeString = 1 << 20
	// pieceSize leaves room in a block of 16 KiB for an entry's header, the key and the level.
	pieceSize = 16<<10 - 64
	// pieceLevel stands where a leaf or a page has its level.
	pieceLevel = 0xff
)

var zeros [pieceSize]byte

// Open makes it the string that lives in home, which holds a large one or does not exist.
func (s *String) Open(home Home) { s.home = home }

// Len is the length, bytes.
func (s *String) Len() int {
	if _, large := s.look(); large {
		return s.root.count
	}
	return 0
}

// Create makes it a string of zeros, n bytes long, which take no room. What the key holds must have been given up.
func (s *String) Create(n int) {
	s.root = root{collection: s.home.NewCollection(), count: n}
	s.saveRoot()
}

// Write overwrites what stands from a byte on, and makes the string longer if need be; between its end and from it is zero
// then. data may not alias the string.
func (s *String) Write(from int, data []byte) {
	if _, large := s.look(); !large {
		return
	}
	before := s.root
	s.root.count = max(s.root.count, from+len(data))
	for len(data) > 0 {
		id, at := uint32(from/pieceSize), from%pieceSize
		n := min(len(data), pieceSize-at)
		copy(s.piece(id, at+n)[at:], data[:n])
		data, from = data[n:], from+n
	}
	if s.root != before {
		s.saveRoot()
	}
}

// piece gives write access to a piece, at least n bytes of it.
func (s *String) piece(id uint32, n int) []byte {
	if !s.home.HasNode(id) {
		s.root.nodes++
		s.root.size += int64(1 + n)
		b := s.home.AddNode(id, 1+n)
		b[0] = pieceLevel
		return b[1:]
	}
	old := len(s.home.Node(id))
	b := s.resizeNode(id, old, max(old, 1+n))
	b[0] = pieceLevel
	return b[1:]
}

// Range are the bytes from <= i < to, part by part; to is at most Len. The string must not be changed meanwhile.
func (s *String) Range(from, to int) iter.Seq[[]byte] {
	return func(yield func(part []byte) bool) {
		s.look()
		for from < to {
			id, at := uint32(from/pieceSize), from%pieceSize
			n := min(to-from, pieceSize-at)
			var piece []byte
			if s.home.HasNode(id) {
				if b := s.home.Node(id); len(b) > 1+at {
					piece = b[1+at:]
				}
			}
			piece = piece[:min(n, len(piece))]
			if len(piece) > 0 && !yield(piece) {
				return
			}
			if rest := n - len(piece); rest > 0 && !yield(zeros[:rest]) {
				return
			}
			from += n
		}
	}
}

// AppendTo appends the bytes from <= i < to to b.
func (s *String) AppendTo(b []byte, from, to int) []byte {
	for part := range s.Range(from, to) {
		b = append(b, part...)
	}
	return b
}

// copyPieces copies all pieces to a string of the same length.
func copyPieces(source, destination Home, length int) {
	for id := range uint32((length + pieceSize - 1) / pieceSize) {
		if source.HasNode(id) {
			copyNode(source, destination, id, 1)
		}
	}
}
