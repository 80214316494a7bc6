package nodes

import (
	"testing"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

func TestAnotherReasonForWhichANodeTakesNothingIsAChange(t *testing.T) {
	says := func(why string) *fleetv1.Status {
		return &fleetv1.Status{VirtualIps: []*fleetv1.VipStatus{{Vip: "shop", State: fleetv1.VipStatus_IDLE, NotEligible: why}}}
	}
	if sameVIPs(says("it is drained"), says("it stops")) {
		t.Error("who watches is not told")
	}
	if !sameVIPs(says("it stops"), says("it stops")) {
		t.Error("the same is a change")
	}
}

func TestSinceWhenANodeSaysThatItHoldsIsOfOneTerm(t *testing.T) {
	says := func(holds bool, term uint64) *fleetv1.Status {
		return &fleetv1.Status{VirtualIps: []*fleetv1.VipStatus{{Vip: "shop", Holds: holds, Term: term}, {Vip: "other"}}}
	}
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	var from map[string]held
	for i, c := range []struct {
		holds bool
		term  uint64
		from  int // which second; -1: it does not hold
	}{{false, 3, -1}, {true, 3, 1}, {true, 3, 1}, {true, 4, 3}, {false, 4, -1}, {true, 4, 5}} {
		from = heldFrom(from, says(c.holds, c.term), at(i))
		h, ok := from["shop"]
		if ok != (c.from >= 0) || ok && !h.from.Equal(at(c.from)) || len(from) > 1 {
			t.Errorf("second %d: %v", i, from)
		}
	}
}
