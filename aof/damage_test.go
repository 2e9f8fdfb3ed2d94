package aof

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/larder-db/larder/race"
)

// smallLog builds a log over two segments and returns its files and the state of shard 1, which was truncated, cut
// and carried. An entry of shard 2 keeps the first segment.
func smallLog(t *testing.T, clean bool) (image, state) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	opts, _ := testOptions(mem)
	l := mustOpen(t, opts)
	s := l.Shard(1)
	must(t, l.Shard(2).StoreLog(entry(11, 1)))
	must(t, s.StoreLogs(batch(1, 4, 1)))
	must(t, s.DeleteRange(4, 4))
	must(t, s.StoreLogs(batch(4, 6, 2)))
	st := state{}.stored(1, 3, 1).stored(4, 6, 2)
	must(t, l.Close())
	l = mustOpen(t, opts)
	s = l.Shard(1)
	must(t, s.CutBelow(3))
	must(t, s.StoreLog(entry(7, 2)))
	l.settle() // so that the successor of the last segment is there
	st = st.stored(7, 7, 2).cut(3)
	if !clean {
		im := readImage(t, mem)
		must(t, l.Close())
		return im, st
	}
	must(t, l.Close())
	return readImage(t, mem), st
}

// loadState reads the folder and compares shard 1 with the state.
func loadState(fs vfs.FS, st state) error {
	ld, err := load(fs, testDir, openForReading(fs))
	defer ld.close()
	if err != nil {
		return err
	}
	return st.matches(newShardLog(nil, 1, *ld.shard(1)))
}

// TestFlippedByte flips each byte of a log in turn. What was vouched for is never lost without a word.
func TestFlippedByte(t *testing.T) {
	for _, clean := range []bool{true, false} {
		im, st := smallLog(t, clean)
		must(t, loadState(im.mount(t, "", nil), st))
		names := slices.Sorted(maps.Keys(im))
		last := ""
		for _, name := range names {
			if _, ok := parseSegmentName(name); ok && !isUnbegun(t, im, name) {
				last = name
			}
		}
		for _, name := range names {
			data := im[name]
			if _, ok := parseSegmentName(name); !ok {
				continue
			}
			tail := vouchedUpTo(im, name)
			for offset := range data {
				if offset > segmentHeaderContent && offset < segmentHeaderSize && offset%512 != 0 || offset > int(tail)+3000 && offset%512 != 0 {
					continue // bytes that are never read, but for a sample
				}
				if race.Enabled && offset%16 != 4 {
					continue
				}
				data[offset] ^= 0x40
				err := loadState(im.mount(t, name, data), st)
				data[offset] ^= 0x40
				switch {
				case err == nil || errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "format version"):
				case name == last && int64(offset) >= tail && !clean:
					// The last entry, and the cut before it, had no voucher yet: they are cut off.
					data[offset] ^= 0x40
					must(t, loadState(im.mount(t, name, data), st.truncated(st.last)))
					data[offset] ^= 0x40
				default:
					t.Fatalf("clean %v, %s, offset %d: %v", clean, name, offset, err)
				}
			}
		}
	}
}

func isUnbegun(t *testing.T, im image, name string) bool {
	t.Helper()
	_, ok := decodeHeader(im[name][segmentHeaderSize:], segmentHeaderSize, incarnationOf(im[name]))
	return !ok
}

// lastRecord returns where the last record of a segment begins.
func lastRecord(t *testing.T, im image, name string) int64 {
	t.Helper()
	data, last := im[name], int64(segmentHeaderSize)
	for offset := last; ; {
		r, ok := decodeHeader(data[offset:], offset, incarnationOf(data))
		if !ok {
			return last
		}
		last = offset
		offset += r.size()
	}
}

