//go:build linux

package evloop

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// A hand-over to another process, as this package sees it: that process gets the
// sockets of EachSocket as its Config.Inherit and takes connections from the same
// queues as we do, from its first Apply on; then we Release ours.

// Suspend makes Apply and SetDrained wait until Resume: while a hand-over is under
// way the two processes must listen at the same addresses. It waits for those
// under way, and for another Suspend.
func (e *Engine) Suspend(ctx context.Context) error {
	select {
	case e.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("engine: a change is under way: %w", ctx.Err())
	}
}

// Resume ends a Suspend.
func (e *Engine) Resume() { <-e.changing }

// Drained says that the node listens nowhere, as SetDrained had it last.
func (e *Engine) Drained() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.drained
}

// EachSocket shows the listening sockets but shared ones, by address. They are valid
// until visit returns, and stay the engine's; no table is applied meanwhile.
func (e *Engine) EachSocket(visit func(address netip.AddrPort, fds []int) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.bindings {
		if b.shared {
			continue
		}
		fds := make([]int, 0, len(b.sockets))
		for _, s := range b.sockets {
			if s.fd >= 0 { // else its loop could not take it up
				fds = append(fds, s.fd)
			}
		}
		if err := visit(b.address, fds); err != nil {
			return err
		}
	}
	return nil
}

// CloseUnclaimed closes the inherited sockets that no table has asked for, and
// says which addresses these are: whoever else has them must end them by the
// rule of removed listeners.
func (e *Engine) CloseUnclaimed() []netip.AddrPort {
	e.mu.Lock()
	defer e.mu.Unlock()
	addresses := slices.Collect(maps.Keys(e.inherit))
	for _, fds := range e.inherit {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
	e.inherit = nil
	return addresses
}

// Release makes the engine listen nowhere from now on, whatever tables come: the
// process that inherited the sockets goes on with their queues. Only those at
// the addresses that it left unclaimed end as removed listeners do. Connections
// that are open end after the answer at hand.
func (e *Engine) Release(ctx context.Context, unclaimed []netip.AddrPort) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.released = true
	var release, remove []netip.AddrPort
	for address, b := range e.bindings {
		if b.shared || slices.Contains(unclaimed, address) {
			remove = append(remove, address)
		} else {
			release = append(release, address)
		}
		delete(e.bindings, address)
	}
	changes := make([]change, len(e.loops))
	for i := range changes {
		changes[i].remove, changes[i].release = remove, release
	}
	return e.deliver(ctx, changes)
}
