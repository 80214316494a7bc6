package e2e

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/attack"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// A machine of others takes processor time away for milliseconds at any moment, so that the
// p99 of two times that are apart differs by more than what is asked. So an attack goes on in
// turns, each between two without it, and what counts is the middle one of the ratios of turns
// to their neighbours: a turn that was disturbed is one of many.
const (
	// floodTurn is how long a turn lasts, with or without: 500 requests of others.
	floodTurn = 500 * time.Millisecond
	// floodWarmup is not counted at its begin, while others open connections, and floodRest is
	// between a turn with an attack and the next without: what the node has of it is done then.
	floodWarmup = 50 * time.Millisecond
	floodRest   = 50 * time.Millisecond
	// floodSure is how sure the bounds of ratios are.
	floodSure = 0.95
)

// inTurns makes an attack in turns. The sighting is of all turns with it: the p99 is the
// middle one, and what the node used is less what others cost without it.
func (f *floodField) inTurns(t *testing.T, turns *attack.Turns, run func()) (sighting, ratios) {
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
		answered += s.answered
	}
	each := cpu / max(answered, 1) // a request of others
	var p99 []time.Duration
	for _, s := range with {
		sum.cpu += s.cpu - time.Duration(each*s.answered)
		sum.answered += s.answered
		sum.grew = max(sum.grew, s.grew)
		p99 = append(p99, s.p99)
	}
	slices.Sort(p99)
	sum.p99 = p99[len(p99)/2]
	return sum
}

// ratios are the middle one of some, and between what bounds the middle one of all such is,
// floodSure, whatever they are distributed like.
type ratios struct {
	middle, least, most float64
	number              int
}

// String is of the table.
func (r ratios) String() string {
	switch {
	case r.number == 0:
		return ""
	case math.IsInf(r.most, 1):
		return fmt.Sprintf("%.2f", r.middle)
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", r.middle, r.least, r.most)
}

// compare holds the first turns with an attack against those before and after each.
func compare(with, without []sighting, number int) ratios {
	var all []float64
	for i := range number {
		all = append(all, 2*float64(with[i].p99)/float64(without[i].p99+without[i+1].p99))
	}
	return ratiosOf(all)
}

// ratiosOf finds the bounds by the sign test: of n independent ones the middle one of all such
// is below the k-th smallest, or above the k-th greatest, as often as fewer than k of n coins
// show heads.
func ratiosOf(all []float64) ratios {
	slices.SortFunc(all, cmp.Compare)
	n := len(all)
	r := ratios{middle: all[n/2], least: 0, most: math.Inf(1), number: n}
	chance, below := math.Pow(0.5, float64(n)), 0.0
	for k := range n / 2 {
		if below += chance; below > (1-floodSure)/2 {
			break
		}
		r.least, r.most = all[k], all[n-1-k]
		chance *= float64(n-k) / float64(k+1)
	}
	return r
}

func TestTheBoundsOfRatiosAreThoseOfTheSignTest(t *testing.T) {
	for _, c := range []struct{ n, outside int }{ // as tables of the sign test have it
		{1, -1}, {5, -1}, {6, 0}, {8, 0}, {9, 1}, {20, 5}, {25, 7}, {30, 9},
	} {
		var all []float64
		for i := range c.n {
			all = append(all, float64((i*7)%c.n)) // each once, if 7 does not divide n
		}
		r := ratiosOf(all)
		least, most := float64(c.outside), float64(c.n-1-c.outside)
		if c.outside < 0 {
			least, most = 0, math.Inf(1)
		}
		if r.least != least || r.most != most || r.middle != float64(c.n/2) {
			t.Errorf("%d: %v", c.n, r)
		}
	}
}
