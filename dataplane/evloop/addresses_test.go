//go:build linux

package evloop

import (
	"net/netip"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestANodeListensWhereItsTableSaysAndAtVirtualIPsThatItHolds and nowhere while it is drained, or
// another process listens instead.
func TestANodeListensWhereItsTableSaysAndAtVirtualIPsThatItHolds(t *testing.T) {
	vip := netip.MustParseAddr("192.0.2.9")
	own, held := netip.MustParseAddrPort("192.0.2.1:80"), netip.AddrPortFrom(vip, 80)
	a := newAddresses(&Config{NodeAddress: own.Addr(), Loops: 1})
	tab := &table.Table{Listeners: []table.Listener{
		{Name: "web", Port: 80, Addresses: []table.Address{{Kind: table.AddressNode}, {Kind: table.AddressVIP, IP: vip}}},
	}}
	if wanted := a.wanted(tab); len(wanted) != 1 || wanted[own] != &tab.Listeners[0] {
		t.Errorf("without the virtual IP: %v", wanted)
	}
	a.shared[held] = 7
	if wanted := a.wanted(tab); len(wanted) != 2 || wanted[held] != &tab.Listeners[0] {
		t.Errorf("with the virtual IP: %v", wanted)
	}
	for name, set := range map[string]*bool{"drained": &a.drained, "released": &a.released} {
		*set = true
		if wanted := a.wanted(tab); len(wanted) != 0 {
			t.Errorf("%s: %v", name, wanted)
		}
		*set = false
	}
}

// TestWhatATableDoesNotHaveIsInTheWayForAMoment: a loop may be late, and its socket answer a
// probe whether the address is free.
func TestWhatATableDoesNotHaveIsInTheWayForAMoment(t *testing.T) {
	at := netip.MustParseAddrPort("192.0.2.1:80")
	a := newAddresses(&Config{NodeAddress: at.Addr(), Loops: 1})
	before := &table.Table{Listeners: []table.Listener{{Name: "web", Port: 80, Addresses: []table.Address{{Kind: table.AddressNode}}}}}
	b := &binding{address: at, clientele: a.clienteleOf("web")}
	if remove := a.replace(before, a.wanted(before), []*binding{b}); len(remove) != 0 || a.bindings[at] != b || !a.covers(at) {
		t.Errorf("%v are removed", remove)
	}
	none := new(table.Table)
	remove := a.replace(none, a.wanted(none), nil)
	if len(remove) != 1 || remove[0] != at || len(a.bindings) != 0 || len(a.clienteles) != 0 || !a.covers(at) {
		t.Errorf("%v are removed, covered %t", remove, a.covers(at))
	}
	a.removed[at] = time.Now().Add(-removedTime - time.Second)
	if a.covers(at) {
		t.Error("a socket that must be closed by now is in the way")
	}
	if a.replace(none, nil, nil); len(a.removed) != 0 {
		t.Error("it is not forgotten")
	}
}
