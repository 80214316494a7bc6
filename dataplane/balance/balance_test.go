package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// nginx is upstream_round_robin as nginx's sources have it, peers and all:
// ngx_http_upstream_get_peer without failures.
func nginx(weights []uint32, picks int) []int {
	current := make([]int64, len(weights))
	var out []int
	for range picks {
		best, total := -1, int64(0)
		for i, w := range weights {
			if w == 0 {
				continue
			}
			current[i] += int64(w)
			total += int64(w)
			if best < 0 || current[i] > current[best] {
				best = i
			}
		}
		current[best] -= total
		out = append(out, best)
	}
	return out
}

func TestRoundRobinIsNginxsSequence(t *testing.T) {
	for _, weights := range [][]uint32{
		{1}, {5}, {1, 1}, {5, 1, 1}, {1, 3}, {3, 1}, {2, 4, 6}, {0, 2, 0, 1}, {7, 7, 7}, {1, 2, 3, 4, 5}, {95, 5}, {100, 1, 100}, {4000, 96},
	} {
		r := NewRoundRobin(weights)
		want := nginx(weights, 3*r.Period())
		for i, w := range want {
			if got, ok := r.Pick(uint32(i)); !ok || got != w {
				t.Fatalf("weights %v: pick %d is %d, nginx picks %d", weights, i, got, w)
			}
		}
	}
}

func TestRoundRobinGivesEachItsExactShareOfAPeriod(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		weights := make([]uint32, 1+r.IntN(20))
		sum := uint64(0)
		for i := range weights {
			weights[i] = uint32(r.IntN(30))
			sum += uint64(weights[i])
		}
		rr := NewRoundRobin(weights)
		counts := make([]uint64, len(weights))
		for i := range rr.Period() {
			at, ok := rr.Pick(uint32(i))
			if !ok {
				t.Fatalf("weights %v: nothing picked", weights)
			}
			counts[at]++
		}
		for i, w := range weights {
			if sum > 0 && counts[i]*sum != uint64(w)*uint64(rr.Period()) {
				t.Fatalf("weights %v: shares %v of %d", weights, counts, rr.Period())
			}
		}
	}
}

func TestLargeWeightsAreScaledWithinTheBound(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, n := range []int{2, 3, 17, 256, 257, 1000, 5000} {
		weights := make([]uint32, n)
		sum := 0.0
		for i := range weights {
			weights[i] = uint32(1 + r.IntN(65535))
			sum += float64(weights[i])
		}
		rr := NewRoundRobin(weights)
		if rr.Period() > 2*max(maxSequence, n) {
			t.Errorf("%d endpoints: period %d", n, rr.Period())
		}
		counts := make([]int, n)
		for i := range rr.Period() {
			at, _ := rr.Pick(uint32(i))
			counts[at]++
		}
		for i, c := range counts {
			want := float64(weights[i]) / sum * float64(rr.Period())
			if c == 0 {
				t.Errorf("%d endpoints: endpoint %d with weight %d gets nothing", n, i, weights[i])
			}
			// Each has at least one place, which is taken from the others' rounding.
			if n <= 256 && math.Abs(float64(c)-want) > 2+want/100 {
				t.Errorf("%d endpoints: endpoint %d has %d places, want about %.1f", n, i, c, want)
			}
		}
	}
}

// An even order leaves no more than about twice the mean distance between two
// turns of one endpoint.
func TestOrderIsEven(t *testing.T) {
	for _, n := range []int{2, 10, 300} {
		weights := make([]uint32, n)
		for i := range weights {
			weights[i] = uint32(1 + i%4)
		}
		rr := NewRoundRobin(weights)
		last := make([]int, n)
		for i := range last {
			last[i] = -1
		}
		count := make([]int, n)
		for i := range rr.Period() {
			at, _ := rr.Pick(uint32(i))
			count[at]++
		}
		for i := range 2 * rr.Period() {
			at, _ := rr.Pick(uint32(i))
			mean := rr.Period() / count[at]
			if last[at] >= 0 && i-last[at] > 2*mean+2 {
				t.Errorf("%d endpoints: %d picks between two turns of %d, mean %d", n, i-last[at], at, mean)
			}
			last[at] = i
		}
	}
}

func TestWeightZeroGetsNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	weights := []uint32{0, 4, 0, 1, 0}
	rr, least, split := NewRoundRobin(weights), NewLeastRequest(weights), NewSplit(weights)
	for i := range 10_000 {
		a, _ := rr.Pick(uint32(i))
		b, _ := least.Pick(r.Uint64(), busy{})
		c := split.Pick(r.Uint64())
		for _, at := range []int{a, b, c} {
			if weights[at] == 0 {
				t.Fatalf("picked %d of %v", at, weights)
			}
		}
	}
}

func TestNothingToPick(t *testing.T) {
	for _, weights := range [][]uint32{nil, {}, {0}, {0, 0, 0}} {
		rr, least, split := NewRoundRobin(weights), NewLeastRequest(weights), NewSplit(weights)
		if _, ok := rr.Pick(7); ok {
			t.Errorf("%v: round robin picks", weights)
		}
		if _, ok := least.Pick(7, busy{}); ok {
			t.Errorf("%v: least request picks", weights)
		}
		if got := split.Pick(7); got != -1 {
			t.Errorf("%v: split picks %d", weights, got)
		}
	}
	var (
		rr    RoundRobin
		least LeastRequest
		split Split
	)
	_, a := rr.Pick(0)
	_, b := least.Pick(0, busy{})
	if a || b || split.Pick(0) != -1 {
		t.Error("a zero value picks")
	}
}

type busy []uint32

func (b busy) InFlight(i int) uint32 {
	if i < len(b) {
		return b[i]
	}
	return 0
}

func TestLeastRequestPicksTheBetterOfTwo(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	weights := []uint32{1, 2, 0, 4, 1}
	loads := busy{3, 9, 0, 4, 1}
	score := func(i int) float64 { return float64(loads[i]+1) / float64(weights[i]) }
	worst := 1 // (9+1)/2 = 5 is the largest score
	least := NewLeastRequest(weights)
	for range 20_000 {
		at, ok := least.Pick(r.Uint64(), loads)
		if !ok || at == worst {
			t.Fatalf("picked %d (score %.1f), which is worse than any other", at, score(at))
		}
	}
}

func TestLeastRequestSharesEvenlyAmongEquals(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	least := NewLeastRequest([]uint32{1, 1, 1, 1, 1})
	counts := make([]int, 5)
	const picks = 100_000
	for range picks {
		at, _ := least.Pick(r.Uint64(), busy{})
		counts[at]++
	}
	for _, c := range counts {
		if c < picks/5*95/100 || c > picks/5*105/100 {
			t.Fatalf("shares %v", counts)
		}
	}
}

func TestLeastRequestDoesNotOverflow(t *testing.T) {
	least := NewLeastRequest([]uint32{math.MaxUint32, 1})
	loads := busy{math.MaxUint32, math.MaxUint32}
	for rnd := range uint64(64) {
		if at, _ := least.Pick(rnd<<58|rnd, loads); at != 0 {
			t.Fatalf("picked %d, whose weight is smaller at the same load", at)
		}
	}
}

func TestSplitKeepsShares(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for _, weights := range [][]uint32{{95, 5}, {1, 2, 3}, {0, 1, 0, 1}, slices.Repeat([]uint32{3, 1}, 20)} {
		split := NewSplit(weights)
		sum := 0.0
		for _, w := range weights {
			sum += float64(w)
		}
		const picks = 200_000
		counts := make([]float64, len(weights))
		for range picks {
			counts[split.Pick(r.Uint64())]++
		}
		for i, c := range counts {
			want := float64(weights[i]) / sum
			if math.Abs(c/picks-want) > 0.005 {
				t.Errorf("weights %v: share of %d is %.4f, want %.4f", weights, i, c/picks, want)
			}
		}
	}
}

