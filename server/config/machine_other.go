//go:build !darwin

package config

func systemMemory() (int64, error) { return 0, errNoMemory }
