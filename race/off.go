//go:build !race

// Package race tells tests whether the race detector runs, so that they do less under it.
package race

// Enabled says that the race detector runs.
const Enabled = false

// Factor is by how much random runs are cut.
const Factor = 1
