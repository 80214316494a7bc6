package loadgen

import (
	"errors"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// drop takes up to n bytes from c without copying them (tcp(7): MSG_TRUNC).
func drop(c *net.TCPConn, n int) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	const most = 1 << 20 // a call takes no longer than a loop's turn elsewhere
	got := 0
	e := raw.Read(func(fd uintptr) bool {
		got, err = recvTrunc(int(fd), min(n, most))
		return !errors.Is(err, unix.EAGAIN)
	})
	if e != nil {
		return 0, e
	}
	if err == nil && got == 0 {
		err = io.EOF
	}
	return got, err
}

func recvTrunc(fd, n int) (int, error) {
	for {
		r, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), 0, uintptr(n), unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}
