//go:build linux

package evloop

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// boundListener is a socket that listens, of TCP alone.
func boundListener(t *testing.T, address string) (fd int, at netip.AddrPort) {
	t.Helper()
	listener := (&node{}).listener()
	fd, err := openSocket(netip.MustParseAddrPort(address), &listener, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd, sysLocal(fd)
}

// needsFilters skips a test where the kernel takes no filter of a socket.
func needsFilters(t *testing.T) {
	t.Helper()
	fd, _ := boundListener(t, "127.0.0.1:0")
	if err := stopSYN(fd); err != nil {
		t.Skip("the kernel takes no filter: ", err)
	}
}

// handshakes says whether a connection from an address begins. Between addresses of one machine that
// is known when connect returns.
func handshakes(t *testing.T, from string, to netip.AddrPort) bool {
	t.Helper()
	source := netip.MustParseAddr(from)
	family := unix.AF_INET
	if source.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, sockaddrOf(netip.AddrPortFrom(source, 0))); err != nil {
		t.Skipf("%s is no address here: %v", from, err)
	}
	switch err := unix.Connect(fd, sockaddrOf(to)); {
	case err == nil:
		return true
	case !errors.Is(err, unix.EINPROGRESS):
		t.Fatalf("from %s to %s: %v", from, to, err)
	}
	polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(polled, 200) // a packet that was lost is sent again after a second
	return err == nil && n == 1      // also if it was reset by now
}

