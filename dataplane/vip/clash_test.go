package vip

import (
	"testing"
	"time"
)

// Nodes may go by different configurations for long: one refuses a revision, or no
// control plane reaches it. Each then takes another of two holders for the one of higher
// rank, and under Availability no grants keep them apart.
func TestOneHolderIsLeftWhereConfigurationsDifferInWhoThatIs(t *testing.T) {
	spec := func(p Policy, preempt bool, preference ...string) Spec {
		return Spec{Policy: p, Preempt: preempt, Preference: preference}
	}
	// Of "x" another has the greatest weight, of "x3" the one that is cut off.
	for _, c := range []struct {
		name  string
		specs []Spec // by node; a is cut off from the others for a while
	}{
		{"each prefers itself", []Spec{spec(Availability, false, "a", "b"), spec(Availability, false, "b", "a")}},
		{"each prefers itself, and preempts", []Spec{spec(Availability, true, "a", "b"), spec(Availability, true, "b", "a")}},
		{"each prefers the other", []Spec{spec(Availability, false, "b", "a"), spec(Availability, false, "a", "b")}},
		{"each prefers the other, and preempts", []Spec{spec(Availability, true, "b", "a"), spec(Availability, true, "a", "b")}},
		{"the others by majority", []Spec{
			spec(Availability, false, "a"), spec(Majority, false, "b", "c"), spec(Majority, false, "b", "c"),
		}},
		{"the others by majority, of one order", []Spec{
			spec(Availability, false, "a"), spec(Majority, false, "a"), spec(Majority, false, "a"),
		}},
	} {
		for _, vip := range []string{"x", "x3"} {
			t.Run(c.name+", "+vip, func(t *testing.T) {
				t.Logf("one is left after: %s", spread(clash(t, vip, c.specs)))
			})
		}
	}
}

// clash has the first of as many nodes cut off until two hold, and says how long both
// do when they meet, by seed.
func clash(t *testing.T, vip string, specs []Spec) (met []int64) {
	t.Helper()
	const most, alone = 2500 * ms, 1000 * ms
	for seed := range seeds(100) {
		w := newWorld(seed, lan, defaultTiming(), len(specs), Spec{VIP: vip})
		w.strict = false
		w.bootAll()
		for i, s := range specs {
			s.VIP = vip
			w.nodes[i].inbox = append(w.nodes[i].inbox, Configured{[]Spec{s}})
			w.step(i)
		}
		w.run(1500 * ms)
		w.connect(func(from, to int) bool { return from != 0 && to != 0 })
		if _, ok := w.runUntil(5000*ms, func() bool { return len(w.holders(vip)) == 2 }); !ok {
			t.Fatalf("seed %d: in two parts %v hold", seed, w.holders(vip))
		}
		w.connect(func(int, int) bool { return true })
		var since int64 // one alone holds
		d, ok := w.runUntil(most+alone, func() bool {
			if len(w.holders(vip)) != 1 {
				since = w.now
			}
			return w.now-since >= alone
		})
		if !ok {
			t.Fatalf("seed %d: %v after they met, %v hold", seed, time.Duration(most), w.holders(vip))
		}
		met = append(met, d-alone)
	}
	return met
}
