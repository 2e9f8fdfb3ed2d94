//go:build !race

package front

const raceFactor = 1
