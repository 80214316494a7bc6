package stats

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestEveryValueLiesInItsBucket(t *testing.T) {
	for i := range bucketCount - 1 {
		start, end := bucketStart(i), bucketStart(i+1)
		if start >= end {
			t.Fatalf("bucket %d: from %d to %d", i, start, end)
		}
		for _, v := range []uint64{start, (start + end) / 2, end - 1} {
			if got := bucketOf(v); got != i {
				t.Fatalf("bucketOf(%d) = %d, want %d", v, got, i)
			}
		}
	}
	if got := bucketOf(math.MaxUint64); got != bucketCount-1 {
		t.Fatalf("bucketOf(max) = %d, want the last, %d", got, bucketCount-1)
	}
}

func TestQuantilesAreWithinFivePercent(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, shape := range []struct {
		name string
		draw func() float64
	}{
		{"exponential around 1 ms", func() float64 { return 1e6 * rnd.ExpFloat64() }},
		{"log-normal with a long tail", func() float64 { return 2e5 * math.Exp(1.5*rnd.NormFloat64()) }},
		{"two peaks", func() float64 {
			if rnd.IntN(1000) == 0 {
				return 3e9 * (1 + rnd.Float64())
			}
			return 1e5 * (1 + rnd.Float64())
		}},
	} {
		t.Run(shape.name, func(t *testing.T) {
			var h Histogram
			values := make([]int64, 100_000)
			for i := range values {
				values[i] = int64(shape.draw()) + 1<<linearMaxBits
				h.Observe(values[i])
			}
			slices.Sort(values)
			var d Distribution
			d.add(&h.sum, &h.buckets)
			for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
				want := values[min(int(q*float64(len(values))), len(values)-1)]
				got := d.Quantile(q)
				if diff := math.Abs(float64(got-want)) / float64(want); diff > 0.05 {
					t.Errorf("q%v: got %d, want %d: off by %.1f %%", q, got, want, 100*diff)
				}
			}
		})
	}
}

func TestDistributionOfNothing(t *testing.T) {
	var d Distribution
	if got := d.Quantile(0.99); got != 0 {
		t.Errorf("quantile of nothing = %d, want 0", got)
	}
	for _, b := range d.Cumulative(2) {
		if b.Count != 0 {
			t.Errorf("%d below %d, want none", b.Count, b.Nanoseconds)
		}
	}
}

func TestCumulativeCountsAreExactAndComplete(t *testing.T) {
	var h Histogram
	for v := int64(1); v < 1<<40; v *= 2 {
		h.Observe(v) // an edge: counts as not below itself
		h.Observe(v - 1)
	}
	h.Observe(-5)
	var d Distribution
	d.add(&h.sum, &h.buckets)
	for _, perOctave := range []int{1, 2, 4, 16} {
		bounds := d.Cumulative(perOctave)
		if want := (lastBoundBits-firstBoundBits)*perOctave + 1; len(bounds) != want {
			t.Fatalf("%d an octave: %d bounds, want %d", perOctave, len(bounds), want)
		}
		for _, b := range bounds {
			want := uint64(1)
			for v := int64(1); v < 1<<40; v *= 2 {
				if uint64(v) < b.Nanoseconds {
					want++
				}
				if uint64(v-1) < b.Nanoseconds {
					want++
				}
			}
			if b.Count != want {
				t.Fatalf("%d an octave: %d below %d, want %d", perOctave, b.Count, b.Nanoseconds, want)
			}
		}
	}
}

func TestSinceIsWhatWasCountedBetween(t *testing.T) {
	var h Histogram
	for range 1000 {
		h.Observe(1e9)
	}
	var before, after Distribution
	before.add(&h.sum, &h.buckets)
	for range 10 {
		h.Observe(1e6)
	}
	after.add(&h.sum, &h.buckets)
	got := after.Since(before)
	if got.Count != 10 || got.Sum != 10*1e6 {
		t.Fatalf("count %d, sum %d; want 10 and 10 ms", got.Count, got.Sum)
	}
	if q := got.Quantile(0.999); q > 1.05e6 {
		t.Fatalf("p999 = %d, want about 1 ms", q)
	}
}

func BenchmarkHistogramObserve(b *testing.B) {
	var h Histogram
	v := int64(100_000)
	for b.Loop() {
		h.Observe(v)
		v += 7919
	}
}