// vouchedUpTo returns the offset up to which a segment's records vouch.
func vouchedUpTo(im image, name string) int64 {
	data, vouched := im[name], int64(segmentHeaderSize)
	for offset := vouched; ; {
		r, ok := decodeHeader(data[offset:], offset, incarnationOf(data))
		if !ok {
			return vouched
		}
		vouched = max(vouched, r.vouched)
		offset += r.size()
	}
}

// TestTruncatedFile shortens each file of a closed log, and removes it.
func TestTruncatedFile(t *testing.T) {
	im, st := smallLog(t, true)
	for name, data := range im {
		if _, ok := parseSegmentName(name); !ok || isUnbegun(t, im, name) {
			continue
		}
		for size := 0; size < len(data); size += 500 {
			if err := loadState(im.mount(t, name, data[:size]), st); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s with %d of %d bytes: %v", name, size, len(data), err)
			}
		}
		if err := loadState(im.mount(t, name, nil), st); !errors.Is(err, ErrDamaged) {
			t.Fatalf("without %s: %v", name, err)
		}
	}
}

// TestUnsyncedPagesInAnyOrder writes without syncing and lets every subset of the pages written since the last
// sync reach the disk. What was synced is there; behind it, whole entries in order, and nothing else.
func TestUnsyncedPagesInAnyOrder(t *testing.T) {
	mem := vfs.NewCrashableMem()
	opts, _ := testOptions(mem)
	opts.Policy, opts.SegmentSize = No, 64<<10
	l := mustOpen(t, opts)
	l.settle()
	s := l.Shard(1)
	must(t, s.StoreLogs(batch(1, 3, 1)))
	must(t, l.Sync())
	before := readImage(t, mem)
	must(t, s.StoreLogs(batch(4, 8, 1)))
	must(t, s.DeleteRange(8, 8))
	must(t, s.StoreLogs(batch(8, 40, 2)))
	after := readImage(t, mem)
	must(t, l.Close())

	states := []state{state{}.stored(1, 3, 1)}
	for last := uint64(4); last <= 8; last++ {
		states = append(states, states[0].stored(4, last, 1))
	}
	for last := uint64(8); last <= 40; last++ {
		states = append(states, states[4].stored(8, last, 2))
	}
	const page = 4096
	name := segmentName(1)
	var dirty []int
	for p := 0; p < len(after[name]); p += page {
		if !slices.Equal(before[name][p:p+page], after[name][p:p+page]) {
			dirty = append(dirty, p)
		}
	}
	if len(dirty) < 6 || len(dirty) > 13 {
		t.Fatalf("%d pages", len(dirty))
	}
	found := make(map[uint64]bool)
	for subset := range 1 << len(dirty) {
		data := slices.Clone(before[name])
		for i, p := range dirty {
			if subset>>i&1 == 1 {
				copy(data[p:p+page], after[name][p:p+page])
			}
		}
		fs := before.mount(t, name, data)
		ld, err := load(fs, testDir, openForReading(fs))
		if err != nil {
			t.Fatalf("pages %b: %v", subset, err)
		}
		st, err := oneOf(newShardLog(nil, 1, *ld.shard(1)), states)
		ld.close()
		if err != nil {
			t.Fatalf("pages %b: %v", subset, err)
		}
		found[st.last] = true
	}
	if !found[40] || len(found) < 3 {
		t.Fatalf("the subsets end at %v", found)
	}
}

