package config

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

var errNoMemory = errors.New("cannot tell this machine's memory")

// MachineMemory returns the bytes of memory that this process may use: the machine's, or less if its control group
// (v1 or v2), or one above it, says so. root is the root of the file system: os.DirFS("/").
//
// Linux: proc/meminfo; proc/self/cgroup names the group, sys/fs/cgroup holds its limits. In a container the named
// group may be hidden and its limit stand at the root of sys/fs/cgroup, so every folder up to there is asked.
// Elsewhere the system is asked.
func MachineMemory(root fs.FS) (int64, error) {
	total, err := totalMemory(root)
	if err != nil {
		return 0, err
	}
	for _, file := range limitFiles(root) {
		if limit, ok := readLimit(root, file); ok {
			total = min(total, limit)
		}
	}
	return total, nil
}

func totalMemory(root fs.FS) (int64, error) {
	info, err := fs.ReadFile(root, "proc/meminfo")
	if errors.Is(err, fs.ErrNotExist) {
		return systemMemory()
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNoMemory, err)
	}
	for line := range strings.Lines(string(info)) {
		rest, ok := strings.CutPrefix(line, "MemTotal:")
		if !ok {
			continue
		}
		words := strings.Fields(rest)
		if len(words) != 2 || words[1] != "kB" {
			break
		}
		n, err := strconv.ParseInt(words[0], 10, 64)
		if err != nil || n <= 0 || n > math.MaxInt64>>10 {
			break
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("%w: proc/meminfo has no MemTotal", errNoMemory)
}

// limitFiles names every file that may hold a limit for this process.
func limitFiles(root fs.FS) []string {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var files []string
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path, where v2 has hierarchy 0 and no controllers.
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch {
		case parts[0] == "0" && parts[1] == "":
			files = append(files, upwards("sys/fs/cgroup", parts[2], "memory.max")...)
			files = append(files, upwards("sys/fs/cgroup/unified", parts[2], "memory.max")...)
		case strings.Contains(","+parts[1]+",", ",memory,"):
			files = append(files, upwards("sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes")...)
		}
	}
	return files
}

// upwards lists name in the group's folder and in each above it, up to base.
func upwards(base, group, name string) []string {
	var files []string
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		files = append(files, path.Join(base, group, name))
		if group == "/" {
			return files
		}
	}
}

// readLimit reads one limit; "max", 0 and numbers beyond int64 are none.
func readLimit(root fs.FS, file string) (int64, bool) {
	text, err := fs.ReadFile(root, file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil && n > 0
}
