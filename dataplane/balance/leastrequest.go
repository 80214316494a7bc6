package balance

import "math/bits"

// Loads tells how busy an index is. It is asked for at most two per pick.
type Loads interface {
	InFlight(i int) uint32
}

// LeastRequest takes two different indexes at random and picks the one with the
// smaller (in flight + 1) / weight: the power of two choices, as Envoy's
// LEAST_REQUEST. The zero value has nothing to pick.
type LeastRequest struct {
	shares []share // immutable; without weights of 0
}

// NewLeastRequest keeps the weights that are not 0.
func NewLeastRequest(weights []uint32) LeastRequest {
	n := 0
	for _, w := range weights {
		if w > 0 {
			n++
		}
	}
	if n == 0 {
		return LeastRequest{}
	}
	shares := make([]share, 0, n)
	for i, w := range weights {
		if w > 0 {
			shares = append(shares, share{uint32(i), w})
		}
	}
	return LeastRequest{shares: shares}
}

// Pick chooses with 64 random bits. Of equals the first drawn wins, so equals
// share evenly. ok is false if no index has a weight.
func (l *LeastRequest) Pick(rnd uint64, loads Loads) (index int, ok bool) {
	n := uint32(len(l.shares))
	switch n {
	case 0:
		return 0, false
	case 1:
		return int(l.shares[0].index), true
	}
	// The high and the low half draw one each; the second is drawn from the
	// others by stepping over the first.
	i := below(uint32(rnd>>32), n)
	j := below(uint32(rnd), n-1)
	if j >= i {
		j++
	}
	a, b := l.shares[i], l.shares[j]
	// (fa+1)/wa <= (fb+1)/wb without division; in flight + 1 fits 33 bits, a
	// weight 32: 65 bits, hence the two words.
	ha, la := bits.Mul64(uint64(loads.InFlight(int(a.index)))+1, uint64(b.weight))
	hb, lb := bits.Mul64(uint64(loads.InFlight(int(b.index)))+1, uint64(a.weight))
	if ha < hb || (ha == hb && la <= lb) {
		return int(a.index), true
	}
	return int(b.index), true
}

// below maps 32 random bits to [0, n) by multiplication (Lemire); for the sizes
// of upstreams the bias is under n / 2^32.
func below(rnd, n uint32) uint32 {
	return uint32(uint64(rnd) * uint64(n) >> 32)
}
