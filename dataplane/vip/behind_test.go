package vip

import "testing"

// A node may go by an older list for long: it cannot keep the next one, or no control
// plane reaches it. Under Availability it would hold by that list while another holds
// by the next, and a member that the next list left out would not even be answered.
func TestAPairsMemberThatIsBehindGivesWayToTheNextList(t *testing.T) {
	for _, c := range []struct {
		name    string
		holds   bool // the member that is behind
		grown   bool // the next list has a third member; else it has not the one that is behind
		overlap int64
	}{
		{"a pair that grew", false, true, 0},
		{"a pair that grew, whose holder is behind", true, true, 3 * int64(Beat)},
		{"who was taken out", false, false, 0},
		{"a holder that was taken out", true, false, 3 * int64(Beat)},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range seeds(50) {
				w := newWorld(seed, lan, defaultTiming(), 3, Spec{VIP: "x"})
				w.strict = false
				give := func(list List, nodes ...int) {
					for _, i := range nodes {
						w.nodes[i].inbox = append(w.nodes[i].inbox, Listed{list})
						w.step(i)
					}
				}
				w.boot(0)
				w.boot(1)
				give(NewList(2, "a", "b"), 0, 1)
				w.run(1500 * ms)
				behind := w.holder("x")
				if behind < 0 {
					t.Fatalf("seed %d: nobody holds", seed)
				}
				if !c.holds {
					behind = 1 - behind
				}
				ahead := 1 - behind
				next := NewList(3, w.nodes[ahead].id)
				if c.grown {
					next = NewList(3, "a", "b", "c")
					w.boot(2)
					give(next, 2)
				}
				give(next, ahead)
				overlap := int64(0)
				for range 3000 {
					w.run(ms)
					if len(w.holders("x")) > 1 {
						overlap += ms
					}
				}
				if h := w.holder("x"); h < 0 || h == behind || overlap > c.overlap {
					t.Fatalf("seed %d: two held for %d ms, and in the end %v", seed, overlap/ms, w.holders("x"))
				}
			}
		})
	}
}
