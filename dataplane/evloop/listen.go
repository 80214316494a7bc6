//go:build linux

package evloop

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

const (
	// socketIndex is where the tokens of listening sockets begin.
	socketIndex = 1 << 31
	// acceptBurst bounds the accepts of one socket in one turn.
	acceptBurst = 64
	// tcpHandshakeTime is how long a removed socket stays open for the connections that had
	// begun on it: a round trip, with a packet that is lost.
	tcpHandshakeTime = int64(time.Second)
	// acceptPause is how long a loop without descriptors waits before it tries
	// again: the edge that told of the connection is gone for good.
	acceptPause = int64(10 * time.Millisecond)
)

// binding is a listening address of the node: at least one socket in each loop.
type binding struct {
	address netip.AddrPort
	shared  bool      // its sockets are copies of one that another process opened
	sockets []*socket // immutable; what their loops own of them is theirs
	// clientele counts the connections. It is that of all bindings of the listener: limits
	// are the listener's, however many addresses it has. Where a table gives the address to
	// another listener there is another binding, with the same sockets.
	clientele *clientele
}

// socket is one loop's listening socket of a binding. Opened by the engine,
// given to its loop.
type socket struct {
	fd    int
	index uint32 // of its token

	// owned by the loop
	binding   *binding
	listener  *table.Listener // of the table that the loop has seen last
	server    *secure.Server  // of the listener's TLS, once a client came
	readable  bool
	removed   bool   // no table has it any more; connections end after their answer
	removedAt int64  // since when
	closeAt   int64  // when it is closed, having been removed; 0: it was not, or is closed at once
	duties    duties // what is still to be done for its connections
}

// openSockets gives the binding its sockets, before the table that wants them
// goes live: those that were inherited, and new ones for the loops that then have
// none. Socket i is for loop i modulo loops, so each loop has at least one, and
// no inherited one, in whose queue clients may wait, is left out. An address that
// another program has is told, also where that program would let us share it. On
// an error the inherited ones stay open, and the caller's.
func openSockets(b *binding, l *table.Listener, loops int, inherited []int, covered bool) error {
	if len(inherited) == 0 && !covered {
		if err := mustBeFree(b.address); err != nil {
			return fmt.Errorf("listener %q: %s: %w", l.Name, b.address, err)
		}
	}
	for _, fd := range inherited {
		if err := configure(fd, l); err != nil {
			return fmt.Errorf("listener %q: %s: inherited socket: %w", l.Name, b.address, err)
		}
		b.sockets = append(b.sockets, &socket{fd: fd, binding: b, listener: l})
	}
	for len(b.sockets) < loops {
		fd, err := openSocket(b.address, l, true)
		if err != nil {
			closeSockets(b.sockets[len(inherited):])
			return fmt.Errorf("listener %q: %s: %w", l.Name, b.address, err)
		}
		b.sockets = append(b.sockets, &socket{fd: fd, binding: b, listener: l})
	}
	return nil
}

func closeSockets(sockets []*socket) {
	for _, s := range sockets {
		s.close()
	}
}

// mustBeFree binds without SO_REUSEPORT: two nodes on one address would otherwise
// share its connections without anybody noticing.
func mustBeFree(a netip.AddrPort) error {
	fd, err := openSocket(a, nil, false)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func openSocket(a netip.AddrPort, l *table.Listener, share bool) (fd int, err error) {
	family := unix.AF_INET
	if a.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, err
	}
	if share {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return -1, err
		}
	}
	if family == unix.AF_INET6 && a.Addr().IsUnspecified() {
		// "::" takes IPv4 too, whatever the system's default.
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return -1, err
		}
	}
	if err = unix.Bind(fd, sockaddrOf(a)); err != nil {
		return -1, err
	}
	if l == nil {
		return fd, unix.Listen(fd, 1)
	}
	return fd, configure(fd, l)
}

// configure sets a socket's options and listens. It may be called again when the
// settings change.
func configure(fd int, l *table.Listener) error {
	if err := setOptions(fd, l); err != nil {
		return err
	}
	return unix.Listen(fd, l.Backlog)
}

