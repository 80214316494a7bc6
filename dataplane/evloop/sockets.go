//go:build linux

package evloop

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// socketIndex is where the tokens of listening sockets begin.
const socketIndex = 1 << 31

// sockets are the listening sockets of a loop, the removed ones that are still open among
// them, and the times at which they are asked without an edge.
type sockets struct {
	all   []*socket
	count uint32 // numbers them: no number is given again

	reserve     reserve
	acceptAgain int64 // when to accept again, after descriptors ran out; 0: they have not
	closeAt     int64 // when the first of the removed ones is closed; 0: there are none
}

// add takes a new socket. A client may have come before.
func (ss *sockets) add(s *socket) {
	ss.count++
	s.index, s.readable = socketIndex+ss.count, true
	ss.all = append(ss.all, s)
}

// edge notes that connections wait.
func (ss *sockets) edge(index uint32) {
	for _, s := range ss.all {
		if s.index == index {
			s.readable = true
			return
		}
	}
}

// readable says that one is to be asked in the next turn, without an edge.
func (ss *sockets) readable() bool {
	for _, s := range ss.all {
		if s.readable {
			return true
		}
	}
	return false
}

// askAgain has all asked, if it is time after descriptors ran out.
func (ss *sockets) askAgain(now int64) {
	if ss.acceptAgain == 0 || now < ss.acceptAgain {
		return
	}
	ss.acceptAgain = 0
	for _, s := range ss.all {
		s.readable = true
	}
}

// listen says that one is not removed, at whatever address.
func (ss *sockets) listen() bool {
	return slices.ContainsFunc(ss.all, func(s *socket) bool { return s.closeAt == 0 })
}

// cover says that one at another address takes connections to this one too.
func (ss *sockets) cover(address netip.AddrPort) bool {
	return slices.ContainsFunc(ss.all, func(s *socket) bool {
		return s.closeAt == 0 && s.binding.address != address && overlap(s.binding.address, address)
	})
}

// at is a socket of an address, removed or not; nil: there is none.
func (ss *sockets) at(address netip.AddrPort) *socket {
	for _, s := range ss.all {
		if s.binding.address == address {
			return s
		}
	}
	return nil
}

// take takes one socket of an address off the list, as removed; nil: there is none but
// removed ones.
func (ss *sockets) take(address netip.AddrPort, now int64) *socket {
	for i, s := range ss.all {
		if s.binding.address == address && s.closeAt == 0 {
			ss.all = append(ss.all[:i:i], ss.all[i+1:]...)
			s.removed, s.removedAt = true, now
			return s
		}
	}
	return nil
}

// keep keeps one that was taken until closeAt, for the connections that had begun on it.
func (ss *sockets) keep(s *socket, closeAt int64) {
	s.closeAt, s.readable = closeAt, true
	ss.all = append(ss.all, s)
	ss.closeAt = cmp.Or(ss.closeAt, closeAt)
}

// takeDue takes those of the removed ones that are due off the list.
func (ss *sockets) takeDue(due func(*socket) bool) (taken []*socket) {
	ss.closeAt = 0
	ss.all = slices.DeleteFunc(ss.all, func(s *socket) bool {
		switch {
		case s.closeAt == 0:
			return false
		case !due(s):
			ss.closeAt = cmp.Or(ss.closeAt, s.closeAt) // they stand in the order of their times
			return false
		}
		taken = append(taken, s)
		return true
	})
	return taken
}

// reserve is a descriptor that is held to be given up when there are no more.
type reserve struct{ fd int }

func (r *reserve) open() error {
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		r.fd = -1
		return fmt.Errorf("reserve descriptor: %w", err)
	}
	r.fd = fd
	return nil
}

func (r *reserve) close() {
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
}
