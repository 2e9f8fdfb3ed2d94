// Package aof is a node's log: one append-only sequence of records, kept in segment files, that holds
// the Raft entries of all the node's shards. Each shard sees its part through a ShardLog, which is a
// monotonic raft.LogStore.
//
// # What must be true
//
//   - L1 An acknowledged entry survives what its policy promises: stable storage (Always), the operating
//     system (EverySec, No). The write system call is done before StoreLogs returns, whatever the policy.
//   - L2 Records are appended by one write per call under one lock; syncs are shared. Whoever needs a sync
//     and finds none running does it for everybody who has written so far; the others wait for it.
//   - L3 A segment is synced completely before the first record goes into its successor. So only the last
//     segment can have a torn tail.
//   - L4 A segment's bytes are only ever read with the incarnation of its header, a random number that is
//     drawn anew each time the file is put to use and that seeds every checksum together with the record's
//     own offset. Bytes of an earlier life, or copies of a record inside a value, do not check out.
//   - L5 Segments are dropped from the front only, after a synced record says where the log now starts.
//     From there to the end their numbers have no gap; a missing one is damage.
//   - L6 A failed write or sync ends the log. It is never tried again, since the system may have dropped
//     the pages that it could not write.
//
// # The torn tail
//
// Every record says up to which offset its segment was synced when it was written (its voucher). Reading
// stops at the first record that does not check out. If any later header in the segment checks out and
// vouches for an offset beyond that place, synced bytes were lost: that is damage, and the log refuses to
// open. Otherwise the rest was never synced, nobody was told that it was, and it is cut off. When the log
// falls idle, and when it is closed, an empty record vouches for what came last.
//
// Each time a log is opened it starts a new segment, whose first record says where the one before
// ended; what was cut off once stays cut off.
//
// # Files
//
// A folder holds NNNNNNNNNN.log (segments, numbered without gaps in the order of the log) and
// spare-NNNNNNNNNN (files to be used as segments later, contents without meaning). A file gets
// its name as a segment only when it is filled (with zeros, or with an earlier life's bytes), has its header,
// and both are synced; so a bad header in a segment is always damage.
//
// # Segment
//
//	offset      size
//	0           8      magic "LARDRAOF"
//	8           4      version of the format (1)
//	12          4      number of the segment
//	16          8      incarnation
//	24          8      size of the file when it got this header; a shorter file is damaged
//	32          4      CRC-32C of bytes 0 to 31
//	4096               records
//
// # Record
//
// Records begin at multiples of 8 bytes. Numbers are little endian.
//
//	offset      size
//	0           4      CRC-32C of bytes 4 to 47, seeded with incarnation and offset in the file
//	4           4      CRC-32C of the payload with its padding
//	8           4      length of the payload
//	12          4      voucher: offset up to which the segment was synced, in units of 8 bytes
//	16          8      shard
//	24          8      index
//	32          8      term
//	40          4      length of the entry's extensions
//	44          1      kind
//	45          1      Raft's type of the entry
//	46          1      flags: 1 the data is compressed (s2), 2 the payload begins with a time
//	47          1      zero
//	48                 payload: time (8 bytes, Unix nanoseconds), extensions, data; zeros up to a multiple of 8
//
// The header has a checksum of its own so that a search for vouchers behind a torn record costs time
// proportional to the segment, whatever its values imitate.
//
// Kinds: an entry; a carried entry (a copy of an old one, written so that its segment can go); a stand-in
// (the shard is emptied and its log goes on behind this index and term); truncation of a suffix; cut of a
// prefix; beginning of a segment; new start of the log; change of the log's state; voucher; clean close.
//
// # Goroutines
//
// The keeper (keeper.go) prepares the next segment ahead of need and retires those that nobody needs. The
// ticker (ticker.go) syncs once a second under EverySec and writes vouchers. Both are started by Open and
// waited for by Close. Appends and syncs run on the goroutines of the callers.
package aof
