package loadgen

import (
	"math/bits"
	"time"
)

const (
	// subBits gives each doubling 128 buckets: values are told to 0.8 %.
	subBits = 7
	// Durations up to 2^40 ns, 18 minutes, have buckets; longer ones the last.
	maxBits = 40

	buckets = (maxBits - subBits + 1) << subBits
)

// Histogram counts durations in buckets whose width grows with them.
type Histogram struct {
	counts [buckets]uint64
	n      uint64
	max    time.Duration
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

// Count is how many were added.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the longest.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the least duration that a share q (0 to 1) of all does not exceed,
// told by the upper end of its bucket; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q * float64(h.n))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen > rank || seen == h.n && c > 0 {
			return min(upper(i), h.max)
		}
	}
	return h.max
}

// bucket is linear below 2^subBits; above, the bits behind the leading one
// number the buckets of a doubling.
func bucket(d time.Duration) int {
	v := uint64(d)
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return min((shift+1)<<subBits+int(v>>shift)-1<<subBits, buckets-1)
}

// upper is the greatest duration of a bucket.
func upper(i int) time.Duration {
	if i < 1<<subBits {
		return time.Duration(i)
	}
	shift := i>>subBits - 1
	within := i - shift<<subBits // the leading one and subBits behind it
	return time.Duration(uint64(within+1)<<shift - 1)
}
