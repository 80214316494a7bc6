package vip

import (
	"strings"
	"testing"
)

// TestAStepThatLooksAtAllVirtualIPsDoesNothingElse runs worlds twice: as they are, and with
// every office having its turn in every step.
func TestAStepThatLooksAtAllVirtualIPsDoesNothingElse(t *testing.T) {
	for seed := range seeds(40) {
		run := func(all bool) string {
			w := newWorld(seed, jittery(), defaultTiming(), 3+2*int(seed%2), //nolint:gosec // small
				Spec{VIP: "u", Policy: Availability}, Spec{VIP: "x", Policy: Majority}, Spec{VIP: "y", Policy: Majority, Preempt: true, Preference: []string{"b"}},
				Spec{VIP: "z", Policy: Majority, Nodes: []string{"a", "c"}})
			w.trace, w.msgs = &strings.Builder{}, true
			if all {
				w.poke = func(i int) {
					for _, o := range w.nodes[i].g.offices {
						o.turn = never
					}
				}
			}
			w.bootAll()
			w.run(1000 * ms)
			w.crash(w.rnd.IntN(3))
			w.run(700 * ms)
			w.setFlags(w.rnd.IntN(3), 0)
			w.run(700 * ms)
			w.stop(w.rnd.IntN(3), 400*ms)
			w.bootAll()
			w.run(1000 * ms)
			if len(w.faults) > 0 {
				t.Fatal(w.faults)
			}
			return w.trace.String()
		}
		some, all := run(false), run(true)
		if some == all {
			continue
		}
		a, b := strings.Split(some, "\n"), strings.Split(all, "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("seed %d, line %d of %d:\n%s\nand not\n%s", seed, i, len(a), strings.Join(a[max(0, i-12):min(len(a), i+2)], "\n"), b[i])
			}
		}
		t.Fatalf("seed %d: %d and %d lines", seed, len(a), len(b))
	}
}
