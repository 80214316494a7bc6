package vip

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// gaps measures, over many worlds of n nodes, how long nobody holds after
// something was done to the holder.
func gaps(t *testing.T, n int, count uint64, spec Spec, do func(w *world, holder int)) []int64 {
	t.Helper()
	var took []int64
	for seed := range count {
		w := newWorld(seed, lan, defaultTiming(), n, spec)
		w.bootAll()
		w.run(1500 * ms)
		w.run(rand.New(rand.NewPCG(seed, 3)).Int64N(50 * ms)) // any phase of the beat
		holder := w.holder(spec.VIP)
		if holder < 0 {
			t.Fatalf("seed %d: nobody holds", seed)
		}
		begin, before := w.now, len(w.claims)
		do(w, holder)
		w.run(1500 * ms)
		off, on := int64(-1), int64(-1)
		for _, c := range w.claims[before:] {
			switch {
			case !c.up && off < 0:
				off = c.at
			case c.up && c.node != w.nodes[holder].id && on < 0:
				on = c.at
			}
		}
		if on < 0 {
			t.Fatalf("seed %d: nobody followed: %v", seed, w.claims[before:])
		}
		if !w.nodes[holder].up { // counted from the crash
			off = begin
		}
		took = append(took, on-off)
		for _, f := range w.faults {
			t.Errorf("seed %d: %s", seed, f)
		}
	}
	return took
}

func median(d []int64) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return time.Duration(d[len(d)/2])
}

func TestACrashedHolderIsFollowedWithin300msMedian(t *testing.T) {
	for _, n := range []int{3, 5} {
		took := gaps(t, n, seeds(300), Spec{VIP: "x"}, func(w *world, holder int) { w.crash(holder) })
		t.Logf("%d nodes, the holder's machine gone: %s", n, spread(took))
		if median(took) >= 300*time.Millisecond || slices.Max(took) > 1000*ms {
			t.Errorf("%d nodes: a crashed holder is followed too late", n)
		}
	}
}

func TestAHolderThatCannotHoldIsFollowedAtOnce(t *testing.T) {
	took := gaps(t, 3, seeds(300), Spec{VIP: "x"}, func(w *world, holder int) {
		w.setFlags(holder, 0)
	})
	t.Logf("the holder's main process gone: %s", spread(took))
	if median(took) >= 10*time.Millisecond || slices.Max(took) > 300*ms {
		t.Error("a holder that resigned is followed too late")
	}
}

func TestADrainingHolderGoesOnUntilItsFollowerIsReady(t *testing.T) {
	took := gaps(t, 3, seeds(300), Spec{VIP: "x"}, func(w *world, holder int) {
		w.setFlags(holder, member.Eligible|member.Healthy|member.Draining)
	})
	t.Logf("the holder drains: %s", spread(took))
	if median(took) >= 10*time.Millisecond || slices.Max(took) > 300*ms {
		t.Error("a move has too long a gap")
	}
}

func TestAPairUnderAvailabilityFollowsToo(t *testing.T) {
	took := gaps(t, 2, seeds(100), Spec{VIP: "x"}, func(w *world, holder int) { w.crash(holder) })
	t.Logf("a pair: %s", spread(took))
	if slices.Max(took) > 1000*ms {
		t.Error("a crashed holder of a pair is followed too late")
	}
}

// A process that is stopped cannot take its address off: until the kernel does,
// there are two. When it runs again, the first thing it does is to let go.
func TestAStoppedHolderOverlapsNoLongerThanTheKernelsLease(t *testing.T) {
	var overlaps []int64
	for seed := range seeds(200) {
		w := newWorld(seed, lan, defaultTiming(), 3, Spec{VIP: "x"})
		w.bootAll()
		w.run(1000 * ms)
		rnd := rand.New(rand.NewPCG(seed, 4))
		h := w.holder("x")
		begin := w.now
		d := rnd.Int64N(4000 * ms)
		if rnd.IntN(2) == 0 {
			w.stop(h, d)
		} else {
			w.freeze(h, d)
			d += int64(GrantFor)
		}
		overlap := int64(0)
		for w.now < begin+5000*ms {
			w.run(ms)
			if len(w.holders("x")) > 1 {
				overlap += ms
				if w.now > begin+d+5*ms {
					t.Fatalf("seed %d: two holders %v after the holder ran again", seed, time.Duration(w.now-begin-d))
				}
			}
		}
		overlaps = append(overlaps, overlap)
		if len(w.holders("x")) != 1 {
			t.Errorf("seed %d: held by %v in the end", seed, w.holders("x"))
		}
		for _, f := range w.faults {
			t.Errorf("seed %d: %s", seed, f)
		}
	}
	t.Logf("two at a time for: %s", spread(overlaps))
	if slices.Max(overlaps) > 2100*ms {
		t.Error("two hold for more than 2.1 s")
	}
}

