// Package store is a shard's sorted levels: the whole shard, exactly as it was at one log index A, in a Pebble instance.
//
// Invariants:
//
//   - The store changes only by a Checkpoint: one atomic ingestion of sorted tables, which hold A itself (the meta
//     record); or as a whole, by a Replacement: the same, with all that was there before excised in the same version edit.
//     There is no write-ahead log, and the memtable stays empty.
//   - After a crash at any point the store is that of some completed checkpoint or replacement, and of the last one whose
//     Commit returned nil, or a later one.
//   - Damage is reported with the file's name; it is never skipped, and never taken for an older or an empty store.
//
// Stored keys, integers big-endian, so that bytes sort as positions do:
//
//	0x10 name space(4) slot(2) 0x00 hash(6) key                  a key's record; the value is the front's business
//	0x10 name space(4) slot(2) hash(8)                           a node of a large collection; the name space has bit Nodes
//	0x20 deadline(8, sign flipped) name space(4) slot(2) hash(6) the deadline index; no value
//	0x30                                                         the meta record
//
// The meta record comes last because it is known last: a small checkpoint is one table, with one sync.
//
// A checkpoint's tables must not overlap, range deletions included. So a drop is cut wherever a table ends, and each
// piece is written into the table whose span it falls in (drops, tables). All records of a table get one sequence
// number in the ingestion, and a range deletion hides only what is strictly older: a Set survives a drop that covers it.
//
// Two things guard against what Pebble takes silently. A MANIFEST is read up to its first bad record, so one that has
// lost its end looks like an older store, and tables that it does not know are removed: a marker file beside it names
// the index that the store must have reached, and nothing is removed before it has been compared (files, Store.check).
// And errors that Pebble does not come back from arrive at Logger.Fatalf, which must not return (errors).
//
// Choices, as measured on two cores with records of 11 + 64 bytes, half of the value compressible:
//
//   - Snappy: a million records build in 0.39 s to 55 bytes each, and a Get from a small cache takes 6.1 µs. No
//     compression: 0.37 s, 88 bytes, 5.2 µs. Zstd: 0.65 s, 48 bytes, 9.2 µs. MinLZ: 0.37 s, 53 bytes, 6.7 µs.
//   - Blocks of 4 KiB: with 16 KiB a Get from a small cache takes 20 µs, and building is 15 % faster.
//   - Lookups go through SeekPrefixGE with the filters of the last level: a key that is not there costs 1.3 µs. An
//     iterator per lookup costs 0.5 µs of it; one that is kept would also keep replaced tables on disk.
//   - Views are plain snapshots: eventually-file-only ones keep whole tables.
//   - Three million keys cost 4 MB of resident memory and a full block cache of 8 MiB; opening them takes 5 ms.
//   - One compaction at a time, which lets others run between blocks.
//
// Goroutines are Pebble's own; Close waits for them.
package store
