package store

import (
	"math"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
)

const (
	formatVersion = pebble.FormatNewest
	blockSize     = 4 << 10
	filterBits    = 10
	openTables    = 512
)

// compression of all blocks.
var compression = sstable.SnappyCompression

// pebbleOptions are chosen for a store that is only read and ingested into.
func (s *Store) pebbleOptions(cache *Cache) *pebble.Options {
	o := &pebble.Options{
		FS:                          s.fs,
		Cache:                       cache.blocks,
		Comparer:                    comparer,
		Logger:                      pebbleLogger{s},
		EventListener:               s.events(),
		FormatMajorVersion:          formatVersion,
		DisableWAL:                  true,
		MemTableSize:                256 << 10, // never written to
		MemTableStopWritesThreshold: 2,
		MaxOpenFiles:                openTables,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       math.MaxInt32, // there are no writes to stop; Busy is the gate
		LBaseMaxBytes:               64 << 20,
		MaxManifestFileSize:         1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
	}
	o.Experimental.CompactionScheduler = &s.compactions
	o.Local.ReadaheadConfig = objstorageprovider.NewReadaheadConfig()
	// A reader who turns out to go on and on reads ahead by calls of its own. So a file that is opened for sequential reads is
	// opened by a compaction, and may wait: see files.Open.
	o.Local.ReadaheadConfig.Set(objstorageprovider.FadviseSequential, objstorageprovider.SysReadahead)
	o.Experimental.FileCacheShards = 2
	o.Experimental.ReadSamplingMultiplier = -1 // reads must not cause compactions: Get opens many iterators
	o.Experimental.SpanPolicyFunc = valuesInPlace
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = s.options.TableSize
	}
	for i := range o.Levels {
		o.Levels[i] = pebble.LevelOptions{
			BlockSize:      blockSize,
			IndexBlockSize: 32 << 10,
			FilterPolicy:   bloom.FilterPolicy(filterBits),
			Compression:    func() *sstable.CompressionProfile { return compression },
		}
	}
	return o
}

// valuesInPlace keeps Pebble from taking records that share a prefix for versions of one key, of which all but the
// first may be put away: here they are different keys, or neighbouring chunks.
func valuesInPlace([]byte) (policy pebble.SpanPolicy, end []byte, err error) {
	return pebble.SpanPolicy{
		DisableValueSeparationBySuffix: true,
		ValueStoragePolicy:             pebble.ValueStorageLowReadLatency,
	}, nil, nil
}

// events are what an operator should hear of. Damage is reported where it is met; compactions meet it too.
func (s *Store) events() *pebble.EventListener {
	log := s.options.Logger.With("folder", s.options.Dir)
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			log.Error("compaction failed, it will be tried again", "error", s.explain("compact", err))
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			log.Error("a file is damaged: "+advice, "file", info.Path, "error", info.Details.Error())
		},
	}
}
