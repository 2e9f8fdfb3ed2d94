//go:build !race

package keyspace

const raceFactor = 1
