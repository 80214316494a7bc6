package gossip

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// ErrMoved is why Run ends where others do not reach the node by the address that it
// advertises, and would by another one.
var ErrMoved = errors.New("gossip: the node has another address")

// routeFor bounds the search for the address that leads to others.
const routeFor = 2 * time.Second

// advertised is the ip by which others reach this node.
func (g *Gossip) advertised() (net.IP, error) {
	if g.c.Advertise != "" {
		return net.ParseIP(g.c.Advertise), nil
	}
	if !g.address.Addr().IsUnspecified() {
		return g.address.Addr().AsSlice(), nil
	}
	if ip := g.routed(); ip != nil {
		return ip, nil
	}
	all, err := g.c.here()
	if err != nil {
		return nil, fmt.Errorf("gossip: addresses of this machine: %w", err)
	}
	return choose(g.reachable(all)), nil
}

// reaches says whether the node's socket can have anything to do with an address: one of all
// addresses of IPv6 has of both families, others of their own.
func (g *Gossip) reaches(ip netip.Addr) bool {
	at := g.address.Addr()
	return at.Is6() && at.IsUnspecified() || at.Is4() == ip.Unmap().Is4()
}

// reachable leaves out the addresses of a machine that the node's socket does not have.
func (g *Gossip) reachable(all []net.Addr) []net.Addr {
	return slices.DeleteFunc(slices.Clone(all), func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		if !ok {
			return true
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		return !ok || !g.reaches(ip)
	})
}

// network is a network of the families that the node's socket has.
func (g *Gossip) network(of string) string {
	switch at := g.address.Addr(); {
	case at.Is4():
		return of + "4"
	case at.IsUnspecified():
		return of
	}
	return of + "6"
}

// routed is the ip from which the first of Join that there is a way to would be reached, or nil.
func (g *Gossip) routed() net.IP {
	// Where names cannot be resolved each takes its time, and a node must begin all the
	// same: its main process does not wait for it for long.
	end := time.Now().Add(routeFor)
	for _, peer := range g.c.Join {
		left := time.Until(end)
		if left <= 0 {
			break
		}
		// Connecting a UDP socket sends nothing: the kernel looks up the route.
		c, err := net.DialTimeout(g.network("udp"), peer, min(left, time.Second))
		if err != nil {
			continue
		}
		ip := c.LocalAddr().(*net.UDPAddr).IP
		_ = c.Close()
		return ip
	}
	return nil
}

// choose takes the first private address, else the first that is not on
// loopback or link-local, else loopback.
func choose(all []net.Addr) net.IP {
	var other net.IP
	for _, a := range all {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.IsPrivate():
			return n.IP
		case other == nil:
			other = n.IP
		}
	}
	if other == nil {
		return net.IPv4(127, 0, 0, 1)
	}
	return other
}

// stay is ErrMoved if the node should advertise another address than it does: one that began
// before its machine had a network advertises loopback, and one whose machine got another address
// what it had before. Others answer to nowhere then, for as long as it runs.
func (g *Gossip) stay() error {
	if g.c.Advertise != "" || !g.address.Addr().IsUnspecified() {
		return nil
	}
	local := g.LocalAddress().Addr()
	here, err := g.c.here()
	here = g.reachable(here)
	if err != nil || !local.IsLoopback() && hasAddress(here, local) {
		return nil
	}
	if to := moved(local, g.routed(), here); to != nil {
		return fmt.Errorf("%w: %s, and others know it by %s", ErrMoved, to, local)
	}
	return nil
}

// moved is the address that a node should advertise which advertises one that is loopback or not
// here, or nil: there is no better one. An interface that is gone for a while comes back, and
// others that are here lead elsewhere: where an address was taken off, only a way to other
// members says that there is another one.
func moved(local netip.Addr, routed net.IP, here []net.Addr) net.IP {
	to := routed
	if to == nil && local.IsLoopback() {
		to = choose(here)
	}
	if ip, ok := netip.AddrFromSlice(to); !ok || ip.IsLoopback() || ip.Unmap() == local {
		return nil
	}
	return to
}

// hasAddress says whether an address is among those of a machine.
func hasAddress(here []net.Addr, address netip.Addr) bool {
	return slices.ContainsFunc(here, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(net.IP(address.AsSlice()))
	})
}
