package vip

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

var times = flag.Int("times", 1, "run the simulations with that many times as many seeds")

// seeds is how many seeds a simulation runs with; -short and the race detector run few.
func seeds(n int) uint64 {
	n *= *times
	if testing.Short() || raceEnabled {
		n = max(1, n/10)
	}
	return uint64(n) //nolint:gosec // not negative
}

// complain fails the test with what happened last in a world.
func complain(t *testing.T, w *world, format string, args ...any) {
	t.Helper()
	t.Errorf(format, args...)
	if w.trace != nil {
		lines := strings.Split(w.trace.String(), "\n")
		t.Log("\n" + strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

// graph gives the symmetric graph of five nodes whose edges are the bits.
func graph(bits int) func(from, to int) bool {
	var links [5][5]bool
	n := 0
	for i := range 5 {
		for j := range i {
			links[i][j] = bits>>n&1 != 0
			links[j][i] = links[i][j]
			n++
		}
	}
	return func(from, to int) bool { return links[from][to] }
}

// capable lists the nodes that can hold: they may, and reach a majority both
// ways.
func capable(w *world) []int {
	var able []int
	for i, m := range w.nodes {
		if !m.up || m.flags != member.Eligible|member.Healthy {
			continue
		}
		votes := 0
		for j := range w.nodes {
			if w.nodes[j].up && w.links[i][j] && w.links[j][i] {
				votes++
			}
		}
		if w.list.Majority(votes) {
			able = append(able, i)
		}
	}
	return able
}

// within is how long after the last fault a capable node holds, in five nodes.
const within = 3 * time.Second

// untilHeld runs a world without further faults until a capable node holds, or for
// a while if there is none. It says how long that took.
func untilHeld(t *testing.T, w *world, name string) (took int64, isCapable bool) {
	t.Helper()
	w.c.loss, w.c.slow = 0, 0
	able := capable(w)
	if len(able) == 0 {
		w.run(500 * ms)
		if w.holder("x") >= 0 {
			complain(t, w, "%s: somebody holds without a majority", name)
		}
		return 0, false
	}
	took, found := w.runUntil(int64(within), func() bool { return slices.Contains(able, w.holder("x")) })
	if !found {
		complain(t, w, "%s: nobody holds after %v", name, within)
		return took, true
	}
	held := len(w.claims)
	w.run(600 * ms)
	if len(w.claims) != held {
		complain(t, w, "%s: the holder changed with no fault: %v", name, w.claims[held:])
	}
	return took, true
}

func jittery() conditions {
	c := lan
	c.drift, c.delay, c.loss, c.repeat = 0.01, [2]int64{ms / 20, 5 * ms}, 0.02, 0.05
	return c
}

func TestOnEveryGraphOfFiveNodesACapableNodeHoldsAndStays(t *testing.T) {
	var took []int64
	for bits := range 1 << 10 {
		for seed := range seeds(3) {
			w := newWorld(seed<<10|uint64(bits), jittery(), defaultTiming(), 5, Spec{VIP: "x"})
			w.trace = &strings.Builder{}
			w.bootAll()
			w.run(600*ms + w.rnd.Int64N(100*ms))
			w.connect(graph(bits))
			d, able := untilHeld(t, w, "graph "+describe(w))
			if able {
				took = append(took, d)
			}
			for _, f := range w.faults {
				complain(t, w, "seed %d, graph %s: %s", seed, describe(w), f)
			}
			if t.Failed() {
				return
			}
		}
	}
	t.Logf("%d cases with a capable node, which holds after: %s", len(took), spread(took))
}

// describe lists who hears whom.
func describe(w *world) string {
	var rows []string
	for i, m := range w.nodes {
		row := m.id + "→"
		for j := range w.nodes {
			if i != j && w.links[i][j] {
				row += w.nodes[j].id
			}
		}
		rows = append(rows, row)
	}
	return strings.Join(rows, " ")
}

func TestOnOneWayGraphsACapableNodeHoldsAndStays(t *testing.T) {
	var took []int64
	for seed := range seeds(2000) {
		w := newWorld(seed, jittery(), defaultTiming(), 3+int(seed%4), Spec{VIP: "x", Policy: Majority})
		w.trace = &strings.Builder{}
		rnd := rand.New(rand.NewPCG(seed, 2))
		w.bootAll()
		w.run(600*ms + rnd.Int64N(100*ms))
		keep := rnd.Float64()
		w.connect(func(int, int) bool { return rnd.Float64() < keep })
		d, able := untilHeld(t, w, "graph "+describe(w))
		if able {
			took = append(took, d)
		}
		for _, f := range w.faults {
			complain(t, w, "seed %d, graph %s: %s", seed, describe(w), f)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d cases with a capable node, which holds after: %s", len(took), spread(took))
}

// spread is what a distribution is like.
func spread(d []int64) string {
	d = slices.Sorted(slices.Values(d))
	at := func(p float64) string {
		return time.Duration(d[int(p*float64(len(d)-1))]).Round(100 * time.Microsecond).String()
	}
	return "median " + at(0.5) + ", p90 " + at(0.9) + ", p99 " + at(0.99) + ", worst " + at(1)
}

// chaos does something to a world, again and again.
func chaos(w *world, rnd *rand.Rand, steps int) {
	for range steps {
		i := rnd.IntN(len(w.nodes))
		switch rnd.IntN(10) {
		case 0, 1: // any graph, one-way links too
			w.connect(func(int, int) bool { return rnd.IntN(4) > 0 })
		case 2: // a partition
			side := rnd.IntN(1 << len(w.nodes))
			w.connect(func(from, to int) bool { return side>>from&1 == side>>to&1 })
		case 3, 4:
			w.connect(func(int, int) bool { return true })
		case 5:
			w.crash(i)
			if rnd.IntN(2) == 0 {
				w.boot(i) // at once: what it granted is forgotten
			} else {
				w.after(rnd.Int64N(500*ms), func() { w.boot(i) })
			}
		case 6:
			w.stop(i, rnd.Int64N(1000*ms))
		case 7:
			w.freeze(i, rnd.Int64N(1000*ms))
		case 8:
			w.setFlags(i, member.Flags(rnd.IntN(8)))
			w.after(rnd.Int64N(1000*ms), func() { w.setFlags(i, member.Eligible|member.Healthy) })
		case 9:
			if h := w.holder("x"); h >= 0 {
				w.crash(h)
				w.after(rnd.Int64N(100*ms), func() { w.boot(h) })
			}
		}
		w.run(rnd.Int64N(400 * ms))
		w.checkAll()
	}
}

// wild is a world of that seed at the borders of what is promised.
func wild(seed uint64, t timing, policy Policy) (*world, *rand.Rand) {
	c := harsh
	rnd := rand.New(rand.NewPCG(seed, 1))
	c.wildViews = seed%3 == 0
	if seed%5 == 0 {
		c.loss = 0.4
	}
	w := newWorld(seed, c, t, 3+int(seed%4),
		Spec{VIP: "x", Policy: policy}, Spec{VIP: "y", Policy: policy, Preference: []string{"c", "a"}, Preempt: true})
	w.bootAll()
	return w, rnd
}

func TestNeverTwoHoldersWhateverHappens(t *testing.T) {
	claims := 0
	var took []int64
	for seed := range seeds(1500) {
		w, rnd := wild(seed, defaultTiming(), Majority)
		w.run(rnd.Int64N(600 * ms))
		chaos(w, rnd, 25)
		claims += len(w.claims)

		// And when it is over, somebody holds again.
		w.c = lan
		w.run(1000 * ms) // what stopped resumes
		w.connect(func(int, int) bool { return true })
		for i := range w.nodes {
			w.boot(i)
			w.setFlags(i, member.Eligible|member.Healthy)
		}
		d, ok := w.runUntil(int64(within), func() bool { return w.holder("x") >= 0 && w.holder("y") >= 0 })
		if !ok {
			t.Errorf("seed %d: nobody holds %v after the last fault", seed, within)
		}
		took = append(took, d)
		for _, f := range w.faults {
			t.Errorf("seed %d: %s", seed, f)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d claims and drops; both held after the last fault after: %s", claims, spread(took))
}

// Whoever has recorded what members say may send it again, at any time and in any order.
func TestNeverTwoHoldersWhateverIsSentAgain(t *testing.T) {
	claims := 0
	for seed := range seeds(120) {
		w, rnd := wild(seed, defaultTiming(), Majority)
		w.c.again = 0.5
		w.run(rnd.Int64N(600 * ms))
		chaos(w, rnd, 25)
		claims += len(w.claims)
		for _, f := range w.faults {
			t.Errorf("seed %d: %s", seed, f)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d claims and drops", claims)
}

// What keeps two nodes from holding is taken away, one thing at a time: the
// simulation must see two holders. So it can fail, and each of these is needed.
func TestTheSimulationFindsWhatIsMissing(t *testing.T) {
	change := func(f func(*timing)) timing {
		t := defaultTiming()
		f(&t)
		return t
	}
	cases := []struct {
		name   string
		timing timing
		setUp  func(w *world)
		policy Policy
		sign   string // what must be seen; empty: two holders, or one not covered
	}{
		{name: "a holder that keeps as long as a grant lasts", sign: "is held by", timing: change(func(t *timing) { t.keep = t.grant })},
		{name: "no pause after a restart", sign: "is held by", timing: defaultTiming(), setUp: func(w *world) {
			w.poke = func(i int) { w.nodes[i].g.quiet = 0 }
		}},
		{name: "time counted from the answer", timing: change(func(t *timing) { t.keep = t.grant - 20*ms }), setUp: func(w *world) {
			w.c.slow, w.c.slowest = 0.5, 500*ms
			w.poke = func(i int) {
				m := w.nodes[i]
				for _, e := range m.inbox {
					if a := e.(Received).Message; a.Kind == Answer && a.Boot == m.boot {
						if s := &m.g.sent[a.Seq%sentKept]; s.seq == a.Seq {
							s.at = w.clock(m)
						}
					}
				}
			}
		}},
		{name: "clocks that differ by half", timing: defaultTiming(), setUp: func(w *world) {
			for i, m := range w.nodes {
				m.rate = 1 + 0.25*float64(2*(i%2)-1)
			}
		}},
		{name: "a process that is 100 ms late", timing: defaultTiming(), setUp: func(w *world) { w.c.late = [2]int64{50 * ms, 100 * ms} }},
		{name: "all that answer instead of a majority", timing: defaultTiming(), policy: Availability},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(400) {
				if c.policy == Default {
					c.policy = Majority
				}
				w, rnd := wild(seed, c.timing, c.policy)
				if c.setUp != nil {
					c.setUp(w)
				}
				w.run(rnd.Int64N(600 * ms))
				chaos(w, rnd, 25)
				for _, f := range w.faults {
					if strings.Contains(f, c.sign) {
						t.Logf("seed %d: %s", seed, f)
						return
					}
				}
			}
			t.Error("nothing was found")
		})
	}
}

// transitive says whether all that can reach each other hear each other.
func transitive(links func(from, to int) bool) bool {
	for a := range 5 {
		for b := range 5 {
			for c := range 5 {
				if a != c && links(a, b) && links(b, c) && !links(a, c) {
					return false
				}
			}
		}
	}
	return true
}

// Every graph is entered from a whole network, at a moment of its own, and left
// for another; meanwhile the holder's process dies and comes back. All of it with
// clocks, delays, losses and repetitions at the borders of what is promised.
func TestNeverTwoHoldersOnAnyNonTransitiveGraphOfFiveNodes(t *testing.T) {
	graphs, claims := 0, 0
	for bits := range 1 << 10 {
		if transitive(graph(bits)) {
			continue
		}
		graphs++
		for seed := range seeds(3) {
			w := newWorld(seed<<10|uint64(bits), harsh, defaultTiming(), 5, Spec{VIP: "x", Policy: Majority})
			w.c.wildViews = seed%3 == 2
			w.trace = &strings.Builder{}
			w.bootAll()
			w.run(500*ms + w.rnd.Int64N(300*ms))
			w.connect(graph(bits))
			for range 3 {
				w.run(200*ms + w.rnd.Int64N(400*ms))
				w.checkAll()
				if h := w.holder("x"); h >= 0 {
					w.crash(h)
					w.after(w.rnd.Int64N(300*ms), func() { w.boot(h) })
				}
			}
			w.run(300 * ms)
			w.connect(graph(w.rnd.IntN(1 << 10)))
			w.run(500 * ms)
			w.checkAll()
			claims += len(w.claims)
			for _, f := range w.faults {
				complain(t, w, "seed %d, graph %d: %s", seed, bits, f)
			}
			if t.Failed() {
				return
			}
		}
	}
	// 52 of the 1,024 graphs are transitive: as many as there are partitions of five.
	if graphs != 1024-52 {
		t.Errorf("%d graphs", graphs)
	}
	t.Logf("%d graphs, %d claims and drops", graphs, claims)
}
