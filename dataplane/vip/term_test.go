package vip

import (
	"math"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// A member whose memory is damaged, or that is none of us, may name any term.
func TestATermThatIsAsHighAsCanBeEndsNothing(t *testing.T) {
	const able = member.Eligible | member.Healthy
	for seed := range seeds(20) {
		w := newWorld(seed, lan, defaultTiming(), 3, Spec{VIP: "x"})
		w.bootAll()
		w.run(1500 * ms)
		liar := (w.holder("x") + 1) % 3
		for _, says := range [][]member.Holding{{{VIP: "x", Term: math.MaxUint64}}, nil} {
			w.nodes[liar].holds = says
			w.announce(liar)
			w.run(500 * ms)
		}
		for move := range 4 {
			before := w.holder("x")
			if before < 0 {
				t.Fatalf("seed %d, move %d: nobody holds", seed, move)
			}
			w.setFlags(before, 0)
			w.run(1000 * ms)
			w.setFlags(before, able)
			sent := w.sent
			w.run(2000 * ms)
			if now := w.holder("x"); now < 0 || now == before || len(w.faults) > 0 {
				t.Fatalf("seed %d, move %d: from %d to %d, faults %v", seed, move, before, now, w.faults)
			}
			if sent = w.sent - sent; sent > 500 { // a holder renews 20 times a second, with two others
				t.Errorf("seed %d, move %d: %d datagrams in two seconds", seed, move, sent)
			}
		}
	}
}
