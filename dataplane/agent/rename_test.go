//go:build linux

package agent

import (
	"testing"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// A configuration reaches nodes at different times, and one that no control plane
// reaches not at all: it goes on with the virtual IP that was renamed meanwhile.
func TestAnAddressHasOneHolderWhateverItsVirtualIPIsCalled(t *testing.T) {
	p := newPlace(t)
	nodes := p.fleet(t)
	first := p.holder(t)
	for id, n := range nodes {
		if id != first {
			v := p.vips()
			v[0].Name = "renamed"
			n.s.SetVIPs(v)
		}
	}
	holding := func(n *node) bool {
		for _, v := range n.s.Statuses() {
			if v.GetState() == fleetv1.VipStatus_HOLDING {
				return true
			}
		}
		return false
	}
	// On a busy machine the virtual IP may move; then reports are late, and for a
	// moment both nodes' say that they hold.
	const moment = 500 * time.Millisecond
	var both time.Time // since when, as each look found; zero: the last one did not
	for renamed := time.Now(); time.Since(renamed) < 3*moment; p.ask() {
		holders := 0
		for _, n := range nodes {
			if holding(n) {
				holders++
			}
		}
		if holders < 2 {
			both = time.Time{}
		} else if both.IsZero() {
			both = time.Now()
		} else if time.Since(both) > moment {
			t.Fatal("one node holds the address by its old name, another by its new one")
		}
	}
	// All have heard of the new name: one holds by it, and status says so.
	v := p.vips()
	v[0].Name = "renamed"
	nodes[first].s.SetVIPs(v)
	eventually(t, "a holder by the new name", func() bool {
		answers := p.ask()
		for id, n := range nodes {
			s := n.s.Statuses()
			if len(s) != 1 || s[0].GetVip() != "renamed" || s[0].GetHolder() != answers || s[0].GetHolds() != (id == answers) {
				return false
			}
		}
		return true
	})
}
