//go:build !linux

package gossip

import (
	"net"
	"net/netip"
	"time"
)

// batch is how many datagrams are read at once.
const batch = 1

// datagrams is the socket of datagrams.
type datagrams struct {
	conn  *net.UDPConn
	heard heard

	// owned by who reads
	bytes []byte
	last  []byte
	from  netip.AddrPort
	begun time.Time // of the work that the last read was
}

// openDatagrams takes over a socket.
func openDatagrams(conn *net.UDPConn) (*datagrams, error) {
	return &datagrams{conn: conn, bytes: make([]byte, maxPacket)}, nil
}

func (d *datagrams) close() { _ = d.conn.Close() }

// read waits for datagrams, and says how many there are.
func (d *datagrams) read() (n int, err error) {
	n, d.from, err = d.conn.ReadFromUDPAddrPort(d.bytes)
	d.begun, d.last = time.Now(), d.bytes[:n]
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// datagram is one of those that were read last, valid until the next read.
func (d *datagrams) datagram(int) (b []byte, from netip.AddrPort) {
	return d.last, netip.AddrPortFrom(d.from.Addr().Unmap(), d.from.Port())
}

// send sends a datagram.
func (d *datagrams) send(b []byte, to netip.AddrPort) error {
	_, err := d.conn.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	return err
}
