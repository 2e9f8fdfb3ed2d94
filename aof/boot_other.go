//go:build !linux

package aof

// systemBootID is unknown here: every unclean stop then counts as a loss of power, which is safe.
func systemBootID() string { return "" }
