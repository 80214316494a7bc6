//go:build linux

package evloop

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// tcpHandshakeTime is how long a removed socket stays open for the connections that had
// begun on it: a round trip, with a packet that is lost.
const tcpHandshakeTime = int64(time.Second)

// binding is a listening address of the node: at least one socket in each loop.
type binding struct {
	address netip.AddrPort
	shared  bool      // its sockets are copies of one that another process opened
	sockets []*socket // immutable, but for those that reopen replaces; what their loops own of them is theirs
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
	readable  bool            // it is asked in the next turn: by sockets.ask
	place     int             // on the loop's list
	muted     bool            // no edge tells of connections: it is asked every muteTime
	refusedAt int64           // when a client at fault was refused last
	silence   silence         // whom of these the kernel keeps off
	removed   bool            // no table has it any more; connections end after their answer
	removedAt int64           // since when
	closeAt   int64           // when it is closed, having been removed; 0: it was not, or is closed at once
	duties    duties          // what is still to be done for its connections
}

// openSockets gives the binding its sockets, before the table that wants them
// goes live: those that were inherited, and new ones for the loops that then have
// none. Socket i is for loop i modulo loops, so each loop has at least one, and
// no inherited one, in whose queue clients may wait, is left out. An address that
// another program has is told, also where that program would let us share it. On
// an error the inherited ones stay open, and the caller's.
func openSockets(b *binding, ls *table.Listener, loops int, inherited []int, covered bool) error {
	if len(inherited) == 0 && !covered {
		if err := mustBeFree(b.address); err != nil {
			return fmt.Errorf("listener %q: %s: %w", ls.Name, b.address, err)
		}
	}
	for _, fd := range inherited {
		sysUnfilter(fd) // it may keep off whom the process before had refused
		if err := configure(fd, ls); err != nil {
			return fmt.Errorf("listener %q: %s: inherited socket: %w", ls.Name, b.address, err)
		}
		b.sockets = append(b.sockets, &socket{fd: fd, binding: b, listener: ls})
	}
	for len(b.sockets) < loops {
		fd, err := openSocket(b.address, ls, true)
		if err != nil {
			closeSockets(b.sockets[len(inherited):])
			return fmt.Errorf("listener %q: %s: %w", ls.Name, b.address, err)
		}
		b.sockets = append(b.sockets, &socket{fd: fd, binding: b, listener: ls})
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

func openSocket(a netip.AddrPort, ls *table.Listener, share bool) (fd int, err error) {
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
	if ls == nil {
		return fd, unix.Listen(fd, 1)
	}
	return fd, configure(fd, ls)
}

// configure sets a socket's options and listens. It may be called again when the
// settings change.
func configure(fd int, ls *table.Listener) error {
	if err := setOptions(fd, ls); err != nil {
		return err
	}
	return unix.Listen(fd, ls.Backlog)
}

// setOptions sets what accepted connections inherit, so that accepting needs no
// further calls.
func setOptions(fd int, ls *table.Listener) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	setKeepAlive(fd, ls.KeepAlive)
	return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(ls.UserTimeout.Milliseconds()))
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

// isSYN begins a filter of a listening socket: what is compared next is flagSYN in packets with
// SYN and without ACK, which begin connections. A socket's filter sees the TCP header first,
// whose byte 13 holds the flags.
var isSYN = [...]unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},
}

const flagSYN = 0x02

// dropSYN drops these without an answer; the last packets of handshakes under way pass.
var dropSYN = []unix.SockFilter{
	isSYN[0], isSYN[1],
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: flagSYN, Jt: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
}

// stopSYN lets no new connection begin on a socket. Where the kernel does not
// allow it, a client that connects in the moment before close may see a reset.
func stopSYN(fd int) error { return sysFilter(fd, dropSYN) }

// overlap says that a connection to one address may be taken at the other.
func overlap(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}

// sameAddresses says that two listeners share the list of their addresses, as where a table
// changes something else.
func sameAddresses(a, b *table.Listener) bool {
	return a.Port == b.Port && len(a.Addresses) == len(b.Addresses) && len(a.Addresses) > 0 && &a.Addresses[0] == &b.Addresses[0]
}

// follow finds the socket's listener in a new table. A socket that the table
// does not have keeps its listener until it is removed.
func (s *socket) follow(c *Config, t *table.Table) error {
	old := s.listener
	// Nearly always it has its name, and its addresses: to look for each address among those
	// of a thousand listeners, or of a thousand virtual IPs, would take longer than a turn may.
	ls := t.Listener(old.Name)
	if ls == nil || !sameAddresses(ls, old) && !c.listensAt(ls, s.binding.address) {
		ls = c.listenerAt(t, s.binding.address)
	}
	if ls == nil {
		return nil
	}
	s.listener = ls
	if old.Backlog == ls.Backlog && old.KeepAlive == ls.KeepAlive && old.UserTimeout == ls.UserTimeout {
		return nil
	}
	if s.binding.shared {
		// Not to listen again: on a socket that was taken away that would take the
		// address back.
		return setOptions(s.fd, ls)
	}
	return configure(s.fd, ls)
}