// setOptions sets what accepted connections inherit, so that accepting needs no
// further calls.
func setOptions(fd int, l *table.Listener) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	setKeepAlive(fd, l.KeepAlive)
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(l.UserTimeout.Milliseconds()))
}

// setKeepAlive asks the kernel to look after silent peers. A kernel that does
// not know an option leaves its own default in force.
func setKeepAlive(fd int, k table.KeepAlive) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(k.Idle.Seconds()))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(k.Interval.Seconds()))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, k.Probes)
}

func (s *socket) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}

// addSocket takes a listening socket under the loop's care. Removed ones in its way, which
// the kernel would give a part of its connections, are closed.
func (l *Loop) addSocket(s *socket) error {
	l.closeRemoved(func(old *socket) bool { return overlap(old.binding.address, s.binding.address) })
	l.socketCount++
	s.index = socketIndex + l.socketCount
	s.readable = true // a client may have come before
	l.sockets = append(l.sockets, s)
	if s.binding.shared {
		return l.poller.AddShared(s.fd, uint64(s.index))
	}
	return l.poller.Add(s.fd, uint64(s.index))
}

// dropSYN is a filter for a listening socket: packets with SYN and without ACK,
// which begin connections, are dropped without an answer; the last packets of
// handshakes under way pass. A socket's filter sees the TCP header first, whose
// byte 13 holds the flags.
var dropSYN = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x02, Jt: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
}

// stopSYN lets no new connection begin on a socket. Where the kernel does not
// allow it, a client that connects in the moment before close may see a reset.
func stopSYN(fd int) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(dropSYN)), Filter: &dropSYN[0]})
}

// removeSocket ends a listening socket. No new connection begins on it; those that had
// begun are taken for tcpHandshakeTime, since closing would reset them; then it is closed.
// It is closed at once
//
//   - where the loop ends,
//   - where another socket covers its address, which is to get what the filter would drop,
//   - where it is shared: a filter would outlast our copy.
func (l *Loop) removeSocket(address netip.AddrPort) {
	for s := l.takeSocket(address); s != nil; s = l.takeSocket(address) {
		waits := !s.binding.shared && !l.draining && !l.covers(address)
		if !s.binding.shared {
			if err := stopSYN(s.fd); err != nil {
				l.log.Debug("listener closes without a filter", "listener", s.listener.Name, "error", err)
				waits = false
			}
		}
		if waits {
			s.closeAt, s.readable = l.now+tcpHandshakeTime, true
			l.sockets = append(l.sockets, s)
			l.closeAt = cmp.Or(l.closeAt, s.closeAt)
		} else {
			l.closeSocket(s)
		}
		l.sweepFor(s, dutyEnd)
	}
}

// closeSocket closes a removed socket behind what the kernel has completed on it.
func (l *Loop) closeSocket(s *socket) {
	for s.readable = true; s.readable; {
		l.accept(s)
	}
	if s.binding.shared {
		l.forgetShared(s)
	}
	s.close()
}

// closeRemoved closes those of the removed sockets that are due.
func (l *Loop) closeRemoved(due func(*socket) bool) {
	var over []*socket
	l.closeAt = 0
	l.sockets = slices.DeleteFunc(l.sockets, func(s *socket) bool {
		switch {
		case s.closeAt == 0:
			return false
		case !due(s):
			l.closeAt = cmp.Or(l.closeAt, s.closeAt) // they stand in the order of their times
			return false
		}
		over = append(over, s)
		return true
	})
	for _, s := range over {
		l.closeSocket(s)
	}
}

// listens says that the loop has a socket that is not removed, at whatever address.
func (l *Loop) listens() bool {
	return slices.ContainsFunc(l.sockets, func(s *socket) bool { return s.closeAt == 0 })
}

// covers says that it has one at another address that takes connections to this one too.
func (l *Loop) covers(address netip.AddrPort) bool {
	return slices.ContainsFunc(l.sockets, func(s *socket) bool {
		return s.closeAt == 0 && s.binding.address != address && overlap(s.binding.address, address)
	})
}

