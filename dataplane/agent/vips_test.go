package agent

import (
	"fmt"
	"slices"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/dataplane/vip"
)

func TestTheAgentKeepsGrantsOfAsManyVirtualIPsAsATableMayHave(t *testing.T) {
	if table.MaxVirtualIPs > vip.MaxVIPs {
		t.Errorf("a table may have %d, the agent keeps %d", table.MaxVirtualIPs, vip.MaxVIPs)
	}
}

func TestTheAgentIsToldThePortsOfEachVirtualIP(t *testing.T) {
	on := func(names ...string) (all []table.Address) {
		for _, name := range names {
			all = append(all, table.Address{Kind: table.AddressVIP, VIP: name})
		}
		return append(all, table.Address{Kind: table.AddressNode})
	}
	tab := &table.Table{
		VirtualIPs: []table.VirtualIP{{Name: "a"}, {Name: "b"}, {Name: "c"}},
		Listeners: []table.Listener{
			{Name: "both", Port: 80, Backlog: 16, Addresses: on("a", "b")},
			{Name: "first", Port: 443, Backlog: 32, Addresses: on("a")},
			{Name: "none", Port: 8080, Addresses: on()},
		},
	}
	var got []string
	for _, v := range VIPs(tab) {
		text := v.GetName()
		for _, p := range v.GetPorts() {
			text += fmt.Sprintf(" %d/%d", p.GetPort(), p.GetBacklog())
		}
		got = append(got, text)
	}
	if want := []string{"a 80/16 443/32", "b 80/16", "c"}; !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
}

// What applying a table costs for the agent's sake, where a thousand virtual IPs have ten
// listeners each.
func BenchmarkVIPs(b *testing.B) {
	tab := &table.Table{}
	var all []table.Address
	for i := range table.MaxVirtualIPs {
		name := fmt.Sprintf("vip-%04d", i)
		tab.VirtualIPs = append(tab.VirtualIPs, table.VirtualIP{Name: name})
		all = append(all, table.Address{Kind: table.AddressVIP, VIP: name})
	}
	for i := range 10 {
		tab.Listeners = append(tab.Listeners, table.Listener{Port: uint16(8000 + i), Addresses: all}) //nolint:gosec // a port
	}
	for b.Loop() {
		VIPs(tab)
	}
}
