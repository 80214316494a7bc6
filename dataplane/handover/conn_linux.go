package handover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is one end of a conversation. It belongs to one goroutine; only Close and
// SetDeadline may be called by others.
type Conn struct {
	socket *net.UnixConn
	buf    []byte // of Receive
	oob    []byte
}

// Pair makes the two ends of a conversation. peer is for a child process.
func Pair() (c *Conn, peer *os.File, err error) {
	// A sequence of packets: the kernel keeps messages apart, and descriptors with
	// theirs.
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("hand-over: socket pair: %w", err)
	}
	peer = os.NewFile(uintptr(fds[1]), "hand-over")
	if c, err = Open(fds[0]); err != nil {
		peer.Close()
		return nil, nil, err
	}
	return c, peer, nil
}

// Open takes an end that this process was started with. It owns fd, also when it
// fails.
func Open(fd int) (*Conn, error) {
	socket, err := OpenSocket(fd, "hand-over")
	if err != nil {
		return nil, err
	}
	return &Conn{
		socket: socket,
		buf:    make([]byte, 1+MaxText),
		oob:    make([]byte, unix.CmsgSpace(4*MaxFDs)),
	}, nil
}

// OpenSocket makes a connection of the descriptor of a UNIX socket, which no program
// that is started later gets. It owns fd, also when it fails; name stands before what
// went wrong.
func OpenSocket(fd int, name string) (*net.UnixConn, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), name)
	if f == nil {
		return nil, fmt.Errorf("%s: %d is no descriptor", name, fd)
	}
	defer f.Close() // FileConn has a copy
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("%s: descriptor %d: %w", name, fd, err)
	}
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("%s: descriptor %d is no unix socket", name, fd)
	}
	return socket, nil
}

// Close ends the conversation. It may be called more than once.
func (c *Conn) Close() error {
	if err := c.socket.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("hand-over: close: %w", err)
	}
	return nil
}

// SetDeadline bounds what Send and Receive wait; zero: no bound.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.socket.SetDeadline(t); err != nil {
		return fmt.Errorf("hand-over: %w", err)
	}
	return nil
}

// Send says something. Descriptors stay the caller's.
func (c *Conn) Send(m Message) error {
	if err := m.check(); err != nil {
		return err
	}
	var oob []byte
	if len(m.FDs) > 0 {
		oob = unix.UnixRights(m.FDs...)
	}
	if _, _, err := c.socket.WriteMsgUnix(append([]byte{byte(m.Kind)}, m.Text...), oob, nil); err != nil {
		return gone(m.Kind, err)
	}
	return nil
}

// Receive hears one message, which must be of a given kind. A message Failed
// comes as ErrPeer with its text. The descriptors are the caller's.
func (c *Conn) Receive(want ...Kind) (Message, error) {
	m, err := c.ReceiveAny()
	if err == nil && !slices.Contains(want, m.Kind) {
		m.closeFDs()
		err = fmt.Errorf("%w: %s, expected %s", ErrMessage, m.Kind, want[len(want)-1])
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// ReceiveAny is Receive of any kind but Failed.
func (c *Conn) ReceiveAny() (Message, error) {
	n, oobn, flags, _, err := c.socket.ReadMsgUnix(c.buf, c.oob)
	if err != nil {
		return Message{}, gone(0, err)
	}
	fds, err := Descriptors(c.oob[:oobn])
	m := Message{FDs: fds}
	switch {
	case err != nil:
	case flags&unix.MSG_CTRUNC != 0:
		err = fmt.Errorf("%w: more descriptors than this process takes", ErrMessage)
	case flags&unix.MSG_TRUNC != 0:
		err = fmt.Errorf("%w: longer than %d bytes", ErrMessage, len(c.buf))
	case n == 0:
		err = ErrGone
	default:
		m.Kind, m.Text = Kind(c.buf[0]), string(c.buf[1:n])
		err = m.check()
	}
	if err == nil && m.Kind == Failed {
		err = fmt.Errorf("%w: %s", ErrPeer, m.Text)
	}
	if err != nil {
		m.closeFDs()
		return Message{}, err
	}
	return m, nil
}

func (m *Message) closeFDs() {
	for _, fd := range m.FDs {
		unix.Close(fd)
	}
	m.FDs = nil
}

// Descriptors are those that a control message brought; the ones that it brought
// before an error too.
func Descriptors(oob []byte) (fds []int, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	for i := range messages {
		more, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, fmt.Errorf("%w: %w", ErrMessage, err)
		}
		fds = append(fds, more...)
	}
	return fds, nil
}

// gone tells the end of the peer from other errors.
func gone(k Kind, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		return ErrGone
	}
	if k != 0 {
		return fmt.Errorf("hand-over: %s: %w", k, err)
	}
	return fmt.Errorf("hand-over: %w", err)
}
