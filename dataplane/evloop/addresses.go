//go:build linux

package evloop

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// addresses are where the node listens, and what belongs to an address or a listener longer
// than a table lasts. Opening sockets is in listen.go; loops are told by Engine.apply.
type addresses struct {
	config *Config // immutable

	bindings   map[netip.AddrPort]*binding
	removed    map[netip.AddrPort]time.Time // when the bindings were removed whose sockets may still be open
	inherit    map[netip.AddrPort][]int     // sockets that no table has asked for yet
	shared     map[netip.AddrPort]int       // our copies of what Share brought
	clienteles map[string]*clientele        // by the listener's name
	unsettled  bool                         // some loop has not taken a change, or not all of it
	drained    bool                         // the node listens nowhere
	released   bool                         // another process listens instead
}

func newAddresses(c *Config) addresses {
	return addresses{
		config:     c,
		bindings:   make(map[netip.AddrPort]*binding),
		removed:    make(map[netip.AddrPort]time.Time),
		inherit:    maps.Clone(c.Inherit),
		shared:     make(map[netip.AddrPort]int),
		clienteles: make(map[string]*clientele),
	}
}

// rebind gives the addresses that have another listener now the bindings of that one.
func (a *addresses) rebind(wanted map[netip.AddrPort]*table.Listener) (rebound []*binding) {
	for address, b := range a.bindings {
		ls := wanted[address]
		if ls == nil || b.clientele == a.clienteleOf(ls.Name) {
			continue
		}
		next := *b
		next.clientele = a.clienteleOf(ls.Name)
		a.bindings[address] = &next
		rebound = append(rebound, &next)
	}
	return rebound
}

// clienteleOf is what counts a listener's clients.
func (a *addresses) clienteleOf(name string) *clientele {
	c := a.clienteles[name]
	if c == nil {
		c = new(clientele)
		a.clienteles[name] = c
	}
	return c
}

// open gives a binding its sockets.
func (a *addresses) open(b *binding, ls *table.Listener) error {
	if fd, ok := a.shared[b.address]; ok {
		return shareSockets(b, ls, a.config.Loops, fd)
	}
	return openSockets(b, ls, a.config.Loops, a.inherit[b.address], a.covers(b.address))
}

// covers says that a binding of our own overlaps an address: it is about to be
// replaced, or was removed a moment ago, and in the way of a probe.
func (a *addresses) covers(address netip.AddrPort) bool {
	for own := range a.bindings {
		if overlap(own, address) {
			return true
		}
	}
	for own, at := range a.removed {
		if time.Since(at) <= removedTime && overlap(own, address) {
			return true
		}
	}
	return false
}

// removedTime is how long a removed socket is open at most: a loop may be late.
const removedTime = 2 * time.Duration(tcpHandshakeTime)

// wanted is where a table's listeners listen on this node: of virtual IPs, at
// those that it was given the sockets of.
func (a *addresses) wanted(t *table.Table) map[netip.AddrPort]*table.Listener {
	wanted := make(map[netip.AddrPort]*table.Listener)
	if a.drained || a.released {
		return wanted
	}
	for i := range t.Listeners {
		ls := &t.Listeners[i]
		for _, at := range ls.Addresses {
			address := a.config.resolve(ls, at)
			if _, ok := a.shared[address]; ok || at.Kind != table.AddressVIP {
				wanted[address] = ls
			}
		}
	}
	return wanted
}

// replace puts what was opened for a table in the place of what it does not have any more,
// and says what that is.
func (a *addresses) replace(t *table.Table, wanted map[netip.AddrPort]*table.Listener, opened []*binding) (remove []netip.AddrPort) {
	for name := range a.clienteles {
		if t.Listener(name) == nil {
			delete(a.clienteles, name) // connections that are open keep it
		}
	}
	for _, b := range opened {
		a.bindings[b.address] = b
		delete(a.inherit, b.address)
	}
	maps.DeleteFunc(a.removed, func(_ netip.AddrPort, at time.Time) bool { return time.Since(at) > removedTime })
	for address := range a.bindings {
		if wanted[address] == nil {
			remove = append(remove, address)
			delete(a.bindings, address)
			a.removed[address] = time.Now()
		}
	}
	return remove
}

// reopened is a socket in the place of one that its loop could not take up.
type reopened struct {
	of     *binding
	number int // among the binding's sockets
	socket *socket
}

// reopen opens the sockets again that loops could not take up, and have closed, at addresses that
// are still wanted. It asks only where some loop had such trouble, and has said so.
func (a *addresses) reopen(wanted map[netip.AddrPort]*table.Listener) (again []reopened, err error) {
	if !a.unsettled {
		return nil, nil
	}
	for address, b := range a.bindings {
		ls := wanted[address]
		if _, shared := a.shared[address]; ls == nil || b.shared && !shared {
			continue
		}
		for i, s := range b.sockets {
			if s.fd >= 0 {
				continue
			}
			fd, err := a.openAgain(b, ls)
			if err != nil {
				return again, fmt.Errorf("listener %q: %s: %w", ls.Name, address, err)
			}
			again = append(again, reopened{b, i, &socket{fd: fd, binding: b, listener: ls}})
		}
	}
	return again, nil
}

func (a *addresses) openAgain(b *binding, ls *table.Listener) (fd int, err error) {
	if b.shared {
		return copyOf(a.shared[b.address])
	}
	return openSocket(b.address, ls, true)
}

// abandon closes what was opened for a table that is not going live. Inherited
// sockets are kept for the next try: clients may wait in their queues.
func (a *addresses) abandon(opened []*binding, again []reopened) {
	for _, b := range opened {
		closeSockets(b.sockets[len(a.inherit[b.address]):])
	}
	for _, r := range again {
		r.socket.close()
	}
}

// resolve says where an address of a listener is on this node.
func (c *Config) resolve(ls *table.Listener, a table.Address) netip.AddrPort {
	if a.Kind == table.AddressNode {
		return netip.AddrPortFrom(c.NodeAddress, ls.Port)
	}
	return netip.AddrPortFrom(a.IP, ls.Port)
}

// listenerAt finds the listener of an address in a table; nil: it has none.
func (c *Config) listenerAt(t *table.Table, address netip.AddrPort) *table.Listener {
	for i := range t.Listeners {
		if ls := &t.Listeners[i]; c.listensAt(ls, address) {
			return ls
		}
	}
	return nil
}

// ownListenerAt finds the listener that has an address whoever holds a virtual IP; nil: none
// does.
func (c *Config) ownListenerAt(t *table.Table, address netip.AddrPort) *table.Listener {
	for i := range t.Listeners {
		ls := &t.Listeners[i]
		if ls.Port == address.Port() && slices.ContainsFunc(ls.Addresses, func(a table.Address) bool {
			return a.Kind != table.AddressVIP && c.resolve(ls, a) == address
		}) {
			return ls
		}
	}
	return nil
}

// listensAt says that a listener has an address.
func (c *Config) listensAt(ls *table.Listener, address netip.AddrPort) bool {
	return ls.Port == address.Port() && slices.ContainsFunc(ls.Addresses, func(a table.Address) bool { return c.resolve(ls, a) == address })
}
