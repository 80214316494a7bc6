//go:build linux

package evloop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// A shared socket is one that somebody else opened to listen at the address of a
// virtual IP, and may end at any moment, by shutdown: then accept says EINVAL in
// every process that has a copy. Each loop has a copy, and one of them is woken for
// a connection. We never listen on it ourselves.

// errReleased is the answer to a socket that comes when another process serves.
var errReleased = errors.New("engine: another process has taken over")

// Share lets loops take connections from listening sockets for as long as the table has
// listeners at their addresses, which are those of virtual IPs. The descriptors stay the
// caller's. A socket that was shared for one of the addresses before is let go. failed says of
// which no connections are taken, and why.
//
// The table is not applied again: of a thousand sockets that come on end each would wait
// for all upstreams and all other addresses. Nor does each wait for a turn of all loops.
func (e *Engine) Share(ctx context.Context, sockets map[netip.AddrPort]int) (failed map[netip.AddrPort]error) {
	failed = map[netip.AddrPort]error{}
	e.mu.Lock()
	defer e.mu.Unlock()
	err := errReleased
	if !e.released {
		err = e.unshare(ctx, slices.Collect(maps.Keys(sockets)))
	}
	if err != nil {
		for address := range sockets {
			failed[address] = err
		}
		return failed
	}
	var opened []*binding
	for address, fd := range sockets {
		b, err := e.openShared(address, fd)
		if err != nil {
			failed[address] = fmt.Errorf("engine: %w", err)
		} else if b != nil {
			opened = append(opened, b)
		}
	}
	if err := e.deliverShared(ctx, opened); err != nil {
		for _, b := range opened {
			failed[b.address] = err
		}
	}
	return failed
}

// openShared makes the copies of a socket. There is no binding where the table in force has no
// listener at its address, or one that listens there by itself.
func (e *Engine) openShared(address netip.AddrPort, fd int) (*binding, error) {
	own, err := copyOf(fd)
	if err != nil {
		return nil, fmt.Errorf("%s: shared socket: %w", address, err)
	}
	e.shared[address] = own
	ls := e.config.listenerAt(e.live.Load(), address)
	if ls == nil || e.drained || e.bindings[address] != nil {
		return nil, nil
	}
	b := &binding{address: address, clientele: e.clienteleOf(ls.Name)}
	if err := e.open(b, ls); err != nil {
		e.forgetShared(address)
		return nil, err
	}
	return b, nil
}

// deliverShared gives loops their copies. Where one does not take them up, or too late, all
// are let go again.
func (e *Engine) deliverShared(ctx context.Context, opened []*binding) error {
	if len(opened) == 0 {
		return nil
	}
	changes := make([]change, len(e.loops))
	var addresses []netip.AddrPort
	for _, b := range opened {
		e.bindings[b.address] = b
		addresses = append(addresses, b.address)
		for i, s := range b.sockets {
			changes[i].open = append(changes[i].open, s)
		}
	}
	err := e.deliver(ctx, changes)
	if err != nil {
		_ = e.unshare(ctx, addresses) // a loop that is late takes them up and lets them go
	}
	return err
}

// Unshare lets go of the sockets that were shared for some addresses, of those that there
// are. Connections that came by them end after the answer at hand.
func (e *Engine) Unshare(ctx context.Context, addresses ...netip.AddrPort) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unshare(ctx, addresses)
}

// unshare is Unshare under mu.
func (e *Engine) unshare(ctx context.Context, addresses []netip.AddrPort) error {
	var remove []netip.AddrPort
	free := false
	for _, address := range addresses {
		if !e.forgetShared(address) {
			continue
		}
		switch b := e.bindings[address]; {
		case b != nil && b.shared:
			delete(e.bindings, address)
			remove = append(remove, address)
			free = true
		case b == nil:
			free = true
		}
	}
	if len(remove) > 0 {
		changes := make([]change, len(e.loops))
		for i := range changes {
			changes[i].remove = remove
		}
		if err := e.deliver(ctx, changes); err != nil {
			return err
		}
	}
	// The table may have a listener of the node's own there by now, as where the address
	// of a virtual IP that went is given to a listener: that one needs another socket.
	t := e.live.Load()
	own := func(address netip.AddrPort) bool {
		return e.bindings[address] == nil && e.config.ownListenerAt(t, address) != nil
	}
	if free && slices.ContainsFunc(addresses, own) {
		return e.apply(ctx, t)
	}
	return nil
}

// forgetShared closes the copy of an address's socket that is none of a loop's, if there is
// one.
func (e *Engine) forgetShared(address netip.AddrPort) bool {
	fd, ok := e.shared[address]
	if ok {
		delete(e.shared, address)
		unix.Close(fd)
	}
	return ok
}

func (e *Engine) closeShared() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, fd := range e.shared {
		unix.Close(fd)
	}
	clear(e.shared)
	e.released = true // what comes now would never be closed
}

// shareSockets gives each loop a copy of its own: whoever owns a descriptor closes it.
func shareSockets(b *binding, ls *table.Listener, loops, fd int) error {
	b.shared = true
	for range loops {
		own, err := copyOf(fd)
		if err != nil {
			closeSockets(b.sockets)
			return fmt.Errorf("listener %q: %s: shared socket: %w", ls.Name, b.address, err)
		}
		b.sockets = append(b.sockets, &socket{fd: own, binding: b, listener: ls})
	}
	// What accepted connections inherit is the socket's, not the copy's. One that
	// has been taken away meanwhile is noticed when it is asked for connections.
	if err := setOptions(fd, ls); err != nil {
		closeSockets(b.sockets)
		return fmt.Errorf("listener %q: %s: shared socket: %w", ls.Name, b.address, err)
	}
	return nil
}

func copyOf(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
}

// forgetShared takes a copy out of the loop's epoll set, where the socket would
// stay for as long as anybody has a copy.
func (l *Loop) forgetShared(s *socket) {
	if err := l.poller.Remove(s.fd); err != nil {
		l.log.Debug("shared socket is let go", "listener", s.listener.Name, "error", err)
	}
}

// sharedEnded is told by accept that a socket was taken away. It stays with the
// loop until Unshare.
func (l *Loop) sharedEnded(s *socket) {
	if s.removed {
		return // it is being let go
	}
	s.removed, s.removedAt = true, l.now
	l.sweep.add(s, dutyEnd, len(l.links))
}
