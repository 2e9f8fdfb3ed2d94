//go:build linux || darwin

package server

import "golang.org/x/sys/unix"

// raiseFileLimit raises the number of files that this process may open to wanted, or as far as it may, and returns what
// it then is.
func raiseFileLimit(wanted uint64) (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Cur >= wanted {
		return limit.Cur, nil
	}
	for _, raised := range []unix.Rlimit{
		{Cur: wanted, Max: max(limit.Max, wanted)}, // beyond the hard limit only the superuser may go
		{Cur: min(wanted, limit.Max), Max: limit.Max},
	} {
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			return raised.Cur, nil
		}
	}
	return limit.Cur, nil
}
