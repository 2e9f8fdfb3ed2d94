package aof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/larder-db/larder/aof/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDir = "log"

// drawn counts incarnations over all logs: a file that is opened again must not meet its old one.
var drawn atomic.Uint64

// testOptions are small and under the test's control: nothing ticks on its own, and a failure is recorded.
func testOptions(fs vfs.FS) (Options, *fatality) {
	f := new(fatality)
	return Options{
		FS:          fs,
		Dir:         testDir,
		SegmentSize: minSegmentSize,
		Ticks:       make(chan time.Time),
		BootID:      "boot-1",
		Fatal:       f.record,
		Random:      func() uint64 { return drawn.Add(1) * 0x9e3779b97f4a7c15 },
	}, f
}

type fatality struct {
	sync.Mutex
	errs []error
}

func (f *fatality) record(err error) {
	f.Lock()
	defer f.Unlock()
	f.errs = append(f.errs, err)
}

func (f *fatality) all() []error {
	f.Lock()
	defer f.Unlock()
	return slices.Clone(f.errs)
}

func mustOpen(t testing.TB, opts Options) *Log {
	t.Helper()
	l, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settle waits until the keeper has nothing left to do.
func (l *Log) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.mu.failed == nil && (l.shouldPrepareLocked() || l.mu.retire || l.mu.keeping) {
		l.work.Signal()
		l.changed.Wait()
	}
}

// entry is determined by index and term. Its data does not compress, and its size varies, up to more than a segment.
func entry(index, term uint64) *raft.Log {
	log := storetest.Entry(index, term)
	rng := rand.New(rand.NewPCG(index, term))
	size := rng.IntN(600)
	switch index % 37 {
	case 11:
		size = 5000
	case 29:
		size = 20_000
	}
	log.Data = make([]byte, size)
	for i := range log.Data {
		log.Data[i] = byte(rng.Uint32())
	}
	return log
}

func batch(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for index := first; index <= last; index++ {
		logs = append(logs, entry(index, term))
	}
	return logs
}

// state is what a shard's log holds: entry i for first <= i <= last, of term terms[i].
type state struct {
	first, last uint64
	terms       []uint64
}

func (s state) String() string { return fmt.Sprintf("[%d..%d]", s.first, s.last) }

func (s state) stored(first, last, term uint64) state {
	if s.last == 0 {
		s.first = first
	}
	s.terms = slices.Clone(s.terms)
	for index := first; index <= last; index++ {
		for uint64(len(s.terms)) <= index {
			s.terms = append(s.terms, 0)
		}
		s.terms[index] = term
	}
	s.last = last
	return s
}

func (s state) truncated(from uint64) state {
	if s.last = from - 1; s.last < s.first {
		return state{terms: s.terms}
	}
	return s
}

func (s state) cut(below uint64) state {
	s.first = max(s.first, below)
	return s
}

func (s state) standIn(index, term uint64) state {
	s = state{terms: s.terms}.stored(index, index, standInTerm+term)
	return s
}

// standInTerm marks, in a state, the term of a stand-in.
const standInTerm = 1 << 32

func (s state) want(index uint64) *raft.Log {
	term := s.terms[index]
	if term >= standInTerm {
		return &raft.Log{Index: index, Term: term - standInTerm, Type: raft.LogNoop}
	}
	return entry(index, term)
}

// matches returns an error if the shard's log is not in the state. A prefix that was cut may be there again.
func (s state) matches(log *ShardLog) error {
	first, _ := log.FirstIndex()
	last, _ := log.LastIndex()
	if last != s.last || first > s.first || (s.last > 0) != (first > 0) {
		return fmt.Errorf("the log has [%d..%d], want %v", first, last, s)
	}
	for index := first; index > 0 && index <= last; index++ {
		var got raft.Log
		if err := log.GetLog(index, &got); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		if err := storetest.Same(&got, s.want(index)); err != nil {
			return err
		}
	}
	return nil
}

// image is the contents of a folder, by file name.
type image map[string][]byte

func readImage(t testing.TB, fs vfs.FS) image {
	t.Helper()
	names, err := fs.List(testDir)
	must(t, err)
	im := make(image)
	for _, name := range names {
		f, err := fs.Open(fs.PathJoin(testDir, name))
		must(t, err)
		im[name], err = io.ReadAll(f)
		must(t, errors.Join(err, f.Close()))
	}
	return im
}

// mount returns a file system with the image's files. A changed file stands in for the image's.
func (im image) mount(t testing.TB, name string, changed []byte) vfs.FS {
	t.Helper()
	fs := vfs.NewMem()
	must(t, fs.MkdirAll(testDir, 0o755))
	for n, data := range im {
		if n == name {
			data = changed
		}
		if data != nil {
			putFile(t, fs, n, data)
		}
	}
	return fs
}

func putFile(t testing.TB, fs vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fs.Create(fs.PathJoin(testDir, name), vfs.WriteCategoryUnspecified)
	must(t, err)
	_, err = f.Write(slices.Clone(data))
	must(t, errors.Join(err, f.Close()))
}

// incarnationOf reads a segment's header from its bytes.
func incarnationOf(data []byte) uint64 { return binary.LittleEndian.Uint64(data[16:]) }

// resum corrects the checksum of a segment's header.
func resum(header []byte) []byte {
	binary.LittleEndian.PutUint32(header[32:], crc32.Checksum(header[:32], castagnoli))
	return header
}

func timeAt(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds) }
