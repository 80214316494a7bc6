package balance

import (
	"math/bits"
	"sort"
)

// Split is a random choice by weight, without memory: the share of a route's
// upstreams. The zero value has nothing to pick.
type Split struct {
	// Immutable. sums nil: only is the one index with a weight, plus one; 0 if
	// there is none.
	sums []uint64
	only int32
}

// NewSplit prepares the choice among weights. A single index with a weight costs
// no memory.
func NewSplit(weights []uint32) Split {
	positive, last := 0, -1
	for i, w := range weights {
		if w > 0 {
			positive, last = positive+1, i
		}
	}
	if positive <= 1 {
		return Split{only: int32(last + 1)}
	}
	sums := make([]uint64, len(weights))
	sum := uint64(0)
	for i, w := range weights {
		sum += uint64(w)
		sums[i] = sum
	}
	return Split{sums: sums}
}

// linearSplit is up to how many targets a scan beats a binary search.
const linearSplit = 8

// Pick chooses with 64 random bits. It returns -1 if no index has a weight;
// compile refuses such a route.
func (s *Split) Pick(rnd uint64) int {
	n := len(s.sums)
	if n == 0 {
		return int(s.only) - 1
	}
	at, _ := bits.Mul64(rnd, s.sums[n-1])
	if n <= linearSplit {
		for i, sum := range s.sums {
			if at < sum {
				return i
			}
		}
	}
	return sort.Search(n, func(i int) bool { return at < s.sums[i] })
}