// TestTheKernelDropsWhatClientsOfTheListBegin, others of the same socket not, and what the node
// asks itself neither.
func TestTheKernelDropsWhatClientsOfTheListBegin(t *testing.T) {
	needsFilters(t)
	var keys []uint64
	for n := range silenceMost / 2 {
		keys = append(keys, clientKey(netip.AddrFrom4([4]byte{127, 0, 1, byte(n)})))
		keys = append(keys, clientKey(netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", n))))
	}
	keys = append(keys, clientKey(netip.MustParseAddr("::1")))
	for _, c := range []struct {
		listen, from, to string
		begins           bool
	}{
		{"127.0.0.1:0", "127.0.1.0", "127.0.0.1", false},
		{"127.0.0.1:0", "127.0.1.63", "127.0.0.1", false},
		{"127.0.0.1:0", "127.0.1.64", "127.0.0.1", true},
		{"127.0.0.1:0", "127.0.0.1", "127.0.0.1", true},
		{"127.0.1.7:0", "127.0.1.7", "127.0.1.7", true}, // a probe
		{"127.0.1.7:0", "127.0.1.8", "127.0.1.7", false},
		{"[::]:0", "127.0.1.5", "127.0.0.1", false}, // IPv4 of a socket of IPv6
		{"[::]:0", "127.0.2.5", "127.0.0.1", true},
		{"[::1]:0", "::1", "::1", true},
	} {
		t.Run(fmt.Sprintf("%s to %s, bound to %s", c.from, c.to, c.listen), func(t *testing.T) {
			fd, at := boundListener(t, c.listen)
			if err := sysFilter(fd, dropSYNOf(keys)); err != nil {
				t.Fatal(err)
			}
			to := netip.AddrPortFrom(netip.MustParseAddr(c.to), at.Port())
			if got := handshakes(t, c.from, to); got != c.begins {
				t.Errorf("it begins: %t", got)
			}
			if got := sysDropped(fd) > 0; got == c.begins {
				t.Errorf("it is counted as dropped: %t", got)
			}
		})
	}
}

// packet is what a filter sees: the TCP header, and the IP header behind netHeader.
type packet struct{ ip, tcp []byte }

// letsPass runs a filter as the kernel does, but for what we do not use.
func letsPass(t *testing.T, program []unix.SockFilter, p packet) bool {
	t.Helper()
	var a, x uint32
	var memory [16]uint32
	load := func(at, n uint32) (v uint32) {
		bytes := p.tcp
		if at >= netHeader {
			bytes, at = p.ip, at-netHeader
		}
		for _, b := range bytes[at : at+n] {
			v = v<<8 | uint32(b)
		}
		return v
	}
	for at := 0; ; at++ {
		i := program[at]
		jump := func(is bool) {
			if is {
				at += int(i.Jt)
			} else {
				at += int(i.Jf)
			}
		}
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = load(i.K, 4)
		case unix.BPF_LD | unix.BPF_B | unix.BPF_ABS:
			a = load(i.K, 1)
		case unix.BPF_LD | unix.BPF_MEM:
			a = memory[i.K]
		case unix.BPF_ST:
			memory[i.K] = a
		case unix.BPF_MISC | unix.BPF_TAX:
			x = a
		case unix.BPF_MISC | unix.BPF_TXA:
			a = x
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(a == i.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_X:
			jump(a == x)
		case unix.BPF_JMP | unix.BPF_JA:
			at += int(i.K)
		case unix.BPF_RET | unix.BPF_K:
			return i.K != 0
		default:
			t.Fatalf("instruction %d is %+v", at, i)
		}
	}
}

// TestAFilterGoesByAddressAndFlags, of packets that no machine sends itself.
func TestAFilterGoesByAddressAndFlags(t *testing.T) {
	const syn, ack = 0x02, 0x10
	of := func(from, to string, flags byte) packet {
		p := packet{tcp: make([]byte, 20)}
		p.tcp[13] = flags
		source, target := netip.MustParseAddr(from), netip.MustParseAddr(to)
		p.ip = append(make([]byte, from4), append(source.AsSlice(), target.AsSlice()...)...)
		p.ip[0] = 0x45
		if source.Is6() {
			p.ip = append(make([]byte, from6), append(source.AsSlice(), target.AsSlice()...)...)
			p.ip[0] = 0x60
		}
		return p
	}
	var keys []uint64
	for _, client := range []string{"192.0.2.1", "2001:db8:0:1::", "198.51.100.9", "2001:db8:0:3::"} {
		keys = append(keys, clientKey(netip.MustParseAddr(client)))
	}
	for _, c := range []struct {
		from, to string
		flags    byte
		pass     bool
	}{
		{"192.0.2.1", "203.0.113.1", syn, false},
		{"192.0.2.1", "203.0.113.1", syn | 0xc0, false}, // with ECN (RFC 3168 section 6.1.1)
		{"192.0.2.1", "203.0.113.1", ack, true},
		{"192.0.2.1", "203.0.113.1", syn | ack, true},
		{"192.0.2.1", "192.0.2.1", syn, true},
		{"192.0.2.2", "203.0.113.1", syn, true},
		{"198.51.100.9", "203.0.113.1", syn, false},
		{"2001:db8:0:1::7", "2001:db8:0:2::1", syn, false},
		{"2001:db8:0:1:ffff::7", "2001:db8:0:2::1", syn, false},
		{"2001:db8:0:1::7", "2001:db8:0:2::1", ack, true},
		{"2001:db8:0:1::7", "2001:db8:0:1::7", syn, true},
		{"2001:db8:0:1::7", "2001:db8:0:1::8", syn, false},
		{"2001:db8:0:1::7", "2001:db8:0:2::7", syn, false},
		{"2001:db8:0:2::7", "2001:db8:0:1::8", syn, true},
		{"2001:db9:0:1::7", "2001:db8:0:1::8", syn, true},
		{"2001:db8:0:3::7", "2001:db8:0:1::8", syn, false},
		{"::ffff:0:1", "2001:db8:0:1::8", syn, true},
	} {
		if got := letsPass(t, dropSYNOf(keys), of(c.from, c.to, c.flags)); got != c.pass {
			t.Errorf("from %s to %s, flags %#x: passes: %t", c.from, c.to, c.flags, got)
		}
	}
}

// silent says which of some clients a socket would keep off.
func (q *silence) silent(now int64) (keys []uint64) {
	for _, c := range q.clients {
		if c.until > now {
			keys = append(keys, c.client)
		}
	}
	return keys
}

// TestWhoGoesOnIsKeptOffForAWhile, who is refused seldom is told each time.
func TestWhoGoesOnIsKeptOffForAWhile(t *testing.T) {
	const persistent, seldom = 1, 2
	now := int64(time.Hour)
	var q silence
	for n := 1; n <= silenceAfter; n++ {
		if q.due > 0 {
			t.Fatalf("kept off after %d refusals", n-1)
		}
		q.refused(persistent, now, now+1)
	}
	if q.due != now || q.change(now) == nil || len(q.silent(now)) != 1 {
		t.Fatalf("kept off at %d: %v", q.due-now, q.silent(now))
	}
	q.took(true, now)
	if q.due != now+silenceTime {
		t.Errorf("heard again after %s", time.Duration(q.due-now))
	}
	if now = q.due; q.change(now) != nil {
		t.Error("kept off for longer")
	}
	q.took(false, now)
	if q.lasts != now+silenceQueue {
		t.Errorf("a connection may have the filter for %s", time.Duration(q.lasts-now))
	}
	if q.refused(persistent, now, now+2*silenceTime); q.due != now+silencePause {
		t.Errorf("kept off again after %s", time.Duration(q.due-now))
	}
	now = q.due
	q.change(now)
	if q.due != now-silencePause+2*silenceTime {
		t.Errorf("who has to pay for %s is heard after %s", time.Duration(2*silenceTime-silencePause), time.Duration(q.due-now))
	}
	for range 4 * silenceAfter {
		now += silenceMemory + 1
		q.refused(seldom, now, now+1)
	}
	if q.change(now); len(q.silent(now)) != 0 {
		t.Error("who is refused seldom is kept off")
	}
}

// TestWhoWasRefusedLongestAgoIsForgottenFirst, and of who is kept off nobody.
func TestWhoWasRefusedLongestAgoIsForgottenFirst(t *testing.T) {
	now := int64(time.Hour)
	var q silence
	for range silenceAfter {
		q.refused(0, now, now)
	}
	for client := range uint64(silenceMost - 1) {
		q.refused(client+1, now+int64(client*7%11), now)
	}
	for range silenceMost / 2 {
		oldest := int64(math.MaxInt64)
		for _, c := range q.clients {
			if c.until <= now {
				oldest = min(oldest, c.last)
			}
		}
		had := map[uint64]int64{}
		for _, c := range q.clients {
			had[c.client] = c.last
		}
		q.refused(uint64(1000+len(had))+uint64(now), now+100, now)
		now++
		for _, c := range q.clients {
			delete(had, c.client)
		}
		for client, last := range had {
			if last != oldest || client == 0 {
				t.Fatalf("client %d, refused %d, is forgotten before one of %d", client, last, oldest)
			}
		}
	}
}

// TestSilenceIsBounded in whom it knows and how often the filter changes.
func TestSilenceIsBounded(t *testing.T) {
	now := int64(time.Hour)
	var q silence
	changes := 0
	for step := range int64(2000) {
		now += int64(time.Millisecond)
		for client := range uint64(3 * silenceMost / 100) {
			for range silenceAfter {
				q.refused(uint64(step)<<20|client, now, now)
			}
		}
		if q.due > 0 && now >= q.due {
			changes++
			program := q.change(now)
			q.took(program != nil, now)
			if len(program) > 64+5*silenceMost {
				t.Fatalf("a filter of %d instructions", len(program))
			}
		}
		if len(q.clients) > silenceMost {
			t.Fatalf("%d clients are known", len(q.clients))
		}
	}
	if most := int(2000*int64(time.Millisecond)/silencePause) + 1; changes > most {
		t.Errorf("%d filters in 2 s", changes)
	}
	if len(q.silent(now)) < silenceMost/2 {
		t.Errorf("%d are kept off", len(q.silent(now)))
	}
}

// silenceOf starts a node that keeps a client off, since it owes what it is refused for 20 s for.
func silenceOf(t *testing.T, client string) *node {
	t.Helper()
	const most = 100
	needsFilters(t)
	n := startNode(t, 2)
	n.apply(func(l *table.Listener) { l.Limits.FaultsPerClient = most }, respondAll())
	n.owes(client, 3*most, most)
	eventually(t, client+" to be kept off", func() bool { return !n.begins(client) })
	return n
}

// owes has a client be at fault so often.
func (n *node) owes(client string, times, most int) {
	at := n.address
	n.engine.mu.Lock()
	b := n.engine.bindings[netip.MustParseAddrPort(at)]
	n.engine.mu.Unlock()
	for range times {
		b.clientele.faults.add(clientKey(netip.MustParseAddr(client)), 0, n.engine.loops[0].elapsed(), most, 1)
	}
}

// begins says whether a connection of a client does, on the socket of some loop.
func (n *node) begins(client string) bool {
	return handshakes(n.t, client, netip.MustParseAddrPort(n.address))
}

// TestTheKernelKeepsOffWhoIsRefusedAndGoesOn until it has paid, and others never.
func TestTheKernelKeepsOffWhoIsRefusedAndGoesOn(t *testing.T) {
	const most, client = 100, "127.0.0.2"
	needsFilters(t)
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) { l.Limits.FaultsPerClient = most }, respondAll())
	n.owes(client, most, most)
	end := time.Now().Add(10 * time.Second)
	for tries := 0; n.begins(client); tries++ {
		if time.Now().After(end) {
			t.Fatal("it is not kept off")
		}
		if tries%silenceAfter == 0 { // a tenth of a second pays for a fault
			n.owes(client, 1, most)
		}
	}
	n.respondsTo("another client", "127.0.0.3")
	kept := n.from("127.0.0.3")
	n.wantStatus("before", kept, "", 200)
	eventually(t, "it to be heard again", func() bool { return n.begins(client) })
	eventually(t, "the drops to be counted", func() bool { return n.engine.stats.Counter(stats.PacketsDropped) > 0 })
	eventually(t, "it to have paid", func() bool { return n.begins(client) })
	n.wantStatus("after", kept, "", 200)
}

