package keyspace

import (
	"bytes"
	"errors"
	"testing"

	"github.com/larder-db/larder/engine/front"
	"github.com/larder-db/larder/engine/value"
)

// FuzzRecord: any bytes decode to an error or to what encodes to the same value, kind and deadline.
func FuzzRecord(f *testing.F) {
	f.Add(appendRecord(nil, front.Item{Kind: value.String, Value: []byte("text")}))
	f.Add(appendRecord(nil, front.Item{Kind: value.String, Expire: -1}))
	f.Add([]byte{expireFlag, 1, 2, 3})
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := decodeRecord(b)
		if err != nil {
			if !errors.Is(err, ErrState) {
				t.Fatalf("an error without its sentinel: %v", err)
			}
			return
		}
		again, err := decodeRecord(appendRecord(nil, it))
		if err != nil || again.Kind != it.Kind || again.Enc != it.Enc || again.Expire != it.Expire || !bytes.Equal(again.Value, it.Value) {
			t.Fatalf("%+v goes round as %+v, %v", it, again, err)
		}
	})
}
