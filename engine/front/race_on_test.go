//go:build race

package front

// The race detector makes everything some ten times slower: long random runs are cut by this factor under it.
const raceFactor = 10