// overlap says that a connection to one address may be taken at the other.
func overlap(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}

// releaseSocket leaves an address to another process that has its sockets too:
// what waits in their queues is for that one to take, so nothing is filtered or
// accepted here, and our copies are closed.
func (l *Loop) releaseSocket(address netip.AddrPort) {
	for s := l.takeSocket(address); s != nil; s = l.takeSocket(address) {
		// A socket that stays open elsewhere stays in an epoll set too.
		if err := l.poller.Remove(s.fd); err != nil {
			l.log.Debug("listener is released", "listener", s.listener.Name, "error", err)
		}
		s.close()
		l.sweepFor(s, dutyEnd)
	}
}

// takeSocket takes one socket of an address off the loop's list; nil: there is
// none but removed ones.
func (l *Loop) takeSocket(address netip.AddrPort) *socket {
	for i, s := range l.sockets {
		if s.binding.address == address && s.closeAt == 0 {
			l.sockets = append(l.sockets[:i:i], l.sockets[i+1:]...)
			s.removed, s.removedAt = true, l.now
			return s
		}
	}
	return nil
}

func (l *Loop) socketAt(address netip.AddrPort) *socket {
	for _, s := range l.sockets {
		if s.binding.address == address {
			return s
		}
	}
	return nil
}

// acceptEdge notes that connections wait.
func (l *Loop) acceptEdge(index uint32) {
	for _, s := range l.sockets {
		if s.index == index {
			s.readable = true
			return
		}
	}
}

// accept takes connections, a bounded number.
func (l *Loop) accept(s *socket) {
	l.look() // how a client is met is decided here
	for range acceptBurst {
		fd, peer, errno := sysAccept(s.fd)
		switch errno {
		case 0:
		case unix.EAGAIN:
			s.readable = false
			return
		case unix.ECONNABORTED, unix.EPROTO, unix.EPERM:
			continue // the client left already, or a firewall refused
		case unix.EINVAL: // it listens no more: whoever shared it took it away
			s.readable = false
			l.sharedEnded(s)
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			l.exhausted(s)
			return
		default:
			s.readable = false
			l.log.Error("accept failed", "listener", s.listener.Name, "error", error(errno))
			return
		}
		if l.answerProbe(fd, peer) {
			continue
		}
		if limit := s.listener.Limits.Connections; limit > 0 && s.binding.clientele.open.Load() >= int64(limit) {
			l.stats.Add(stats.ClientsOverLimit, 1)
			refuse(fd, s)
			continue
		}
		clients := l.engine.clients()
		l.crowded = l.crowded || l.engine.crowds(clients)
		if clients >= l.engine.ceilings.clients {
			l.stats.Add(stats.ClientsOverCeiling, 1)
			refuse(fd, s)
			continue
		}
		if other := l.lighter(); other != nil && !s.removed && l.giveAway(other, s, fd, peer) {
			continue
		}
		l.newDown(s, fd, peer)
	}
}

// refuse answers, where requests are spoken, and closes. What the client has sent by now is read first: a
// socket that is closed with bytes unread sends a reset, which may overtake the
// answer.
func refuse(fd int, s *socket) {
	var request [4 << 10]byte
	_, _ = unix.Read(fd, request[:])
	if answer := refusalOf(s.listener); answer != "" {
		_, _ = unix.Write(fd, []byte(answer))
	}
	unix.Shutdown(fd, unix.SHUT_WR)
	unix.Close(fd)
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

// exhausted answers one client by means of the reserve descriptor and pauses
// accepting: without a new edge the timer must ask again.
func (l *Loop) exhausted(s *socket) {
	l.stats.Add(stats.AcceptExhausted, 1)
	l.reserve.close()
	if fd, peer, errno := sysAccept(s.fd); errno == 0 && !l.answerProbe(fd, peer) {
		refuse(fd, s)
	}
	if err := l.reserve.open(); err != nil {
		l.log.Warn("no descriptor to spare", "error", err)
	}
	s.readable = false
	l.acceptAgain = l.now + acceptPause
}
