//go:build race

package engine

// The race detector makes everything some ten times slower: long random runs are cut by this factor under it.
const raceFactor = 10