// TestWhoIsKeptOffIsHeardAtOnceUnderAnotherLimit.
func TestWhoIsKeptOffIsHeardAtOnceUnderAnotherLimit(t *testing.T) {
	const client = "127.0.0.2"
	n := silenceOf(t, client)
	other := n.from("127.0.0.3")
	n.wantStatus("beside it", other, "", 200)
	began := time.Now()
	n.apply(nil, respondAll())
	for range 32 { // of both loops
		eventually(t, "it to be heard", func() bool { return n.begins(client) })
	}
	if after := time.Since(began); after > 5*time.Second {
		t.Errorf("heard after %s", after)
	}
	n.respondsTo("without a limit", client)
	n.engine.mu.Lock()
	b := n.engine.bindings[netip.MustParseAddrPort(n.address)]
	n.engine.mu.Unlock()
	for _, s := range b.sockets {
		if hasFilter(s.fd) {
			t.Error("a socket has a filter still")
		}
	}
}

// TestAConnectionDoesNotKeepTheFilterOfItsSocket, which it has got by the kernel: it may last for
// days, and the filter would with it.
func TestAConnectionDoesNotKeepTheFilterOfItsSocket(t *testing.T) {
	needsFilters(t)
	l := startedLoop(t)
	l.table = l.engine.live.Load()
	listener := (&node{}).listener()
	listener.Limits.FaultsPerClient = 1
	fd, at := boundListener(t, "127.0.0.1:0")
	s := &socket{fd: fd, listener: &listener, binding: &binding{clientele: new(clientele)}}
	if err := l.addSocket(s); err != nil {
		t.Fatal(err)
	}
	l.sockets.asked, s.readable = nil, false
	for range silenceAfter {
		s.silence.refused(clientKey(netip.MustParseAddr("127.0.0.2")), l.now, l.now)
	}
	l.sockets.silence(s)
	if wait := l.patience(); wait != 0 {
		t.Errorf("the loop sleeps for %s before it keeps anybody off", wait)
	}
	l.sockets.changeSilence(l.now, l.changeSilence)
	if l.patience() != time.Duration(silenceTime) {
		t.Errorf("it sleeps for %s while it does", l.patience())
	}
	if !hasFilter(fd) || handshakes(t, "127.0.0.2", at) {
		t.Fatal("a client is not kept off")
	}
	accepted := func(when string) {
		t.Helper()
		l.sockets.ask(s)
		l.sockets.turn(l.accept)
		for _, k := range l.links {
			if hasFilter(k.fd) {
				t.Errorf("a connection of %s keeps the filter", when)
			}
		}
	}
	if !handshakes(t, "127.0.0.3", at) {
		t.Fatal("another does not begin")
	}
	accepted("while there is one")
	if !handshakes(t, "127.0.0.3", at) {
		t.Fatal("another does not begin")
	}
	l.endSilence(s)
	if hasFilter(fd) {
		t.Error("the socket keeps its filter")
	}
	accepted("before it ended")
	if len(l.links) != 2 {
		t.Errorf("%d connections", len(l.links))
	}
}

