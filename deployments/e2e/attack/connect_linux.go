package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// answer is how long Connect waits. Between addresses of one machine an answer is there when the
// call returns, or as soon as the kernel has a moment for it.
const answer = 200 * time.Microsecond

// Connect opens a connection between addresses of this machine. The error is ErrUnanswered where
// the target says nothing: the packet that should begin the connection was dropped, and is not
// sent again.
func Connect(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "connection to "+to.String())
	defer f.Close() // FileConn has its own
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	if errors.Is(err, unix.EINPROGRESS) {
		err = awaitAnswer(fd)
	}
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", to, err)
	}
	return net.FileConn(f)
}

// awaitAnswer waits for what the target says to a connection that begins.
func awaitAnswer(fd int) error {
	for end := time.Now().Add(answer); ; {
		left := unix.NsecToTimespec(int64(max(time.Until(end), 0)))
		n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, &left, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return ErrUnanswered
		}
		failed, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && failed != 0 {
			err = unix.Errno(failed)
		}
		return err
	}
}
