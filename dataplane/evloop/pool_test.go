//go:build linux

package evloop

import "testing"

// TestASlotHasTheLastPoolThatWasPut and other slots have none.
func TestASlotHasTheLastPoolThatWasPut(t *testing.T) {
	var ps pools
	if ps.at(3) != nil || ps.take(3) != nil {
		t.Error("there is a pool before any was put")
	}
	first, second := new(endpointPool), new(endpointPool)
	ps.put(3, first)
	ps.put(3, second)
	if ps.at(2) != nil || ps.at(4) != nil || ps.at(3) != second {
		t.Error("a pool stands in another slot, or an earlier one in this")
	}
	if ps.take(3) != second || ps.at(3) != nil {
		t.Error("a pool that was taken out is still there")
	}
}

// TestAPoolIsAskedForOnce however many streams come to wait for it in a turn.
func TestAPoolIsAskedForOnce(t *testing.T) {
	var ps pools
	p := new(endpointPool)
	ps.want(p)
	if ps.want(p); len(ps.wanting) != 1 {
		t.Errorf("%d times", len(ps.wanting))
	}
}