// TestOfARemovedSocketNobodyIsHeardAgain: its filter is not changed, nor its descriptor touched,
// when somebody would have been.
func TestOfARemovedSocketNobodyIsHeardAgain(t *testing.T) {
	needsFilters(t)
	l := startedLoop(t)
	listener := (&node{}).listener()
	fd, at := boundListener(t, "127.0.0.1:0")
	s := &socket{fd: fd, listener: &listener, binding: &binding{address: at, clientele: new(clientele)}}
	if err := l.addSocket(s); err != nil {
		t.Fatal(err)
	}
	for range silenceAfter {
		s.silence.refused(clientKey(netip.MustParseAddr("127.0.0.2")), l.now, l.now)
	}
	l.sockets.silence(s)
	l.sockets.changeSilence(l.now, l.changeSilence)
	l.removeSocket(at)
	l.now += silenceTime
	l.sockets.changeSilence(l.now, func(*socket) { t.Error("its silence changes") })
	if handshakes(t, "127.0.0.2", at) || handshakes(t, "127.0.0.3", at) {
		t.Error("a connection begins")
	}
	if l.sockets.silentUntil != 0 {
		t.Error("the loop wakes up for it")
	}
}

// TestWhereTheKernelTakesNoFilterClientsAreRefusedOneByOne, and it is not asked again.
func TestWhereTheKernelTakesNoFilterClientsAreRefusedOneByOne(t *testing.T) {
	l := startedLoop(t)
	listener := (&node{}).listener()
	fd, at := boundListener(t, "127.0.0.1:0")
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1); err != nil {
		t.Fatal(err)
	}
	s := &socket{fd: fd, listener: &listener, binding: &binding{clientele: new(clientele)}}
	for n := range 2 {
		for range silenceAfter {
			s.silence.refused(clientKey(netip.MustParseAddr("127.0.0.2")), l.now, l.now)
		}
		if asks := s.silence.due > 0; asks != (n == 0) {
			t.Errorf("time %d: the kernel is to be asked: %t", n, asks)
		}
		l.changeSilence(s)
		if s.silence.on || s.silence.due != 0 || len(s.silence.clients) > 0 {
			t.Errorf("time %d: %+v", n, s.silence)
		}
	}
	if !handshakes(t, "127.0.0.2", at) {
		t.Error("it is kept off")
	}
}

// hasFilter says whether a socket has one.
func hasFilter(fd int) bool {
	var size uint32
	var none byte
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_GET_FILTER,
		uintptr(unsafe.Pointer(&none)), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0 && size > 0
}

// TestTheNextProcessHearsWhomWeKeptOff, as it knows nothing of them; while it may be there nobody is
// kept off any more.
func TestTheNextProcessHearsWhomWeKeptOff(t *testing.T) {
	const client = "127.0.0.2"
	old := silenceOf(t, client)
	if err := old.engine.Suspend(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := old.follow(t, 2, old.inherited())
	next.apply(nil, respondAll())
	for range 4 * silenceAfter { // some of them are taken by the old process still, and refused
		if !old.begins(client) {
			t.Fatal("it is kept off")
		}
	}
	if err := old.engine.Release(t.Context(), next.engine.CloseUnclaimed()); err != nil {
		t.Fatal(err)
	}
	next.respondsTo("of the next process", client)
}
