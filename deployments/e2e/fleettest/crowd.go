package fleettest

import (
	"fmt"
	"testing"
	"time"
)

const (
	// spoilt is the share of the processors above which others spoil what is measured
	// beside them.
	spoilt = 0.1
	// crowdLeast is the shortest time that says anything: the kernel's counters go by
	// 10 ms, for each process.
	crowdLeast = 200 * time.Millisecond
	// judgeFor bounds how long is measured in all, and judgeMisses how often what nobody
	// spoilt may miss: what comes by chance seldom comes three times.
	judgeFor    = 40 * time.Second
	judgeMisses = 3
)

// Judge measures until a measurement meets its bounds, which miss says by being empty;
// else it is what was missed. The test fails when three measurements missed that nobody
// spoilt, or when all did in the 40 s that there are. It is skipped, with the reason, if
// that cannot be said since others had the machine: so no bound needs a machine that is
// quiet, and none is stretched. Judge is the last that a test does.
func Judge(t testing.TB, measure func() (miss string)) {
	t.Helper()
	var v verdict
	for begin := time.Now(); ; {
		from := time.Now()
		crowd := Crowd()
		miss := measure()
		if miss == "" {
			return
		}
		share := crowd()
		t.Logf("missed: %s; others had %.0f %% of the processors meanwhile", miss, 100*share)
		v.add(miss, share, time.Since(begin)+time.Since(from) > judgeFor)
		switch {
		case v.failed:
			t.Fatal(miss)
		case v.skipped != "":
			t.Skip(v.skipped)
		}
	}
}

// verdict is what measurements that missed come to.
type verdict struct {
	undisturbed, spoilt int
	most                float64 // that others had

	failed  bool
	skipped string
}

// add takes one more, beside which others had a share of the processors. Last: there is
// no time for another.
func (v *verdict) add(miss string, share float64, last bool) {
	if share > spoilt {
		v.spoilt++
	} else {
		v.undisturbed++
	}
	v.most = max(v.most, share)
	switch {
	case v.undisturbed >= judgeMisses, last && v.spoilt == 0:
		v.failed = true
	case last:
		v.skipped = fmt.Sprintf("not judged: others had up to %.0f %% of the processors beside %d of %d measurements, the last of which missed: %s",
			100*v.most, v.spoilt, v.spoilt+v.undisturbed, miss)
	}
}

// usage is what processor time was used until a moment, in all.
type usage struct {
	at         time.Time
	processors int           // that this process may run on
	busy       time.Duration // of these, by anybody
	own        time.Duration // by this process and those that descend from it
}

// Crowd watches the processors from now on. Others is the share of them that others
// took until it is called: all that was used of the processors on which the test may
// run, and what the hypervisor gave to other guests, without what the test and the
// processes that it started used, since a node that is slow because of its own work is
// not excused. Nor is it by the kernel's work in interrupts, of which nobody can say for
// whom it is. It is 0 where nothing is known: within 200 ms, and on systems other than
// Linux.
func Crowd() (others func() float64) {
	from, ok := usedSoFar()
	return func() float64 {
		to, still := usedSoFar()
		if !ok || !still {
			return 0
		}
		return crowdBetween(from, to)
	}
}

// crowdBetween is the share of the time between two readings.
func crowdBetween(from, to usage) float64 {
	wall := to.at.Sub(from.at)
	if wall < crowdLeast || to.processors != from.processors || to.processors == 0 {
		return 0
	}
	others := (to.busy - from.busy) - (to.own - from.own)
	return min(max(float64(others)/float64(wall)/float64(to.processors), 0), 1)
}
