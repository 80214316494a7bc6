package loadgen

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreOrderedAndNarrow(t *testing.T) {
	last := -1
	for _, base := range []time.Duration{0, 1, 100, 127, 128, 129, 255, 256, 1000, 12_345, 1 << 20, 1<<20 + 1, 5 * time.Second, 1<<maxBits - 1} {
		i := bucket(base)
		if i < last || i >= buckets {
			t.Fatalf("%v is in bucket %d, behind %d", base, i, last)
		}
		last = i
		if up := upper(i); up < base || float64(up-base) > float64(base)/128 {
			t.Errorf("%v is told as %v", base, up)
		}
		if i+1 < buckets && bucket(upper(i)+1) != i+1 {
			t.Errorf("behind bucket %d comes %d", i, bucket(upper(i)+1))
		}
	}
	if i := bucket(1 << 62); i != buckets-1 {
		t.Errorf("a duration beyond all buckets is in %d", i)
	}
}

func TestQuantilesAreThoseOfTheValues(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(r.ExpFloat64() * float64(200*time.Microsecond))
		all = append(all, d)
		h.Add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		got := h.Quantile(q)
		if got < want || float64(got-want) > float64(want)*0.01+1 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if h.Quantile(1) != h.Max() || h.Max() != all[len(all)-1] || h.Count() != 20_000 {
		t.Errorf("greatest %v and %v of %d", h.Quantile(1), h.Max(), h.Count())
	}
	var none Histogram
	if none.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}