func TestSplitCoversTheWholeRange(t *testing.T) {
	for n := 1; n < 20; n++ {
		split := NewSplit(slices.Repeat([]uint32{1_000_000}, n))
		if first, last := split.Pick(0), split.Pick(math.MaxUint64); first != 0 || last != n-1 {
			t.Errorf("%d targets: ends are %d and %d", n, first, last)
		}
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	weights := slices.Repeat([]uint32{3, 1}, 20)
	rr, least, split := NewRoundRobin(weights), NewLeastRequest(weights), NewSplit(weights)
	var loads Loads = busy{}
	if got := testing.AllocsPerRun(1000, func() {
		rr.Pick(9)
		least.Pick(1<<63|1<<20, loads)
		split.Pick(1 << 62)
	}); got != 0 {
		t.Errorf("allocates %v times", got)
	}
}

func BenchmarkNewRoundRobin(b *testing.B) {
	for _, n := range []int{2, 256, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			weights := make([]uint32, n)
			for i := range weights {
				weights[i] = uint32(1 + i*7919%65535)
			}
			for b.Loop() {
				NewRoundRobin(weights)
			}
		})
	}
}

func BenchmarkPick(b *testing.B) {
	weights := slices.Repeat([]uint32{3, 1}, 20)
	rr, least, split := NewRoundRobin(weights), NewLeastRequest(weights), NewSplit(weights)
	var loads Loads = busy(slices.Repeat([]uint32{5}, 40))
	b.Run("round robin", func(b *testing.B) {
		for i := range b.N {
			rr.Pick(uint32(i))
		}
	})
	b.Run("least request", func(b *testing.B) {
		for i := range b.N {
			least.Pick(uint64(i)*0x9e3779b97f4a7c15, loads)
		}
	})
	b.Run("split", func(b *testing.B) {
		for i := range b.N {
			split.Pick(uint64(i) * 0x9e3779b97f4a7c15)
		}
	})
}

// TestScalingMovesNoShareByAPlace: where each is worth a place at least, no place is made
// or lost.
func TestScalingMovesNoShareByAPlace(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, n := range []int{2, 3, 4, 5, 9, 17} {
		for range 20 {
			weights := make([]uint32, n)
			sum, common := 0.0, uint32(0)
			for i := range weights {
				weights[i] = uint32(10_000 + r.IntN(55_000))
				sum, common = sum+float64(weights[i]), gcd(common, weights[i])
			}
			if sum/float64(common) <= maxSequence {
				continue // its period is exact
			}
			rr := NewRoundRobin(weights)
			period := rr.Period()
			if maxSequence%period != 0 {
				t.Fatalf("%v: period %d", weights, period)
			}
			counts := make([]int, n)
			for i := range period {
				at, _ := rr.Pick(uint32(i))
				counts[at]++
			}
			for i, c := range counts {
				want := float64(weights[i]) / sum * maxSequence
				if got := float64(c * (maxSequence / period)); math.Abs(got-want) >= 1 {
					t.Errorf("%v: endpoint %d has %.0f of %d places, want %.2f", weights, i, got, maxSequence, want)
				}
			}
		}
	}
	if rr := NewRoundRobin([]uint32{300_001, 100_000}); rr.Period() != 4 {
		t.Errorf("three to one, nearly, has a period of %d", rr.Period())
	}
}

// TestLeastRequestDrawsEveryPairAlike: whoever is the least busy is chosen if it is drawn,
// which it is by two in n.
func TestLeastRequestDrawsEveryPairAlike(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	const picks = 100_000
	for n := 1; n <= 6; n++ {
		weights := append([]uint32{0}, slices.Repeat([]uint32{3}, n)...)
		least := NewLeastRequest(weights)
		for idle := 1; idle <= n; idle++ {
			loads := make(busy, n+1)
			for i := range loads {
				loads[i] = 10
			}
			loads[idle] = 0
			got := 0
			for range picks {
				at, ok := least.Pick(r.Uint64(), loads)
				if !ok || at == 0 {
					t.Fatalf("picked %d, %t", at, ok)
				}
				if at == idle {
					got++
				}
			}
			if want := min(picks, picks*2/n); got < want*95/100 || got > want*105/100 {
				t.Errorf("of %d the idle one, %d, was picked %d times of %d", n, idle, got, picks)
			}
		}
	}
}
