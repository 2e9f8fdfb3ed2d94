//go:build unix

package front

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// reserve asks for n bytes of address space; memory is taken only for pages that are touched.
func reserve(n int64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("front: reserve %d bytes of address space: %w", n, err)
	}
	return b, nil
}

// unreserve gives the whole reservation back.
func unreserve(b []byte) error { return unix.Munmap(b) }

// discard gives the pages of b back to the system; they read as zero afterwards. b starts and ends at page bounds.
func discard(b []byte) error { return unix.Madvise(b, unix.MADV_DONTNEED) }
