package compile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// compileVIPs makes the sorted list of virtual IPs; bindVIPs completes it. It is
// shared while nothing changes that it depends on.
func (c *compiler) compileVIPs() {
	old := c.prev.Table.VirtualIPs
	if !c.vips.any() {
		c.built.Table.VirtualIPs = old
		return
	}
	changed := map[string]bool{}
	for _, name := range c.vips.removed {
		changed[name] = true
	}
	var all []table.VirtualIP
	for i := range c.vips.upserts {
		leaf := &c.vips.upserts[i]
		changed[leaf.Key.Name] = true
		if r := c.read(leaf); r != nil {
			all = append(all, c.virtualIP(leaf.Key, r.GetVirtualIp()))
		}
	}
	for i := range old {
		if !changed[old[i].Name] {
			all = append(all, old[i])
		}
	}
	slices.SortFunc(all, func(a, b table.VirtualIP) int { return strings.Compare(a.Name, b.Name) })
	c.built.Table.VirtualIPs = all
	if n := len(all); n > table.MaxVirtualIPs {
		c.tell(tree.Key{Kind: resource.VirtualIP, Name: all[table.MaxVirtualIPs].Name}, "",
			fmt.Sprintf("%d virtual IPs", n), fmt.Sprintf("at most %d in a fleet", table.MaxVirtualIPs))
	}
	c.findSharedAddresses()
}

// virtualIP converts one definition, which was checked.
func (c *compiler) virtualIP(key tree.Key, d *fleetv1.VirtualIP) table.VirtualIP {
	v := table.VirtualIP{
		Name: key.Name, Announce: table.AnnounceBind,
		Nodes: d.GetNodes().GetNames(), Preference: d.GetPreference(), Preempt: d.GetPreempt(),
	}
	prefix, err := parsePrefix(d.GetAddress())
	if err != nil || !prefix.IsSingleIP() {
		c.tell(key, "spec.address", quote(d.GetAddress()), "one IP address")
	}
	v.IP = prefix.Addr()
	switch d.GetPartitionPolicy() {
	case fleetv1.VirtualIP_MAJORITY:
		v.Policy = table.PartitionMajority
	case fleetv1.VirtualIP_AVAILABILITY:
		v.Policy = table.PartitionAvailability
	default:
		v.Policy = table.PartitionDefault
	}
	labels := d.GetNodes().GetLabels()
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		v.Labels = append(v.Labels, table.Label{Name: name, Value: labels[name]})
	}
	return v
}

// findSharedAddresses tells which virtual IPs have one address: two nodes could
// hold it then, each by right.
func (c *compiler) findSharedAddresses() {
	first := map[netip.Addr]string{}
	for i := range c.built.Table.VirtualIPs {
		v := &c.built.Table.VirtualIPs[i]
		if other, again := first[v.IP]; again {
			c.tell(tree.Key{Kind: resource.VirtualIP, Name: v.Name}, "spec.address",
				fmt.Sprintf("%s, which VirtualIP/%s has too", v.IP, other), "an address of its own")
			continue
		}
		first[v.IP] = v.Name
	}
}

// bindVIPs gives listeners the addresses of the virtual IPs that they name, or of
// all if they name no address, and virtual IPs the ports of those listeners.
func (c *compiler) bindVIPs() {
	if !c.vips.any() && !c.listeners.any() {
		return
	}
	vips := slices.Clone(c.built.Table.VirtualIPs)
	for i := range vips {
		vips[i].Ports = nil
	}
	c.built.Table.VirtualIPs = vips
	for i := range c.built.Table.Listeners {
		l := &c.built.Table.Listeners[i]
		l.Addresses = c.resolved(l)
		for _, a := range l.Addresses {
			if v := c.built.Table.VirtualIP(a.VIP); v != nil && a.Kind == table.AddressVIP {
				v.Ports = append(v.Ports, l.Port)
			}
		}
	}
	for i := range vips {
		slices.Sort(vips[i].Ports)
		vips[i].Ports = slices.Compact(vips[i].Ports)
	}
}

// resolved are a listener's addresses with the virtual IPs that there are now. A
// name that is none is told.
func (c *compiler) resolved(l *table.Listener) []table.Address {
	if l.EveryAddress {
		addresses := []table.Address{{Kind: table.AddressNode}}
		for i := range c.built.Table.VirtualIPs {
			v := &c.built.Table.VirtualIPs[i]
			addresses = append(addresses, table.Address{Kind: table.AddressVIP, IP: v.IP, VIP: v.Name})
		}
		return addresses
	}
	addresses := slices.Clone(l.Addresses)
	for i := range addresses {
		a := &addresses[i]
		if a.Kind != table.AddressVIP {
			continue
		}
		if v := c.built.Table.VirtualIP(a.VIP); v != nil {
			a.IP = v.IP
			continue
		}
		to := tree.Key{Kind: resource.VirtualIP, Name: a.VIP}
		if !c.exists(to.Kind, to.Name) { // else it is broken, which was told
			c.missing(tree.Key{Kind: resource.Listener, Name: l.Name}, fmt.Sprintf("spec.addresses[%d]", i), to)
		}
	}
	return addresses
}
