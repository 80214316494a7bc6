package gossip

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// maxPacket is the longest datagram that there is.
	maxPacket = 64 << 10
	// receiveBuffer is what the kernel is asked to keep of datagrams that come faster than
	// they are read, as far as it allows.
	receiveBuffer = 2 << 20
	// firstFailure and lastFailure are the pauses after a socket failed; they double.
	firstFailure = 5 * time.Millisecond
	lastFailure  = time.Second
)

// transport carries memberlist's packets and streams. memberlist's own one takes 64 KiB for
// each datagram that it reads: with thousands of them a second an agent spent half of its time
// on collecting these. Its dials end with Run.
type transport struct {
	// immutable
	tcp     *net.TCPListener
	udp     *net.UDPConn
	packets chan *memberlist.Packet
	streams chan net.Conn
	log     *slog.Logger
	end     context.Context
	ip      net.IP // to advertise
	port    int
	cut     func(address string) bool

	shut func() // once
	over chan struct{}
	wait sync.WaitGroup
}

// listen opens the sockets and begins to read them. They have the same port of TCP and UDP, so
// if any will do, some may have to be tried.
func (g *Gossip) listen(end context.Context) (*transport, error) {
	t := &transport{
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		log: g.log, end: end, cut: g.c.cut, over: make(chan struct{}),
	}
	t.shut = sync.OnceFunc(func() {
		close(t.over)
		_ = t.tcp.Close()
		_ = t.udp.Close()
	})
	err := errors.New("no port")
	for range 10 {
		if err = t.open(g.address); err == nil || g.address.Port() != 0 {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("gossip: listen on %s: %w", g.address, err)
	}
	if t.ip, err = g.advertised(); err != nil {
		t.shut()
		return nil, err
	}
	t.wait.Go(t.accept)
	t.wait.Go(t.read)
	return t, nil
}

// open opens both sockets.
func (t *transport) open(at netip.AddrPort) (err error) {
	if t.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)); err != nil {
		return err
	}
	t.port = t.tcp.Addr().(*net.TCPAddr).Port
	at = netip.AddrPortFrom(at.Addr(), uint16(t.port)) //nolint:gosec // a port
	if t.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)); err != nil {
		_ = t.tcp.Close()
		return err
	}
	for size := receiveBuffer; size > 0 && t.udp.SetReadBuffer(size) != nil; {
		size /= 2
	}
	return nil
}

// read reads datagrams until Shutdown. memberlist changes what it gets, and keeps it for a
// while.
func (t *transport) read() {
	b := make([]byte, maxPacket)
	for failures := 0; ; {
		n, from, err := t.udp.ReadFromUDPAddrPort(b)
		at := time.Now()
		if err != nil {
			if failures++; !t.failed("read", err, failures) {
				return
			}
			continue
		}
		if failures = 0; n == 0 {
			continue
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		p := &memberlist.Packet{Buf: slices.Clone(b[:n]), From: net.UDPAddrFromAddrPort(from), Timestamp: at}
		select {
		case t.packets <- p:
		case <-t.over:
			return
		}
	}
}

// accept takes streams until Shutdown.
func (t *transport) accept() {
	for failures := 0; ; {
		c, err := t.tcp.AcceptTCP()
		if err != nil {
			if failures++; !t.failed("accept", err, failures) {
				return
			}
			continue
		}
		failures = 0
		select {
		case t.streams <- c:
		case <-t.over:
			_ = c.Close()
			return
		}
	}
}

// failed waits after so many failures on end, and says whether to try again.
func (t *transport) failed(what string, err error, failures int) bool {
	pause := time.NewTimer(min(firstFailure<<min(failures-1, 10), lastFailure))
	defer pause.Stop()
	select {
	case <-t.over:
		return false
	default:
	}
	t.log.Error("gossip: "+what, "error", err)
	select {
	case <-t.over:
		return false
	case <-pause.C:
		return true
	}
}

// Shutdown implements memberlist.Transport.
func (t *transport) Shutdown() error {
	t.shut()
	t.wait.Wait()
	return nil
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) { return t.ip, t.port, nil }

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: address}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if t.cut != nil && t.cut(a.Addr) {
		return nil, fmt.Errorf("gossip: %s is cut off", a.Addr)
	}
	d := net.Dialer{Timeout: timeout}
	return d.DialContext(t.end, "tcp", a.Addr)
}

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, address string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: address})
}

// WriteToAddress implements memberlist.NodeAwareTransport. Addresses are ips: where members
// are is what they say, and names of Config.Join were resolved.
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if t.cut != nil && t.cut(a.Addr) {
		return time.Now(), nil
	}
	to, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip: %w", err)
	}
	_, err = t.udp.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	return time.Now(), err
}
