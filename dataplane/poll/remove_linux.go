package poll

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Remove takes a descriptor out. Closing does that by itself, unless another
// process has the same socket open.
func (p *Poller) Remove(fd int) error {
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		return fmt.Errorf("poll: epoll_ctl del: %w", err)
	}
	return nil
}
