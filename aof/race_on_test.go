//go:build race

package aof

// raceEnabled: the race detector makes everything slower, and pools forget at random.
const raceEnabled = true