// TestVoucher shows the difference that a voucher makes: without it a flipped byte of the last entry cuts it, with it the
// log refuses to open. The voucher is written when the log falls idle, and only once.
func TestVoucher(t *testing.T) {
	mem := vfs.NewMem()
	opts, _ := testOptions(mem)
	l := mustOpen(t, opts)
	defer l.Close()
	st := state{}.stored(1, 3, 1)
	must(t, l.Shard(1).StoreLogs(batch(1, 2, 1)))
	must(t, l.Shard(1).StoreLog(entry(3, 1)))
	l.onTick()
	l.settle()
	im := readImage(t, mem)
	name := segmentName(1)
	offset := lastRecord(t, im, name)
	flipped := slices.Clone(im[name])
	flipped[offset+20] ^= 1
	must(t, loadState(im.mount(t, name, flipped), st.truncated(3)))

	l.onTick()
	im = readImage(t, mem)
	if lastRecord(t, im, name) <= offset {
		t.Fatal("no voucher was written")
	}
	copy(im[name][offset:], flipped[offset:offset+40])
	if err := loadState(im.mount(t, "", nil), st); !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	written := l.Stats().Written
	for range 5 {
		l.onTick()
	}
	if got := l.Stats().Written; got != written {
		t.Fatalf("an idle log grew by %d bytes", got-written)
	}
}

// TestOldRecordsBehindTheTail fills a recycled segment anew with records of the same sizes, so that behind the new
// tail an old record begins exactly where the next new one would. It must not be taken for it.
func TestOldRecordsBehindTheTail(t *testing.T) {
	mem := vfs.NewCrashableMem()
	opts, _ := testOptions(mem)
	l := mustOpen(t, opts)
	s := l.Shard(1)
	same := func(index uint64) error {
		log := entry(1, 1)
		log.Index, log.Data, log.Extensions = index, []byte("of the same size"), nil
		return s.StoreLog(log)
	}
	index := uint64(0)
	for l.currentLocked().seq < 5 {
		index++
		must(t, same(index))
		l.settle()
	}
	must(t, s.CutBelow(index))
	l.settle()
	current := l.currentLocked().seq
	for l.currentLocked().seq < current+3 {
		index++
		must(t, same(index))
		l.settle()
	}
	for range 5 {
		index++
		must(t, same(index))
	}
	path, end := segmentName(l.currentLocked().seq), l.currentLocked().end
	im := readImage(t, mem)
	if im[path][end+44] != byte(kindEntry) {
		t.Fatal("there is no old record behind the tail: this test shows nothing")
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	must(t, l.Close())
	opts.FS = crashed
	l = mustOpen(t, opts)
	defer l.Close()
	if last, _ := l.Shard(1).LastIndex(); last != index {
		t.Fatalf("last entry %d, want %d", last, index)
	}
}

// TestValueThatImitatesARecord stores a copy of the log's own last record as a value, at the right alignment, behind
// which the log is torn.
func TestValueThatImitatesARecord(t *testing.T) {
	mem := vfs.NewMem()
	opts, _ := testOptions(mem)
	opts.Policy = No
	l := mustOpen(t, opts)
	l.settle()
	s := l.Shard(1)
	must(t, s.StoreLogs(batch(1, 2, 1)))
	must(t, l.Sync())
	must(t, s.StoreLog(entry(3, 1)))
	im := readImage(t, mem)
	name := segmentName(1)
	offset := lastRecord(t, im, name)
	imitation := entry(4, 1)
	imitation.Extensions = nil
	imitation.Data = slices.Clone(im[name][offset:l.currentLocked().end])
	must(t, s.StoreLog(imitation))
	im = readImage(t, mem)
	must(t, l.Close())
	torn := slices.Clone(im[name])
	clear(torn[offset : offset+8])
	clear(torn[l.currentLocked().end:])
	must(t, loadState(im.mount(t, name, torn), state{}.stored(1, 2, 1)))
}

// TestUnknownVersion refuses a format from the future with its own words.
func TestUnknownVersion(t *testing.T) {
	s := &segment{seq: 1, path: testDir + "/" + segmentName(1)}
	header := s.encodeHeader()
	header[8] = 9
	mem := vfs.NewMem()
	must(t, mem.MkdirAll(testDir, 0o755))
	putFile(t, mem, segmentName(1), resum(header))
	if _, err := load(mem, testDir, openForReading(mem)); err == nil || !strings.Contains(err.Error(), "format version 9") {
		t.Fatalf("got %v", err)
	}
}