func TestAvailabilityHasAHolderInEachPartAndOneWhenTheyMeet(t *testing.T) {
	var parted, met []int64
	for seed := range seeds(200) {
		n := 2 + int(seed%4)
		w := newWorld(seed, lan, defaultTiming(), n, Spec{VIP: "x", Policy: Availability})
		w.strict = false
		w.bootAll()
		w.run(1500 * ms)
		side := 1 + rand.New(rand.NewPCG(seed, 5)).IntN(1<<n-2) // both parts have a node
		part := func(i int) int { return side >> i & 1 }
		w.connect(func(from, to int) bool { return part(from) == part(to) })
		held := func(p int) bool {
			for i, m := range w.nodes {
				if part(i) == p && m.address["x"] != nil {
					return true
				}
			}
			return false
		}
		d, ok := w.runUntil(3000*ms, func() bool { return held(0) && held(1) })
		if !ok {
			t.Fatalf("seed %d: a part of %b has no holder", seed, side)
		}
		parted = append(parted, d)
		w.run(3000 * ms)
		if len(w.holders("x")) != 2 {
			t.Fatalf("seed %d: in two parts %v hold", seed, w.holders("x"))
		}
		first, second := w.holders("x")[0], w.holders("x")[1]
		i, _ := w.list.Index(first)
		if j, _ := w.list.Index(second); newElector(w.specs[0], w.list, nil, nil).outranks(j, i) {
			first = second
		}
		w.connect(func(int, int) bool { return true })
		d, ok = w.runUntil(1000*ms, func() bool { return len(w.holders("x")) == 1 })
		if !ok {
			t.Fatalf("seed %d: %v still hold", seed, w.holders("x"))
		}
		met = append(met, d)
		w.run(1000 * ms)
		if got := w.holders("x"); len(got) != 1 || got[0] != first {
			t.Errorf("seed %d: %v hold in the end, want the one of higher rank, %s", seed, got, first)
		}
	}
	t.Logf("each part has a holder after: %s", spread(parted))
	t.Logf("one is left after: %s", spread(met))
}

// A and B do not hear each other, C hears both.
func TestAvailabilityEndsAConflictThatOnlyAThirdSees(t *testing.T) {
	for seed := range seeds(100) {
		w := newWorld(seed, lan, defaultTiming(), 3, Spec{VIP: "x", Policy: Availability})
		w.strict = false
		w.bootAll()
		w.run(1500 * ms)
		w.connect(func(from, to int) bool { return false })
		if _, ok := w.runUntil(3000*ms, func() bool { return len(w.holders("x")) == 3 }); !ok {
			t.Fatalf("seed %d: alone, %v hold", seed, w.holders("x"))
		}
		w.connect(func(from, to int) bool { return from == 2 || to == 2 })
		if _, ok := w.runUntil(2000*ms, func() bool { return len(w.holders("x")) == 1 }); !ok {
			t.Fatalf("seed %d: %v hold, and c hears all of them", seed, w.holders("x"))
		}
	}
}

func TestAMorePreferredNodeTakesOverOnlyWithPreempt(t *testing.T) {
	for _, preempt := range []bool{false, true} {
		for seed := range seeds(50) {
			w := newWorld(seed, lan, defaultTiming(), 3, Spec{VIP: "x", Preference: []string{"b", "c"}, Preempt: preempt})
			w.boot(0)
			w.boot(2)
			w.run(1500 * ms)
			if w.holder("x") != 2 {
				t.Fatalf("seed %d: %v hold, want the most preferred that is there", seed, w.holders("x"))
			}
			w.boot(1)
			w.run(3000 * ms)
			want := 2
			if preempt {
				want = 1
			}
			if w.holder("x") != want || len(w.faults) > 0 {
				t.Errorf("seed %d, preempt %v: %v hold, faults %v", seed, preempt, w.holders("x"), w.faults)
			}
		}
	}
}

