package nodes

import (
	"testing"

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
