package e2e

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/attack"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// A machine of others takes processor time away for milliseconds at any moment. So an attack goes
// on in turns, each between two without it, and the middle one of the p99s of turns with it is held
// against the middle one of those without: a turn that was disturbed is one of many. How much of that
// is chance is seen by drawing turns anew, again and again.
const (
	// floodTurn is how long a turn lasts, with or without: 500 requests of others.
	floodTurn = 500 * time.Millisecond
	// floodWarmup is not counted at its begin, while others open connections, and floodRest is
	// between a turn with an attack and the next without: what the node has of it is done then.
	floodWarmup = 50 * time.Millisecond
	floodRest   = 50 * time.Millisecond
	// floodSure is how sure the bounds of a ratio are, and floodDraws how often turns are drawn
	// for them. Of fewer turns than floodLeast there are none.
	floodSure  = 0.95
	floodDraws = 1000
	floodLeast = 6
)

// inTurns makes an attack in turns. The sighting is of all turns with it, and what the node used
// is less what others cost without it.
func (f *floodField) inTurns(t *testing.T, turns *attack.Turns, run func()) (sighting, ratio) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		run()
	}()
	without, with := []sighting{f.quiet(t)}, []sighting{}
	for over := false; !over; {
		with = append(with, f.see(t, floodRest, func() {
			turns.Begin()
			timer := time.NewTimer(floodWarmup + floodTurn)
			defer timer.Stop()
			select {
			case <-done:
				over = true
			case <-timer.C:
			}
			turns.End()
		}))
		without = append(without, f.quiet(t))
	}
	return sumUp(with, without), compare(with, without, wholeTurns(with))
}

// quiet is a turn without an attack.
func (f *floodField) quiet(t *testing.T) sighting {
	return f.see(t, 0, func() { wakeup.After(t.Context(), floodWarmup+floodTurn) })
}

// wholeTurns is how many of the turns lasted whole: the last ended with the attack.
func wholeTurns(with []sighting) int {
	if len(with) > 1 {
		return len(with) - 1
	}
	return len(with)
}

// sumUp makes one sighting of those with an attack.
func sumUp(with, without []sighting) (sum sighting) {
	var cpu, answered float64
	for _, s := range without {
		cpu += float64(s.cpu)
		answered += float64(len(s.waited))
	}
	each := cpu / max(answered, 1) // a request of others
	for _, s := range with {
		sum.cpu += s.cpu - time.Duration(each*float64(len(s.waited)))
		sum.grew = max(sum.grew, s.grew)
		sum.waited = append(sum.waited, s.waited...)
	}
	return sum
}

// p99 is what one of a hundred waits longer than.
func p99(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Sorted(slices.Values(all))
	return all[len(all)*99/100]
}

// ratio is how many times as long others wait for the node with an attack, at the p99 of the
// middle turn, and between what bounds that is, floodSure.
type ratio struct {
	with               time.Duration // that p99
	value, least, most float64
}

// String is of the table.
func (r ratio) String() string {
	switch {
	case r.value == 0:
		return ""
	case math.IsInf(r.most, 1):
		return fmt.Sprintf("%.2f", r.value)
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", r.value, r.least, r.most)
}

// compare holds the first turns with an attack against those before and after each. The bounds are
// those of a bootstrap (Efron, "Bootstrap methods", Annals of Statistics 7, 1979): turns are drawn as
// often as there are, each as often as chance has it, and of the ratios of many such draws the
// smallest and the greatest are left out.
func compare(with, without []sighting, number int) ratio {
	busy, quiet := p99s(with), p99s(without)
	ratioOf := func(turn func(int) int) float64 {
		var b, q []time.Duration
		for i := range number {
			n := turn(i)
			b, q = append(b, busy[n]), append(q, quiet[n], quiet[n+1])
		}
		return float64(middle(b)) / max(float64(middle(q)), 1)
	}
	r := ratio{with: middle(slices.Clone(busy[:number])), value: ratioOf(func(i int) int { return i }), most: math.Inf(1)}
	if number < floodLeast {
		return r
	}
	chance := rand.New(rand.NewPCG(1, uint64(number)))
	draws := make([]float64, floodDraws)
	for n := range draws {
		draws[n] = ratioOf(func(int) int { return chance.IntN(number) })
	}
	slices.Sort(draws)
	outside := int(floodDraws * (1 - floodSure) / 2)
	r.least, r.most = draws[outside], draws[floodDraws-1-outside]
	return r
}

// p99s are those of what others waited for the node in each turn.
func p99s(turns []sighting) (all []time.Duration) {
	for _, s := range turns {
		all = append(all, p99(s.forNode))
	}
	return all
}

// middle is the median.
func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// TestARatioOfTurnsHasBounds that hold what is so, and leave out what chance would not do.
func TestARatioOfTurnsHasBounds(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	turn := func(slower float64) (s sighting) {
		for range 500 {
			s.forNode = append(s.forNode, time.Duration(slower*(1+chance.ExpFloat64())*float64(time.Millisecond)))
		}
		return s
	}
	for _, slower := range []float64{1, 1.5, 3} {
		var with []sighting
		without := []sighting{turn(1)}
		for range 20 {
			with, without = append(with, turn(slower)), append(without, turn(1))
		}
		r := compare(with, without, len(with))
		if r.least > slower || r.most < slower || r.most-r.least > slower {
			t.Errorf("%.1f times as slow: %s", slower, r)
		}
		if r := compare(with, without, floodLeast-1); r.least > 0 || !math.IsInf(r.most, 1) {
			t.Errorf("%d turns have bounds: %s", floodLeast-1, r)
		}
	}
}