// A preferred node that cannot reach a majority must not take the address off
// the network by trying.
func TestAPreferredNodeThatReachesNobodyDoesNotDisturb(t *testing.T) {
	for seed := range seeds(50) {
		w := newWorld(seed, lan, defaultTiming(), 5, Spec{VIP: "x", Preference: []string{"a"}, Preempt: true})
		w.connect(func(from, to int) bool { return from > 0 && to > 0 || from+to == 1 }) // a hears and is heard by b alone
		w.bootAll()
		w.run(2000 * ms)
		holder, before := w.holder("x"), len(w.claims)
		w.run(8000 * ms)
		if holder < 1 || len(w.claims) != before {
			t.Errorf("seed %d: holder was %d, then %v", seed, holder, w.claims[before:])
		}
	}
}

func TestIfAllAreUnhealthyTheHolderStays(t *testing.T) {
	for seed := range seeds(50) {
		w := newWorld(seed, lan, defaultTiming(), 3, Spec{VIP: "x"})
		w.bootAll()
		w.run(1500 * ms)
		for i := range w.nodes { // within moments of each other
			w.setFlags(i, member.Eligible)
			w.run(w.rnd.Int64N(30 * ms))
		}
		w.run(3000 * ms)
		holder, before := w.holder("x"), len(w.claims)
		w.run(3000 * ms)
		if holder < 0 || len(w.claims) != before {
			t.Errorf("seed %d: holder was %d, then %v", seed, holder, w.claims[before:])
		}
		healthy := (holder + 1) % 3
		w.setFlags(healthy, member.Eligible|member.Healthy)
		w.run(1500 * ms)
		if w.holder("x") != healthy {
			t.Errorf("seed %d: %v hold, and %d alone is healthy", seed, w.holders("x"), healthy)
		}
	}
}

func TestAWitnessMakesAPairAMajorityAndNeverHolds(t *testing.T) {
	for seed := range seeds(50) {
		w := newWorld(seed, lan, defaultTiming(), 3, Spec{VIP: "x", Policy: Majority})
		w.nodes[2].flags = member.Eligible | member.Healthy | member.Witness
		w.bootAll()
		w.run(1500 * ms)
		for range 4 {
			h := w.holder("x")
			if h != 0 && h != 1 {
				t.Fatalf("seed %d: %v hold", seed, w.holders("x"))
			}
			w.crash(h)
			w.run(1500 * ms)
			w.boot(h)
			w.run(500 * ms)
		}
		w.crash(0)
		w.crash(1)
		w.run(3000 * ms)
		if len(w.holders("x")) != 0 || len(w.faults) != 0 {
			t.Errorf("seed %d: %v hold, faults %v", seed, w.holders("x"), w.faults)
		}
	}
}

func TestManyVIPsTravelTogether(t *testing.T) {
	var specs []Spec
	for i := range 100 {
		specs = append(specs, Spec{VIP: string(rune('a'+i/26)) + string(rune('a'+i%26))})
	}
	w := newWorld(1, lan, defaultTiming(), 3, specs...)
	w.bootAll()
	w.run(2000 * ms)
	held := map[string]int{}
	for _, s := range specs {
		if h := w.holders(s.VIP); len(h) == 1 {
			held[h[0]]++
		}
	}
	if len(held) != 3 || held["a"]+held["b"]+held["c"] != 100 {
		t.Errorf("held are %v", held)
	}
	before := w.sent
	w.run(1000 * ms)
	perSecond := w.sent - before
	t.Logf("held are %v, %d datagrams a second", held, perSecond)
	// Three holders renew at two others, 20 times a second, each in one datagram
	// or two, and are answered.
	if perSecond > 3*2*20*2*2 {
		t.Errorf("%d datagrams a second", perSecond)
	}
	for _, f := range w.faults {
		t.Error(f)
	}
}
