//go:build race

package race

// Enabled says that the race detector runs.
const Enabled = true

// Factor is by how much random runs are cut. Everything is some ten times slower, and pools forget at random.
const Factor = 10
