package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// backlog is the kernel's usual ceiling for an accept queue.
	backlog = 4096
	// turn is how many events one wake-up takes.
	turn = 512
	// readSize is more than any number of requests that wait on one connection.
	readSize = 64 << 10
)

// backend is one thread that owns everything.
type backend struct {
	options  BackendOptions
	control  int // a descriptor, -1 when there is none
	epoll    int
	listener int
	open     int
	requests uint64
	matched  []uint8   // by descriptor
	frames   []*frames // the same; of HTTP/2
	in       []byte
	answer   []byte
	dateAt   int // where in answer the date stands
	second   int64
	command  []byte
}

// RunBackend answers every request with a body of o.Size until o.Control ends.
// The line "count" there asks for a line with the numbers of requests answered
// and of connections open.
func RunBackend(o BackendOptions) error {
	b := &backend{options: o, control: -1, in: make([]byte, readSize)}
	if f, ok := o.Control.(*os.File); ok {
		b.control = int(f.Fd())
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: "
	b.dateAt = len(head)
	b.answer = fmt.Appendf(nil, "%s%s\r\nContent-Length: %d\r\n\r\n%s",
		head, time.Time{}.Format(dateFormat), o.Size, strings.Repeat("x", o.Size))
	if o.HTTP2 {
		b.answer, b.dateAt = http2Answer(o.Size)
	}
	if err := b.listen(); err != nil {
		return fmt.Errorf("backend: %s: %w", o.Listen, err)
	}
	defer unix.Close(b.epoll)
	defer unix.Close(b.listener)
	return b.run()
}

// dateFormat is IMF-fixdate (RFC 9110 section 5.6.7), of constant length.
const dateFormat = "Mon, 02 Jan 2006 15:04:05 GMT"

func (b *backend) listen() error {
	var err error
	if b.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if b.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(b.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(b.listener, sockaddr(b.options.Listen)); err != nil {
		return err
	}
	if err := unix.Listen(b.listener, backlog); err != nil {
		return err
	}
	if err := b.watch(b.listener); err != nil {
		return err
	}
	if b.control >= 0 {
		return b.watch(b.control)
	}
	return nil
}

func (b *backend) watch(fd int) error {
	return unix.EpollCtl(b.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

func (b *backend) run() error {
	events := make([]unix.EpollEvent, turn)
	for {
		n, err := unix.EpollWait(b.epoll, events, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("backend: %w", err)
		}
		b.date(time.Now())
		for _, e := range events[:n] {
			switch fd := int(e.Fd); fd {
			case b.listener:
				b.accept()
			case b.control:
				if more, err := b.commands(); err != nil || !more {
					return err
				}
			default:
				if b.options.HTTP2 {
					b.serveFrames(fd)
				} else {
					b.serve(fd)
				}
			}
		}
	}
}

func (b *backend) date(now time.Time) {
	if s := now.Unix(); s != b.second {
		b.second = s
		copy(b.answer[b.dateAt:], now.UTC().Format(dateFormat))
	}
}

// accept takes one connection; level-triggered, so the next turn takes the next.
func (b *backend) accept() {
	fd, _, err := unix.Accept4(b.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	for len(b.matched) <= fd {
		b.matched, b.frames = append(b.matched, 0), append(b.frames, nil)
	}
	b.matched[fd] = 0
	if b.options.HTTP2 {
		b.frames[fd] = &frames{window: firstWindow}
	}
	if b.watch(fd) != nil {
		unix.Close(fd)
		return
	}
	b.open++
}

func (b *backend) serve(fd int) {
	n, err := unix.Read(fd, b.in)
	if again(err) {
		return
	}
	if err != nil || n == 0 {
		b.close(fd)
		return
	}
	var requests int
	requests, b.matched[fd] = countHeads(b.in[:n], b.matched[fd])
	for range requests {
		b.requests++
		// A socket that cannot take an answer of some KiB belongs to a client that
		// sends without reading; ours do not.
		if n, err := unix.Write(fd, b.answer); err != nil || n < len(b.answer) {
			b.close(fd)
			return
		}
	}
}

func (b *backend) close(fd int) {
	unix.Close(fd)
	b.open--
}

// commands answers what the control says; false: it has ended.
func (b *backend) commands() (more bool, err error) {
	var buf [256]byte
	n, err := unix.Read(b.control, buf[:])
	if again(err) {
		return true, nil
	}
	if err != nil || n == 0 {
		return false, err
	}
	b.command = append(b.command, buf[:n]...)
	for {
		line, rest, ok := bytes.Cut(b.command, []byte("\n"))
		if !ok {
			return true, nil
		}
		b.command = rest
		if string(line) != "count" {
			return false, fmt.Errorf("backend: command %.40q", line)
		}
		if _, err := io.WriteString(b.options.Out, fmt.Sprintf("%d %d\n", b.requests, b.open)); err != nil {
			return false, err
		}
	}
}
