// Package snapshot is the portable form of a shard: everything that a completed checkpoint holds, as one stream. It goes to
// followers that need more than the log still has.
//
// A stream is never used before all of it has been checked: Reader gives a record only once its frame's checksum is right,
// and says io.EOF only once counts and digest are. Who stages what it reads decides at io.EOF. Whatever bytes come, Reader
// ends with an error or io.EOF, and holds one frame and one record at a time.
//
// Layout; integers are little-endian unless they are uvarints:
//
//	magic     8 bytes   "LARDSNAP"
//	version   1 byte    1
//	frames:
//	  kind    1 byte    1 header, 2 records, 3 trailer; bit 7: what it holds goes on in the next frame
//	  raw     4 bytes   length of what it holds, at most 1 MiB
//	  packed  4 bytes   length of what follows
//	  check   4 bytes   CRC-32C over the frame's number (8 bytes, from 0), kind, raw, packed and what follows
//	  zstd frame
//
//	header    cluster: length, bytes; shard; seed (8 bytes); index; term; configuration index;
//	          configuration: length, bytes; state: the rest
//	records   key: length, bytes; value: length, bytes; and so on, in the store's order
//	trailer   records, bytes of keys and values; digest (16 bytes)
//
// One header, frames of records that hold whole ones (a record that is longer than a frame goes on), one trailer, and the
// end. The digest is xxh3 with 128 bits over what the frames of records hold. Keys and values are those of engine/store,
// whose layout never changes; the state is the key space's, with a version of its own.
package snapshot
