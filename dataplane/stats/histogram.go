package stats

import (
	"math/bits"
	"sync/atomic"
)

// The buckets of a Histogram, in nanoseconds. Up to linearMax they are
// resolution wide; above, each doubling has subBuckets of equal width, up to
// rangeMax. So a bucket's middle is off by at most 1/(2*subBuckets+1) = 3.03 %
// of the value, above linearMax.
const (
	subBucketBits = 4
	subBuckets    = 1 << subBucketBits

	resolutionBits = 8                              // 256 ns
	linearMaxBits  = resolutionBits + subBucketBits // 4.1 µs
	rangeMaxBits   = 37                             // 137 s: above every timeout that makes sense

	// bucketCount has one bucket more, for what is beyond the range.
	bucketCount = subBuckets + (rangeMaxBits-linearMaxBits)*subBuckets + 1
)

// Histogram counts durations. One goroutine observes; any may read.
type Histogram struct {
	sum     uint64 // nanoseconds
	buckets buckets
}

// buckets are the counts, without the sum.
type buckets [bucketCount]uint64

// Observe counts one duration in nanoseconds; negative ones count as 0.
func (h *Histogram) Observe(nanoseconds int64) {
	v := uint64(max(nanoseconds, 0))
	add(&h.sum, v)
	add(&h.buckets[bucketOf(v)], 1)
}

func bucketOf(v uint64) int {
	if v < 1<<linearMaxBits {
		return int(v >> resolutionBits)
	}
	if v >= 1<<rangeMaxBits {
		return bucketCount - 1
	}
	octave := bits.Len64(v) - 1
	sub := (v >> (octave - subBucketBits)) & (subBuckets - 1)
	return (octave-linearMaxBits+1)<<subBucketBits + int(sub)
}

// bucketStart is the smallest value of bucket i; bucketStart(i+1) its end.
func bucketStart(i int) uint64 {
	if i < subBuckets {
		return uint64(i) << resolutionBits
	}
	octave := i>>subBucketBits + linearMaxBits - 1
	return uint64(subBuckets+i&(subBuckets-1)) << (octave - subBucketBits)
}

// Distribution is what one or several histograms held when they were read. The
// zero value is empty.
type Distribution struct {
	Count uint64
	Sum   uint64 // nanoseconds
	// buckets is nil while nothing was counted.
	buckets []uint64
}

// add takes in what is counted now.
func (d *Distribution) add(sum *uint64, b *buckets) {
	if d.buckets == nil {
		d.buckets = make([]uint64, bucketCount)
	}
	d.Sum += atomic.LoadUint64(sum)
	for i := range b {
		n := atomic.LoadUint64(&b[i])
		d.buckets[i] += n
		d.Count += n
	}
}

// Since returns what was counted after an earlier reading of the same series.
func (d Distribution) Since(earlier Distribution) Distribution {
	if d.buckets == nil || earlier.buckets == nil {
		return d
	}
	out := Distribution{Sum: d.Sum - earlier.Sum, buckets: make([]uint64, bucketCount)}
	for i := range d.buckets {
		n := d.buckets[i] - earlier.buckets[i]
		out.buckets[i] = n
		out.Count += n
	}
	return out
}

// Quantile is the duration in nanoseconds that the share q (0 to 1) of the
// counted ones does not exceed: the middle of its bucket. It is 0 when nothing
// was counted, and the range's end for what lies beyond it.
func (d Distribution) Quantile(q float64) int64 {
	if d.Count == 0 {
		return 0
	}
	rank := uint64(q * float64(d.Count))
	rank = min(max(rank, 1), d.Count)
	for i, n := range d.buckets {
		if n >= rank {
			if i == bucketCount-1 {
				return 1 << rangeMaxBits
			}
			return int64((bucketStart(i) + bucketStart(i+1)) / 2)
		}
		rank -= n
	}
	return 1 << rangeMaxBits
}

// Bound is a point of a cumulative distribution: Count durations were below
// Nanoseconds.
type Bound struct {
	Nanoseconds uint64
	Count       uint64
}

// The bounds that Cumulative gives lie between 33 µs and 69 s.
const (
	firstBoundBits = 15
	lastBoundBits  = 36
)

// Cumulative gives the distribution at perOctave points (1, 2, 4, 8 or 16) for
// each doubling. The points are edges of buckets, so the counts are exact, and
// they are always the same ones.
func (d Distribution) Cumulative(perOctave int) []Bound {
	step := subBuckets / perOctave
	out := make([]Bound, 0, (lastBoundBits-firstBoundBits)*perOctave+1)
	first := bucketOf(1 << firstBoundBits)
	last := bucketOf(1 << lastBoundBits)
	var below uint64
	for i := 0; i <= last; i++ {
		if i >= first && (i-first)%step == 0 {
			out = append(out, Bound{Nanoseconds: bucketStart(i), Count: below})
		}
		if d.buckets != nil {
			below += d.buckets[i]
		}
	}
	return out
}
