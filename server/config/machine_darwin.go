package config

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func systemMemory() (int64, error) {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNoMemory, err)
	}
	return int64(n), nil
}
