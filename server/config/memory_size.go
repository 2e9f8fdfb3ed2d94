package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// MemorySize is a number of bytes, and how it was given: as a number, or as so many percent of the machine.
type MemorySize struct {
	Bytes   int64
	Percent int // 0: the bytes were given
}

var errMemory = errors.New("argument must be a memory value")

var memoryUnits = []struct {
	suffix string
	bytes  int64
}{{"", 1}, {"b", 1}, {"k", 1000}, {"kb", 1 << 10}, {"m", 1e6}, {"mb", 1 << 20}, {"g", 1e9}, {"gb", 1 << 30}}

// parseMemory reads digits and a unit; 1k is 1000 and 1kb is 1024. Nothing at all is 0.
func parseMemory(s string) (int64, error) {
	digits := strings.TrimLeft(s, "0123456789")
	n := uint64(0)
	if len(digits) < len(s) {
		var err error
		if n, err = strconv.ParseUint(s[:len(s)-len(digits)], 10, 64); err != nil {
			return 0, errRange(0, int64(math.MaxInt64))
		}
	}
	for _, u := range memoryUnits {
		if strings.EqualFold(u.suffix, digits) {
			if n > uint64(math.MaxInt64/u.bytes) {
				return 0, errRange(0, int64(math.MaxInt64))
			}
			return int64(n) * u.bytes, nil
		}
	}
	return 0, errMemory
}

// formatMemory writes bytes in the greatest unit that divides them, as CONFIG REWRITE does.
func formatMemory(n int64) string {
	for _, u := range []struct {
		suffix string
		shift  uint
	}{{"gb", 30}, {"mb", 20}, {"kb", 10}} {
		if n >= 1<<u.shift && n&(1<<u.shift-1) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// memory is a number of bytes.
type memory struct{ low, high int64 }

func (k memory) parse(_ int64, in input) (int64, error) {
	n, err := parseMemory(in.args[0])
	if err != nil {
		return 0, err
	}
	if n < k.low || n > k.high {
		return 0, errRange(k.low, k.high)
	}
	return n, nil
}

func (memory) show(v int64) string { return strconv.FormatInt(v, 10) }

func (memory) file(v int64) []string { return []string{formatMemory(v)} }

// memoryShare is a number of bytes or a percentage of the machine's memory. CONFIG GET shows bytes, the file
// keeps the percentage.
type memoryShare struct{}

func (memoryShare) parse(_ MemorySize, in input) (MemorySize, error) {
	s, isPercent := strings.CutSuffix(in.args[0], "%")
	if !isPercent {
		n, err := parseMemory(s)
		return MemorySize{Bytes: n}, err
	}
	percent, err := parseInt(s)
	if err != nil {
		return MemorySize{}, errMemory
	}
	if percent < 1 || percent > 100 {
		return MemorySize{}, errors.New("percentage argument must be between 1 and 100")
	}
	if in.machine <= 0 {
		return MemorySize{}, errors.New("this machine's memory is not known: give a number of bytes")
	}
	return MemorySize{Bytes: in.machine / 100 * percent, Percent: int(percent)}, nil
}

func (memoryShare) show(v MemorySize) string { return strconv.FormatInt(v.Bytes, 10) }

func (memoryShare) file(v MemorySize) []string {
	if v.Percent > 0 {
		return []string{strconv.Itoa(v.Percent) + "%"}
	}
	return []string{formatMemory(v.Bytes)}
}

// memoryOrPercent is for inert directives that Redis gives in either form: the text is kept.
type memoryOrPercent struct{}

func (memoryOrPercent) parse(_ string, in input) (string, error) {
	if s, ok := strings.CutSuffix(in.args[0], "%"); ok {
		n, err := parseInt(s)
		if err != nil || n < 0 {
			return "", errors.New("argument must be a memory or percent value")
		}
		if n > 100 {
			return "", errors.New("percentage argument must be less or equal to 100")
		}
		return in.args[0], nil
	}
	n, err := parseMemory(in.args[0])
	if err != nil {
		return "", errors.New("argument must be a memory or percent value")
	}
	return strconv.FormatInt(n, 10), nil
}

func (memoryOrPercent) show(v string) string { return v }
