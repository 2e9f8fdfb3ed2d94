package main

import (
	"fmt"
	"strings"
)

// slotCount is how many hash slots there are.
const slotCount = 16384

// slotRange is the slots from From to To, both included.
type slotRange struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// slotOf is the slot of a key without a hash tag: its CRC16 (XMODEM), as the Redis Cluster specification has it.
func slotOf(key []byte) int {
	crc := uint16(0)
	for _, c := range key {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slotCount
}

func holds(ranges []slotRange, slot int) bool {
	for _, r := range ranges {
		if r.From <= slot && slot <= r.To {
			return true
		}
	}
	return false
}

// halved is the first half of the slots, and the rest.
func halved(ranges []slotRange) (first, rest []slotRange) {
	left := 0
	for _, r := range ranges {
		left += r.To - r.From + 1
	}
	left /= 2
	for _, r := range ranges {
		size := r.To - r.From + 1
		if take := min(size, left); take > 0 {
			first = append(first, slotRange{r.From, r.From + take - 1})
			r.From += take
			left -= take
		}
		if r.From <= r.To {
			rest = append(rest, r)
		}
	}
	return first, rest
}

// slotText writes ranges as 0-99,200-299.
func slotText(ranges []slotRange) string {
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = fmt.Sprintf("%d-%d", r.From, r.To)
	}
	return strings.Join(texts, ",")
}

// keysIn finds the numbers of the first n keys whose slots are in the ranges.
func keysIn(ranges []slotRange, n int, key func(int) []byte) []int {
	wanted := make([]bool, slotCount)
	for slot := range wanted {
		wanted[slot] = holds(ranges, slot)
	}
	numbers := make([]int, 0, n)
	for i := 0; len(numbers) < n; i++ {
		if wanted[slotOf(key(i))] {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// listed is the key function of chosen numbers.
func listed(numbers []int, key func(int) []byte) func(int) []byte {
	return func(i int) []byte { return key(numbers[i]) }
}
