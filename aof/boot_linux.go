package aof

import (
	"os"
	"strings"
)

// systemBootID returns the random number that Linux draws at every boot, or "" if it is hidden.
func systemBootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(id) > maxBootIDLength {
		return ""
	}
	return strings.TrimSpace(string(id))
}
