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
// them, and the times at which they are asked without an edge. A node that holds many virtual
// IPs has thousands: what each turn, edge or client asks for must not look at all of them.
type sockets struct {
	all       []*socket // in no order
	asked     []*socket // those that are readable, each once, and some that were
	byIndex   map[uint32]*socket
	byAddress map[netip.AddrPort][]*socket // mostly one
	leaving   []*socket                    // the removed ones of all, in the order of their times
	muted     []*socket                    // those whose edges are muted, as many are refused on them
	silent    []*socket                    // those whose silence is to be another at some time
	count     uint32                       // numbers them: no number is given again

	reserve     reserve
	acceptAgain int64 // when to accept again, after descriptors ran out; 0: they have not
	closeAt     int64 // when the first of the removed ones is closed; 0: there are none
	mutedUntil  int64 // when the muted ones are asked next; 0: there are none
	silentUntil int64 // when the silence of the first of the silent ones changes; 0: there are none
}

// add takes a new socket. A client may have come before.
func (ss *sockets) add(s *socket) {
	ss.count++
	s.index = socketIndex + ss.count
	ss.put(s)
}

// put puts one on the lists, and has it asked.
func (ss *sockets) put(s *socket) {
	if ss.byIndex == nil {
		ss.byIndex, ss.byAddress = make(map[uint32]*socket), make(map[netip.AddrPort][]*socket)
	}
	s.place = len(ss.all)
	ss.all = append(ss.all, s)
	ss.byIndex[s.index] = s
	at := s.binding.address
	ss.byAddress[at] = append(ss.byAddress[at], s)
	ss.ask(s)
	if s.muted { // as it was when it was taken
		ss.mute(s, 0)
	}
}

// drop takes one off the lists.
func (ss *sockets) drop(s *socket) {
	last := ss.all[len(ss.all)-1]
	ss.all[s.place], last.place = last, s.place
	ss.all[len(ss.all)-1] = nil
	ss.all = ss.all[:len(ss.all)-1]
	delete(ss.byIndex, s.index)
	at := s.binding.address
	if rest := slices.DeleteFunc(ss.byAddress[at], func(o *socket) bool { return o == s }); len(rest) > 0 {
		ss.byAddress[at] = rest
	} else {
		delete(ss.byAddress, at)
	}
	if s.readable {
		s.readable = false
		ss.asked = slices.DeleteFunc(ss.asked, func(o *socket) bool { return o == s })
	}
	ss.forgetMuted(s)
}

// mute has one asked every muteTime: its edges are muted.
func (ss *sockets) mute(s *socket, now int64) {
	s.muted = true
	ss.muted = append(ss.muted, s)
	ss.mutedUntil = cmp.Or(ss.mutedUntil, now+muteTime)
}

// unmute ends that.
func (ss *sockets) unmute(s *socket) {
	s.muted = false
	ss.forgetMuted(s)
}

func (ss *sockets) forgetMuted(s *socket) {
	ss.muted = slices.DeleteFunc(ss.muted, func(o *socket) bool { return o == s })
	if len(ss.muted) == 0 {
		ss.mutedUntil = 0
	}
}

// askMuted has those asked that are muted, if it is time; where descriptors have run out not before
// all are.
func (ss *sockets) askMuted(now int64) {
	if ss.mutedUntil == 0 || now < ss.mutedUntil {
		return
	}
	if ss.acceptAgain > now {
		ss.mutedUntil = ss.acceptAgain
		return
	}
	ss.mutedUntil = now + muteTime
	for _, s := range ss.muted {
		ss.ask(s)
	}
}

// silence has the silence of one changed when it is due.
func (ss *sockets) silence(s *socket) {
	due := s.silence.due
	if due == 0 {
		return
	}
	if !slices.Contains(ss.silent, s) {
		ss.silent = append(ss.silent, s)
	}
	if ss.silentUntil == 0 || due < ss.silentUntil {
		ss.silentUntil = due
	}
}

func (ss *sockets) forgetSilent(s *socket) {
	ss.silent = slices.DeleteFunc(ss.silent, func(o *socket) bool { return o == s })
	if len(ss.silent) == 0 {
		ss.silentUntil = 0
	}
}

// changeSilence has change make it another one on those where it is due.
func (ss *sockets) changeSilence(now int64, change func(*socket)) {
	if ss.silentUntil == 0 || now < ss.silentUntil {
		return
	}
	all := ss.silent
	ss.silent, ss.silentUntil = nil, 0
	for _, s := range all {
		if s.silence.due <= now {
			change(s)
		}
		ss.silence(s)
	}
}

// ask has one asked in the next turn.
func (ss *sockets) ask(s *socket) {
	if !s.readable {
		s.readable = true
		ss.asked = append(ss.asked, s)
	}
}

// edge notes that connections wait.
func (ss *sockets) edge(index uint32) {
	if s := ss.byIndex[index]; s != nil {
		ss.ask(s)
	}
}

// readable says that one is to be asked in the next turn, without an edge.
func (ss *sockets) readable() bool { return len(ss.asked) > 0 }

// turn has accept take connections from those that are readable.
func (ss *sockets) turn(accept func(*socket)) {
	for _, s := range ss.asked {
		accept(s)
	}
	ss.asked = slices.DeleteFunc(ss.asked, func(s *socket) bool { return !s.readable })
}

// askAgain has all asked, if it is time after descriptors ran out.
func (ss *sockets) askAgain(now int64) {
	if ss.acceptAgain == 0 || now < ss.acceptAgain {
		return
	}
	ss.acceptAgain = 0
	for _, s := range ss.all {
		ss.ask(s)
	}
}

// listen says that one is not removed, at whatever address.
func (ss *sockets) listen() bool { return len(ss.all) > len(ss.leaving) }

// cover says that one at another address takes connections to this one too.
func (ss *sockets) cover(address netip.AddrPort) bool {
	return slices.ContainsFunc(ss.all, func(s *socket) bool {
		return s.closeAt == 0 && s.binding.address != address && overlap(s.binding.address, address)
	})
}

// at is a socket of an address, removed or not; nil: there is none.
func (ss *sockets) at(address netip.AddrPort) *socket {
	if list := ss.byAddress[address]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// take takes one socket of an address off the list, as removed; nil: there is none but
// removed ones.
func (ss *sockets) take(address netip.AddrPort, now int64) *socket {
	for _, s := range ss.byAddress[address] {
		if s.closeAt == 0 {
			ss.drop(s)
			s.removed, s.removedAt = true, now
			return s
		}
	}
	return nil
}

// keep keeps one that was taken until closeAt, for the connections that had begun on it.
func (ss *sockets) keep(s *socket, closeAt int64) {
	s.closeAt = closeAt
	ss.put(s)
	ss.leaving = append(ss.leaving, s)
	ss.closeAt = cmp.Or(ss.closeAt, closeAt)
}

// takeDue takes those of the removed ones that are due off the list.
func (ss *sockets) takeDue(due func(*socket) bool) (taken []*socket) {
	ss.closeAt = 0
	ss.leaving = slices.DeleteFunc(ss.leaving, func(s *socket) bool {
		if !due(s) {
			ss.closeAt = cmp.Or(ss.closeAt, s.closeAt) // they stand in the order of their times
			return false
		}
		taken = append(taken, s)
		return true
	})
	for _, s := range taken {
		ss.drop(s)
	}
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
