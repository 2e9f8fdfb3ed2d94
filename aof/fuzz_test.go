package aof

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/larder-db/larder/aof/storetest"
)

const fuzzIncarnation = 0x1234567890abcdef

// fuzzSegment returns a segment's file with these bytes behind its header.
func fuzzSegment(body []byte) image {
	s := &segment{seq: 1, incarnation: fuzzIncarnation}
	data := make([]byte, segmentHeaderSize+len(body))
	copy(data, s.encodeHeader())
	copy(data[segmentHeaderSize:], body)
	return image{segmentName(1): data}
}

func sealedBeginning() []byte {
	buf := appendBeginning(nil, &beginning{start: 1, bootID: "boot"})
	seal(buf, segmentHeaderSize, fuzzIncarnation, segmentHeaderSize)
	return buf
}

// FuzzSegment reads any bytes as a segment.
func FuzzSegment(f *testing.F) {
	good := sealedBeginning()
	at := segmentHeaderSize + int64(len(good))
	entries := appendEntry(appendEntry(nil, 1, storetest.Entry(1, 1)), 1, storetest.Entry(2, 1))
	seal(entries, at, fuzzIncarnation, at)
	good = append(good, entries...)
	f.Add(good)
	f.Add(good[:len(good)-9])
	torn := slices.Clone(good)
	torn[100] ^= 1
	f.Add(torn)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		fs := fuzzSegment(body).mount(t, "", nil)
		ld, err := load(fs, testDir, openForReading(fs))
		defer ld.close()
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		for _, s := range ld.segments {
			if s.end > int64(segmentHeaderSize+len(body)) {
				t.Fatalf("records end at %d, behind the file", s.end)
			}
		}
	})
}

// FuzzRecord gives records of any kind and content valid checksums.
func FuzzRecord(f *testing.F) {
	f.Add(byte(kindEntry), byte(0), byte(0), uint64(1), uint64(1), uint64(1), uint32(2), []byte("some data"), []byte{})
	f.Add(byte(kindEntry), byte(0), byte(flagCompressed), uint64(1), uint64(1), uint64(1), uint32(0), []byte("\x80\x80\x80\x01xyz"), []byte{})
	f.Add(byte(kindEntry), byte(1), byte(flagAppendedAt), uint64(1), uint64(7), uint64(1), uint32(0), []byte("short"), []byte{})
	f.Add(byte(kindCarried), byte(0), byte(0), uint64(1), uint64(1), uint64(1), uint32(0), []byte{}, []byte{1, 2, 3})
	f.Add(byte(kindStart), byte(0), byte(0), uint64(1), uint64(9), uint64(1), uint32(0), []byte{}, []byte{})
	f.Add(byte(kindBegin), byte(0), byte(0), uint64(1), uint64(9), uint64(1), uint32(0), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, k, raftType, flags byte, shard, index, term uint64, extensions uint32, payload, behind []byte) {
		if k == 0 || k >= byte(kindLimit) || flags >= flagsLimit || len(payload) > 1<<16 {
			return
		}
		body := sealedBeginning()
		at := segmentHeaderSize + int64(len(body))
		r := record{kind: kind(k), raftType: raftType, flags: flags, shard: shard, index: index, term: term, extensions: extensions}
		one := finishRecord(append(beginRecord(nil, &r), payload...), 0)
		for range 2 {
			seal(one, at, fuzzIncarnation, at)
			body = append(body, one...)
			at += int64(len(one))
		}
		fs := fuzzSegment(append(body, behind...)).mount(t, "", nil)
		if err := Records(fs, testDir, func(uint64, *raft.Log) error { return nil }); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}

// FuzzEntry stores any entry and reads it back.
func FuzzEntry(f *testing.F) {
	f.Add([]byte("data"), []byte("extensions"), int64(5), uint8(0), 1)
	f.Add([]byte("compressible"), []byte{}, int64(0), uint8(3), 1000)
	f.Fuzz(func(t *testing.T, data, extensions []byte, at int64, raftType uint8, repeat int) {
		want := &raft.Log{Index: 3, Term: 4, Type: raft.LogType(raftType), Data: bytes.Repeat(data, max(0, repeat%2000)), Extensions: extensions}
		if at != 0 {
			want.AppendedAt = timeAt(at)
		}
		if len(want.Data) > 1<<20 {
			return
		}
		buf := appendEntry(nil, 9, want)
		if len(buf) > encodedBound(want) {
			t.Fatalf("%d bytes, bound %d", len(buf), encodedBound(want))
		}
		seal(buf, 4096, fuzzIncarnation, 4096)
		r, ok := decodeRecord(buf, 4096, fuzzIncarnation)
		if !ok || r.shard != 9 {
			t.Fatal("the record does not check out")
		}
		if _, ok := decodeRecord(buf, 4104, fuzzIncarnation); ok {
			t.Fatal("the record checks out at another offset")
		}
		if _, ok := decodeRecord(buf, 4096, fuzzIncarnation+1); ok {
			t.Fatal("the record checks out in another life")
		}
		var got raft.Log
		must(t, decodeEntry(&r, &got))
		must(t, storetest.Same(&got, want))
	})
}

// BenchmarkOpen reads back a log of a hundred thousand entries.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	opts := Options{FS: vfs.Default, Dir: dir, Policy: No}
	l := mustOpen(b, opts)
	logs := batch(1, 1000, 1)
	for i := range uint64(100) {
		for j, log := range logs {
			log.Index = i*1000 + uint64(j) + 1
		}
		must(b, l.Shard(1).StoreLogs(logs))
	}
	b.SetBytes(l.Shard(1).Bytes())
	must(b, l.Close())
	for b.Loop() {
		ld, err := load(opts.FS, dir, openForReading(opts.FS))
		must(b, err)
		ld.close()
	}
}
