package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/dataplane/handover"
)

// conn is one end of the conversation of main process and agent: messages, each
// behind its length in four bytes, and at most one descriptor with a message. One
// goroutine may send while another receives.
type conn struct {
	socket *net.UnixConn
	head   [4]byte // of receive
	oob    []byte  // of receive
}

// pair makes the two ends. peer is for a child process.
func pair() (c *conn, peer *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("vip-agent: socket pair: %w", err)
	}
	peer = os.NewFile(uintptr(fds[1]), "vip-agent")
	if c, err = openConn(fds[0]); err != nil {
		peer.Close()
		return nil, nil, err
	}
	return c, peer, nil
}

// openConn takes an end. It owns fd, also when it fails.
func openConn(fd int) (*conn, error) {
	socket, err := handover.OpenSocket(fd, "vip-agent")
	if err != nil {
		return nil, err
	}
	return &conn{socket: socket, oob: make([]byte, unix.CmsgSpace(4*2))}, nil
}

// close ends the conversation, and what either side waits for.
func (c *conn) close() { _ = c.socket.Close() }

func (c *conn) setDeadline(t time.Time) { _ = c.socket.SetDeadline(t) }

// send says something. The descriptor stays the caller's; none: noFD.
func (c *conn) send(m proto.Message, fd int) error {
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, len(c.head), 512), m)
	if err != nil {
		return fmt.Errorf("vip-agent: message: %w", err)
	}
	size := len(b) - len(c.head)
	if size > maxMessage {
		return fmt.Errorf("%w: %d bytes, at most %d can be sent", errTooLong, size, maxMessage)
	}
	binary.BigEndian.PutUint32(b, uint32(size)) //nolint:gosec // bounded above
	if fd != noFD {
		n, _, err := c.socket.WriteMsgUnix(b, unix.UnixRights(fd), nil)
		if err != nil {
			return fmt.Errorf("vip-agent: send: %w", err)
		}
		b = b[n:] // the descriptor went with the first byte
	}
	if _, err := c.socket.Write(b); err != nil {
		return fmt.Errorf("vip-agent: send: %w", err)
	}
	return nil
}

// receive hears one message. fd is the caller's, or noFD, also where this process has no
// descriptor left for the one that came. errGone says that the other side ended.
func (c *conn) receive(m proto.Message) (fd int, err error) {
	fd = noFD
	defer func() {
		if err != nil && fd != noFD {
			unix.Close(fd)
			fd = noFD
		}
	}()
	if err := c.fill(c.head[:], &fd); err != nil {
		return fd, err
	}
	size := binary.BigEndian.Uint32(c.head[:])
	if size > maxMessage {
		return fd, fmt.Errorf("%w: %d bytes, at most %d are read", errMessage, size, maxMessage)
	}
	b := make([]byte, size)
	if err := c.fill(b, &fd); err != nil {
		return fd, err
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fd, fmt.Errorf("%w: %w", errMessage, err)
	}
	return fd, nil
}

// unread says that the other side has said something that was not received yet.
func (c *conn) unread() bool {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return false
	}
	waiting := 0
	if raw.Control(func(fd uintptr) { waiting, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }) != nil || err != nil {
		return false
	}
	return waiting > 0
}

// fill reads all of b. The kernel ends a read behind bytes that came with
// descriptors, so they belong to the message that begins with these bytes.
func (c *conn) fill(b []byte, fd *int) error {
	for len(b) > 0 {
		n, oobn, flags, _, err := c.socket.ReadMsgUnix(b, c.oob)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
				return errGone
			}
			return fmt.Errorf("vip-agent: receive: %w", err)
		}
		fds, err := handover.Descriptors(c.oob[:oobn])
		for _, got := range fds {
			if *fd == noFD {
				*fd = got
				continue
			}
			unix.Close(got)
			err = errors.Join(err, fmt.Errorf("%w: more than one descriptor", errMessage))
		}
		if flags&unix.MSG_CTRUNC != 0 && len(fds) > 0 { // else there was no room for any
			err = errors.Join(err, fmt.Errorf("%w: more than one descriptor", errMessage))
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errGone
		}
		b = b[n:]
	}
	return nil
}
