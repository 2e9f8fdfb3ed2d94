//go:build !race

// The race detector makes sync.Pool forget at random.

package resp

import (
	"bytes"
	"testing"
)

func TestParserDoesNotAllocate(t *testing.T) {
	data := bytes.Repeat(command([]byte("SET"), []byte("key"), make([]byte, 64)), 16)
	inline := bytes.Repeat([]byte("SET key \"value\"\r\n"), 16)
	lim := DefaultLimits()
	for _, in := range [][]byte{data, inline} {
		var p Parser
		turn := func() {
			for _, part := range [][]byte{in[:len(in)/2+3], in[len(in)/2+3:]} { // cut within a command
				p.Wrote(copy(p.Buffer(1), part))
				for {
					if _, ok, err := p.Next(&lim); !ok || err != nil {
						break
					}
				}
				p.Release()
			}
		}
		turn()
		if n := testing.AllocsPerRun(1000, turn); n > 0.5 {
			t.Errorf("%.1f allocations for %d bytes", n, len(in))
		}
	}
}

func TestWriterDoesNotAllocate(t *testing.T) {
	w := Writer{RESP3: true}
	value := make([]byte, 64)
	write := func() {
		w.Buf = w.Buf[:0]
		w.Bulk(value)
		w.Double(1.5)
		w.Map(3)
		w.Error("ERR syntax error")
		w.Verbatim("txt", "hi")
	}
	write()
	if n := testing.AllocsPerRun(100, write); n > 0 {
		t.Errorf("%.1f allocations", n)
	}
}
