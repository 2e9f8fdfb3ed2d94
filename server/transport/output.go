package transport

import "sync"

const (
	// outChunk is the size of recycled output buffers.
	outChunk = 16 << 10
	// tailLimit is the length from which on the tail is not appended to, so that growing it stays cheap.
	tailLimit = 64 << 10
	// smallOwned is the length below which copying beats keeping a buffer of its own.
	smallOwned = 4 << 10
)

var outPool = sync.Pool{New: func() any { return new([outChunk]byte) }}

// A chunk is a piece of output of which b[off:] has still to be written.
type chunk struct {
	b        []byte
	off      int
	recycled bool // b goes back to outPool
}

// output is what waits to be written: chunks first, then the tail that is still appended to.
type output struct {
	chunks []chunk
	queued int // bytes in chunks
	tail   []byte
}

// open returns the tail, ready to be appended to.
func (o *output) open() *[]byte {
	if len(o.tail) >= tailLimit {
		o.seal()
	}
	if o.tail == nil {
		o.tail = outPool.Get().(*[outChunk]byte)[:0]
	}
	return &o.tail
}

// seal makes the tail a chunk.
func (o *output) seal() {
	if len(o.tail) > 0 {
		o.chunks = append(o.chunks, chunk{b: o.tail, recycled: cap(o.tail) == outChunk})
		o.queued += len(o.tail)
		o.tail = nil
	}
}

// recycleTail drops the tail, which has been written.
func (o *output) recycleTail() {
	if cap(o.tail) == outChunk {
		outPool.Put((*[outChunk]byte)(o.tail[:outChunk]))
	}
	o.tail = nil
}

func (o *output) pushOwned(p []byte) {
	o.seal()
	o.chunks = append(o.chunks, chunk{b: p})
	o.queued += len(p)
}

func (o *output) size() int { return o.queued + len(o.tail) }

// take removes the first n bytes of the chunks, which have been written.
func (o *output) take(n int) {
	o.queued -= n
	i := 0
	for i < len(o.chunks) && n >= len(o.chunks[i].b)-o.chunks[i].off {
		n -= len(o.chunks[i].b) - o.chunks[i].off
		o.chunks[i].free()
		i++
	}
	rest := copy(o.chunks, o.chunks[i:])
	clear(o.chunks[rest:])
	o.chunks = o.chunks[:rest]
	if n > 0 {
		o.chunks[0].off += n
	}
}

// handedOver forgets the chunks, which somebody else will write.
func (o *output) handedOver() {
	clear(o.chunks)
	o.chunks, o.queued = o.chunks[:0], 0
}

// drop forgets all output.
func (o *output) drop() {
	o.seal()
	for i := range o.chunks {
		o.chunks[i].free()
	}
	o.recycleTail()
	*o = output{}
}

func (k *chunk) free() {
	if k.recycled {
		outPool.Put((*[outChunk]byte)(k.b[:outChunk]))
	}
}
