package balance

import (
	"cmp"
	"slices"
)

const (
	// maxSequence bounds the precomputed order of a RoundRobin: 16 KiB. Weights
	// whose sum, divided by their greatest common divisor, is larger are scaled
	// down to it, which moves a share by less than 1/4096. With more endpoints
	// than that the order has one place for each.
	maxSequence = 4096
	// maxSmooth is up to how many endpoints the order is computed by nginx's
	// algorithm, which costs their number for each place: 2^20 steps at most,
	// about a millisecond. Above, places are sorted by when they are due.
	maxSmooth = 256
)

// RoundRobin gives every index its weight's share, spread as evenly as the
// weights allow: nginx's smooth weighted round robin, its whole period computed
// ahead. The zero value has nothing to pick.
type RoundRobin struct {
	// Immutable. seq nil: n indexes in turn, beginning with 0.
	seq []uint32
	n   uint32
}

// NewRoundRobin computes the order for weights.
func NewRoundRobin(weights []uint32) RoundRobin {
	w := period(weights)
	if len(w) == 0 {
		return RoundRobin{}
	}
	if len(w) == len(weights) && allEqual(w) {
		return RoundRobin{n: uint32(len(w))}
	}
	var seq []uint32
	if len(w) <= maxSmooth {
		seq = smooth(w)
	} else {
		seq = byDue(w)
	}
	return RoundRobin{seq: seq, n: uint32(len(seq))}
}

// Pick returns the index at the cursor, which its owner advances by one for each
// pick. A cursor may wrap and may start anywhere. ok is false if no index has a
// weight.
func (r *RoundRobin) Pick(cursor uint32) (index int, ok bool) {
	if r.n == 0 {
		return 0, false
	}
	i := cursor % r.n
	if r.seq == nil {
		return int(i), true
	}
	return int(r.seq[i]), true
}

// Period is the number of picks after which the order repeats.
func (r *RoundRobin) Period() int { return int(r.n) }

// share is an index that gets weight places of the period.
type share struct {
	index  uint32
	weight uint32
}

// period leaves out the weights of 0, divides by the greatest common divisor and
// scales to maxSequence where that is not enough.
func period(weights []uint32) []share {
	var (
		out []share
		div uint32
		sum uint64
	)
	for i, w := range weights {
		if w > 0 {
			out = append(out, share{uint32(i), w})
			div = gcd(div, w)
			sum += uint64(w)
		}
	}
	if len(out) == 0 {
		return nil
	}
	limit := uint64(max(maxSequence, len(out)))
	if sum/uint64(div) > limit {
		scale(out, sum, limit)
		div = 0
		for _, s := range out {
			div = gcd(div, s.weight)
		}
	}
	for i := range out {
		out[i].weight /= div
	}
	return out
}

// scale brings the weights, whose sum is sum, to about limit in all, with at
// least 1 each: every share gets one place, and the rest is divided by weight,
// the largest remainders first.
func scale(shares []share, sum, limit uint64) {
	type remainder struct {
		at   int
		rest uint64
	}
	// A weight under one place's worth is served by the place it has anyway.
	free := limit - uint64(len(shares))
	given := uint64(0)
	rests := make([]remainder, len(shares))
	for i := range shares {
		want := uint64(shares[i].weight) * limit
		extra := uint64(0)
		if want > sum {
			extra = (want - sum) / sum
			rests[i] = remainder{i, (want - sum) % sum}
		} else {
			rests[i] = remainder{i, 0}
		}
		shares[i].weight = uint32(1 + extra)
		given += extra
	}
	if given >= free {
		return
	}
	slices.SortStableFunc(rests, func(a, b remainder) int { return cmp.Compare(b.rest, a.rest) })
	for _, r := range rests {
		if given == free || r.rest == 0 {
			return
		}
		shares[r.at].weight++
		given++
	}
}

// smooth is nginx's algorithm: at each step every current value grows by its
// weight, and the largest (the first of equals) is chosen and falls by the sum.
func smooth(shares []share) []uint32 {
	total := int64(0)
	for _, s := range shares {
		total += int64(s.weight)
	}
	seq := make([]uint32, 0, total)
	current := make([]int64, len(shares))
	for range total {
		best := 0
		for i := range shares {
			current[i] += int64(shares[i].weight)
			if current[i] > current[best] {
				best = i
			}
		}
		current[best] -= total
		seq = append(seq, shares[best].index)
	}
	return seq
}

// byDue places the k-th turn of a share of weight w at (k + 1/2) / w of the
// period, which is as even as smooth and costs n log n.
func byDue(shares []share) []uint32 {
	type turn struct {
		due   float64
		index uint32
	}
	var turns []turn
	for _, s := range shares {
		for k := range s.weight {
			turns = append(turns, turn{(float64(k) + 0.5) / float64(s.weight), s.index})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.index, b.index))
	})
	seq := make([]uint32, len(turns))
	for i, t := range turns {
		seq[i] = t.index
	}
	return seq
}

func allEqual(shares []share) bool {
	for _, s := range shares {
		if s.weight != shares[0].weight {
			return false
		}
	}
	return true
}

func gcd(a, b uint32) uint32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
