//go:build linux

package evloop

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// A shared socket is one that somebody else opened to listen at the address of a
// virtual IP, and may end at any moment, by shutdown: then accept says EINVAL in
// every process that has a copy. Each loop has a copy, and one of them is woken for
// a connection. We never listen on it ourselves.

// errReleased is the answer to a socket that comes when another process serves.
var errReleased = errors.New("engine: another process has taken over")

// Share lets loops take connections from a listening socket for as long as the
// table has a listener at the address, which is that of a virtual IP. fd stays
// the caller's. A socket that was shared for the address before is let go.
func (e *Engine) Share(ctx context.Context, address netip.AddrPort, fd int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.released {
		return errReleased
	}
	if err := e.unshare(ctx, address); err != nil {
		return err
	}
	own, err := copyOf(fd)
	if err != nil {
		return fmt.Errorf("engine: %s: shared socket: %w", address, err)
	}
	e.shared[address] = own
	if err := e.apply(ctx, e.live.Load()); err != nil {
		delete(e.shared, address)
		unix.Close(own)
		return err
	}
	return nil
}

// Unshare lets go of the socket that was shared for an address, if there is one.
// Connections that came by it end after the answer at hand.
func (e *Engine) Unshare(ctx context.Context, address netip.AddrPort) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unshare(ctx, address)
}

// unshare is Unshare under mu.
func (e *Engine) unshare(ctx context.Context, address netip.AddrPort) error {
	fd, ok := e.shared[address]
	if !ok {
		return nil
	}
	delete(e.shared, address)
	unix.Close(fd)
	// The table may have a listener of the node's own there by now, as where the address
	// of a virtual IP that went is given to a listener: that one needs another socket.
	if b := e.bindings[address]; b != nil && b.shared {
		delete(e.bindings, address)
		changes := make([]change, len(e.loops))
		for i := range changes {
			changes[i].remove = []netip.AddrPort{address}
		}
		if err := e.deliver(ctx, changes); err != nil {
			return err
		}
	}
	return e.apply(ctx, e.live.Load())
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

// shareSockets gives each loop a copy of its own: who owns a descriptor closes it.
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
