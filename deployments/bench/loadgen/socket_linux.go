package loadgen

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// descriptor is a connected socket as crypto/tls wants it. While the socket
// blocks, so do Read and Write; afterwards Read says os.ErrDeadlineExceeded when
// there is nothing, which crypto/tls takes as a read that can go on later.
type descriptor struct{ fd int }

func (d descriptor) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(d.fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, os.ErrDeadlineExceeded
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (d descriptor) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		n, err := unix.Write(d.fd, b[sent:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // a socket that is full is an error too: what goes out here is small
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

func (descriptor) Close() error                     { return nil }
func (descriptor) LocalAddr() net.Addr              { return nil }
func (descriptor) RemoteAddr() net.Addr             { return nil }
func (descriptor) SetDeadline(time.Time) error      { return nil }
func (descriptor) SetReadDeadline(time.Time) error  { return nil }
func (descriptor) SetWriteDeadline(time.Time) error { return nil }

// handshake makes a client of TLS of a socket that blocks.
func handshake(fd int, config *tls.Config) (*tls.Conn, error) {
	limit := unix.NsecToTimeval(int64(holdTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return nil, err
	}
	c := tls.Client(descriptor{fd}, config)
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c, nil
}
