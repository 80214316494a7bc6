package agent

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// boottime reads CLOCK_BOOTTIME, which counts the time that the machine was
// suspended, too.
func boottime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // it exists since Linux 2.6.39
	}
	return t.Nano()
}

// errInUse says that somebody else listens.
var errInUse error = unix.EADDRINUSE

// openListening opens a socket that listens, alone.
func openListening(a netip.AddrPort, backlog int) (fd int, err error) {
	fd, err = bind(a)
	if err != nil {
		return noFD, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		unix.Close(fd)
		return noFD, err
	}
	return fd, nil
}

// bind opens a socket with an address: with SO_REUSEADDR, since connections of the
// one before may linger, and never SO_REUSEPORT.
func bind(a netip.AddrPort) (fd int, err error) {
	family := unix.AF_INET
	var at unix.Sockaddr = &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	if a.Addr().Is6() {
		family = unix.AF_INET6
		at = &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return noFD, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(fd, at),
	)
	if err != nil {
		unix.Close(fd)
		return noFD, err
	}
	return fd, nil
}

// listens says whether a socket still does: anybody with a copy may have ended
// that.
func listens(fd int) bool {
	v, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && v != 0
}

// endListening ends it for every copy of the socket, in whichever process.
func endListening(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RDWR) }

func closeFD(fd int) { unix.Close(fd) }

func copyFD(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }
