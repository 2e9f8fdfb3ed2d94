package resp

import (
	"math/bits"
	"sync"
)

// A block is a piece of memory that bytes are read into. Blocks up to maxPooled bytes have sizes that are powers
// of two and are recycled; longer ones (made for one long argument) are left to the garbage collector.
type block struct {
	b    []byte   // always of full length: what is used of it is the parser's business
	argv [][]byte // room for argument slices, lent to the parser together with its first block
}

const (
	minBlockBits = 14
	maxBlockBits = 20
	minBlock     = 1 << minBlockBits
	maxPooled    = 1 << maxBlockBits
	// maxKeptArgs is the longest argument list whose room is recycled.
	maxKeptArgs = 1024
)

var blockPools [maxBlockBits - minBlockBits + 1]sync.Pool

// newBlock returns a block of at least size bytes, and of exactly size bytes if that is more than maxPooled.
func newBlock(size int) *block {
	if size > maxPooled {
		return &block{b: make([]byte, size)}
	}
	class := 0
	if size > minBlock {
		class = bits.Len(uint(size-1)) - minBlockBits
	}
	if k, ok := blockPools[class].Get().(*block); ok {
		return k
	}
	return &block{b: make([]byte, minBlock<<class)}
}

// free gives the block back. Nothing may refer to its bytes any more.
func (k *block) free() {
	if len(k.b) > maxPooled {
		return
	}
	blockPools[bits.Len(uint(len(k.b)))-1-minBlockBits].Put(k)
}
