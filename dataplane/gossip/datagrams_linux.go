package gossip

import (
	"cmp"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many datagrams are read at once, and longest how long each may be:
	// memberlist's have 1,400 bytes, and those of Send some 1,600 with all around them.
	batch   = 16
	longest = maxPacket / batch
)

// datagrams is the socket of datagrams. Nothing of it waits, but read. A socket's datagrams
// for machines of this network that do not answer ARP, since they are switched off, are kept
// by the kernel for up to three seconds: 256 fill the socket's room by default, and then it
// takes none for anybody. So those that were not heard lately get half of the room.
//
// Go's runtime is told of each datagram that comes, also while nobody wants to read: that
// takes longer than reading it. So the socket is not the runtime's, but one of an epoll
// instance that is, and tells of the next datagram only when it was asked to. Nor is the
// runtime told of calls to the system, none of which waits: it wakes a thread at the first
// after each idle moment, which costs more than the call.
type datagrams struct {
	// immutable
	socket *os.File           // which blocks: every call says that it must not
	poller *os.File           // the epoll instance
	raw    [2]syscall.RawConn // of both
	six    bool               // of IPv6, or of both
	room   int                // for what is not sent yet, in bytes as the kernel counts them

	heard heard

	// owned by who reads
	messages [batch]message
	pieces   [batch]unix.Iovec
	from     [batch]unix.RawSockaddrInet6
	bytes    []byte
	event    unix.EpollEvent
	begun    time.Time // of the work that the last read was
}

// message is the kernel's struct mmsghdr.
type message struct {
	unix.Msghdr
	length uint32
}

// openDatagrams takes over a socket.
func openDatagrams(conn *net.UDPConn) (d *datagrams, err error) {
	d = &datagrams{bytes: make([]byte, maxPacket)}
	d.socket, err = takeOver(conn)
	_ = conn.Close()
	if err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err == nil {
		if err = unix.SetNonblock(epoll, true); err != nil {
			unix.Close(epoll)
		}
	}
	if err != nil {
		_ = d.socket.Close()
		return nil, err
	}
	d.poller = os.NewFile(uintptr(epoll), "gossip")
	for i, f := range []*os.File{d.socket, d.poller} {
		if d.raw[i], err = f.SyscallConn(); err != nil {
			d.close()
			return nil, err
		}
	}
	for i := range d.messages {
		d.pieces[i].Base = &d.bytes[i*longest]
		d.pieces[i].SetLen(longest)
		m := &d.messages[i]
		m.Iov, m.Name = &d.pieces[i], (*byte)(unsafe.Pointer(&d.from[i]))
		m.SetIovlen(1)
	}
	err = d.control(func(fd int) error {
		domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil {
			return err
		}
		d.six = domain == unix.AF_INET6
		if d.room, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil {
			return err
		}
		return unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(fd)}) //nolint:gosec // a descriptor
	})
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// takeOver gives another descriptor of the socket, which blocks: else it would be the
// runtime's, too.
func takeOver(conn *net.UDPConn) (f *os.File, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	closed := raw.Control(func(old uintptr) {
		var fd int
		if fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return
		}
		if err = unix.SetNonblock(fd, false); err != nil {
			unix.Close(fd)
			return
		}
		f = os.NewFile(uintptr(fd), "gossip")
	})
	return f, cmp.Or(closed, err)
}

// control does something with the socket.
func (d *datagrams) control(what func(fd int) error) (err error) {
	if closed := d.raw[0].Control(func(fd uintptr) { err = what(int(fd)) }); closed != nil {
		return closed
	}
	return err
}

func (d *datagrams) close() {
	_ = d.poller.Close()
	_ = d.socket.Close()
}

// read waits for datagrams, and says how many there are.
func (d *datagrams) read() (n int, err error) {
	for {
		err := d.control(func(fd int) (err error) {
			n, err = d.receive(fd)
			return err
		})
		switch {
		case err == unix.EINTR: //nolint:errorlint // as system calls give them
		case err != unix.EAGAIN: //nolint:errorlint // likewise
			return n, err
		default:
			if err := d.await(); err != nil {
				return 0, err
			}
		}
	}
}

// receive takes what is there.
func (d *datagrams) receive(fd int) (n int, err error) {
	d.begun = time.Now()
	for i := range d.messages {
		d.messages[i].Namelen = uint32(unsafe.Sizeof(d.from[i]))
	}
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&d.messages[0])), batch, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil //nolint:gosec // of batch
}

// await waits until something is there.
func (d *datagrams) await() error {
	var failed error
	err := d.raw[1].Control(func(epoll uintptr) {
		failed = d.control(func(fd int) error {
			return unix.EpollCtl(int(epoll), unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)}) //nolint:gosec // a descriptor
		})
	})
	if err = cmp.Or(err, failed); err != nil {
		return err
	}
	return d.raw[1].Read(func(epoll uintptr) bool {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, epoll, uintptr(unsafe.Pointer(&d.event)), 1, 0, 0, 0)
		return errno != 0 && errno != unix.EINTR || errno == 0 && n > 0
	})
}

// datagram is one of those that were read last, valid until the next read. One that is longer
// than any member's is given as none.
func (d *datagrams) datagram(i int) (b []byte, from netip.AddrPort) {
	m, a := &d.messages[i], &d.from[i]
	if m.Flags&unix.MSG_TRUNC == 0 {
		b = d.bytes[i*longest:][:m.length]
	}
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&a.Port))[:])
	if a.Family == unix.AF_INET {
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(a))
		return b, netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port)
	}
	return b, netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), port)
}

// send sends a datagram, or drops it where there is no room.
func (d *datagrams) send(b []byte, to netip.AddrPort) error {
	address, size, err := d.address(to)
	if err != nil {
		return err
	}
	here := d.heard.lately(to, time.Now())
	err = d.control(func(fd int) error {
		if !here && d.waiting(fd) > d.room/2 {
			return unix.EAGAIN
		}
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT,
			uintptr(unsafe.Pointer(&address)), size)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err == unix.EAGAIN || err == unix.ENOBUFS { //nolint:errorlint // as system calls give them
		return nil // as good as lost
	}
	return err
}

// waiting is how much of the room is taken.
func (d *datagrams) waiting(fd int) int {
	var n int32
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCOUTQ, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return 0 // whoever is sent to next finds out
	}
	return int(n)
}

// address is to for the system, with its size.
func (d *datagrams) address(to netip.AddrPort) (a unix.RawSockaddrInet6, size uintptr, err error) {
	ip := to.Addr().Unmap()
	switch {
	case d.six:
		a, size = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: ip.As16()}, unix.SizeofSockaddrInet6
		if zone := ip.Zone(); zone != "" {
			i, err := net.InterfaceByName(zone)
			if err != nil {
				return a, size, err
			}
			a.Scope_id = uint32(i.Index) //nolint:gosec // an index
		}
	case ip.Is4():
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&a)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: ip.As4()}
		size = unix.SizeofSockaddrInet4
	default:
		return a, size, unix.EAFNOSUPPORT
	}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&a.Port))[:], to.Port())
	return a, size, nil
}
