package gossip

import (
	"context"
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
	// sendBuffer is the same for those that cannot be sent yet.
	sendBuffer = 2 << 20
	// firstFailure and lastFailure are the pauses after a socket failed; they double.
	firstFailure = 5 * time.Millisecond
	lastFailure  = time.Second
	// strangersEach is between two words on datagrams that are not of the fleet: a node with
	// another key sends some 20 a second for as long as it runs, others as many as they like.
	strangersEach = time.Minute
)

// transport carries memberlist's packets and streams. memberlist's own one takes 64 KiB for
// each datagram that it reads: with thousands of them a second an agent spent half of its time
// on collecting these. This one hands on what is of the fleet only, spends a third of a
// processor at most on what is not, and has nobody wait who sends. Its dials end with Run.
type transport struct {
	// immutable
	tcp     *net.TCPListener
	udp     *datagrams
	sieve   *sieve // owned by read
	taken   streams
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
		t.udp.close()
	})
	var err error
	if t.sieve, err = newSieve(label(g.c.Fleet), g.c.Keys); err != nil {
		return nil, fmt.Errorf("gossip: keys: %w", err)
	}
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
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		_ = t.tcp.Close()
		return err
	}
	for size := receiveBuffer; size > 0 && udp.SetReadBuffer(size) != nil; {
		size /= 2
	}
	for size := sendBuffer; size > 0 && udp.SetWriteBuffer(size) != nil; {
		size /= 2
	}
	if t.udp, err = openDatagrams(udp); err != nil {
		_ = t.tcp.Close()
	}
	return err
}

// read reads datagrams until Shutdown. memberlist changes what it gets, and keeps it for a
// while.
func (t *transport) read() {
	var strangers strangers
	var bounds ration
	var ours []*memberlist.Packet
	for failures := 0; ; {
		n, err := t.udp.read()
		if err != nil {
			if failures++; !t.failed("read", err, failures) {
				return
			}
			continue
		}
		failures, ours = 0, ours[:0]
		begun := t.udp.begun
		for i := range n {
			b, from := t.udp.datagram(i)
			if why := t.sieve.check(b); why != nil {
				strangers.note(from, why)
				continue
			}
			t.udp.heard.note(from, begun)
			ours = append(ours, &memberlist.Packet{Buf: slices.Clone(b), From: net.UDPAddrFromAddrPort(from), Timestamp: begun})
		}
		strangers.tell(t.log, begun)
		rest := bounds.spend(begun, time.Now(), n-len(ours), n, n < batch)
		for _, p := range ours {
			select {
			case t.packets <- p:
			case <-t.over:
				return
			}
		}
		if rest > 0 && !t.rest(rest) {
			return
		}
	}
}

// strangers are those that sent what is not of the fleet.
type strangers struct {
	number int // since it was told
	from   netip.AddrPort
	why    error
	told   time.Time
}

func (s *strangers) note(from netip.AddrPort, why error) {
	s.number++
	s.from, s.why = from, why
}

// tell tells of them, now and then.
func (s *strangers) tell(log *slog.Logger, now time.Time) {
	if s.number == 0 || !s.told.IsZero() && now.Sub(s.told) < strangersEach {
		return
	}
	log.Warn("gossip: datagrams that are not of this fleet, or came before, are dropped", "number", s.number, "last_from", s.from, "why", s.why)
	s.number, s.told = 0, now
}

// accept takes streams until Shutdown, and ends at once those that are too many.
func (t *transport) accept() {
	var bounds ration
	for failures := 0; ; {
		c, err := t.tcp.AcceptTCP()
		if err != nil {
			if failures++; !t.failed("accept", err, failures) {
				return
			}
			continue
		}
		failures = 0
		begun := time.Now()
		if !t.taken.admit(begun) {
			_ = c.Close()
			if rest := bounds.spend(begun, time.Now(), 1, 1, true); rest > 0 && !t.rest(rest) {
				return
			}
			continue
		}
		s := t.taken.stream(c)
		select {
		case t.streams <- s:
		case <-t.over:
			_ = s.Close()
			return
		}
	}
}

// rest waits, and says whether to go on.
func (t *transport) rest(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-t.over:
		return false
	case <-timer.C:
		return true
	}
}

// failed waits after so many failures on end, and says whether to try again.
func (t *transport) failed(what string, err error, failures int) bool {
	select {
	case <-t.over:
		return false
	default:
	}
	t.log.Error("gossip: "+what, "error", err)
	return t.rest(min(firstFailure<<min(failures-1, 10), lastFailure))
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
	return time.Now(), t.udp.send(b, to)
}
