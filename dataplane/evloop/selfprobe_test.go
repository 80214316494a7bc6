//go:build linux

package evloop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"golang.org/x/sys/unix"
)

func (n *node) probe() error {
	return n.engine.probe(context.Background(), netip.MustParseAddrPort(n.address))
}

// checkNoTrace looks for what probes may have left. waits is what timeWaits said before
// them: an earlier test's client may have had the port's number.
func (n *node) checkNoTrace(waits int) {
	n.t.Helper()
	if n.engine.probing.Load() != nil {
		n.t.Error("whoever gets the prober's port is a probe")
	}
	if kept := timeWaits(n.t, n.port); kept > waits {
		n.t.Errorf("%d connections wait for their time", kept-waits)
	}
	if open := clientsOpen(n); open != 0 {
		n.t.Errorf("%d clients are counted", open)
	}
	for c := range n.engine.stats.ClientConnections() {
		if c.Opened != 0 {
			n.t.Errorf("%d connections are counted of listener %q", c.Opened, c.Name)
		}
	}
	n.records.mu.Lock()
	defer n.records.mu.Unlock()
	if len(n.records.all) != 0 {
		n.t.Errorf("recorded: %+v", n.records.all)
	}
}

// timeWaits counts the connections of a port that are over and kept (TIME_WAIT).
func timeWaits(t *testing.T, port uint16) (count int) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		// Number, local and remote address, state: 06.
		if f := strings.Fields(line); len(f) > 3 && f[3] == "06" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			count++
		}
	}
	return count
}

// descriptors are how many this process has.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestANodeAnswersItsProbeWhateverItsListenerSpeaksAndNothingIsSeenOfIt(t *testing.T) {
	nowhere := newUpstream("u", "127.0.0.1:1") // asking it would be seen
	certificate := securetest.New(t).Certificate(securetest.Config{Names: []string{shop}})
	for _, c := range []struct {
		name   string
		change func(*table.Listener)
		route  *table.Route
	}{
		{"HTTP", func(*table.Listener) {}, forwardAll(nowhere)},
		{"HTTPS", func(l *table.Listener) { l.Protocol, l.TLS = table.ProtocolHTTPS, securetest.Listener(certificate) }, forwardAll(nowhere)},
		{"TCP", speaks(table.ProtocolTCP), passes("db", nowhere)},
		{"TLS_PASSTHROUGH", speaks(table.ProtocolTLSPassthrough), passes("db", nowhere, shop)},
		{"a PROXY header of somebody else", expects(table.ProxyRequired, nobody), forwardAll(nowhere)},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t, 2)
			n.apply(c.change, c.route)
			before, waits := descriptors(t), timeWaits(t, n.port)
			for range 10 {
				if err := n.probe(); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "descriptors to be as before", func() bool { return descriptors(t) <= before })
			n.stop() // so that nothing comes later
			n.checkNoTrace(waits)
		})
	}
}

func TestANodeThatIsFullAnswersItsProbe(t *testing.T) {
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) { l.Limits.Connections = 1 }, forwardAll(newUpstream("u", startBackend(t, echo))))
	held := dialKept(t, netip.MustParseAddrPort(n.address))
	held.get(t)
	if got := n.talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Fatalf("the node is not full: %q", got)
	}
	refused := n.engine.stats.Counter(stats.ClientsOverLimit)
	n.engine.SetPressure(pressure.Critical)
	if err := n.probe(); err != nil {
		t.Error(err)
	}
	if now := n.engine.stats.Counter(stats.ClientsOverLimit); now != refused {
		t.Error("the probe is counted among those that were refused")
	}
}

// TestOnlyTheProbersOwnConnectionIsAProbe has a client come while a probe is under
// way.
func TestOnlyTheProbersOwnConnectionIsAProbe(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	n.engine.probing.Store(&probeMark{from: netip.MustParseAddrPort("127.0.0.1:1")})
	if resp := n.get("/"); resp.StatusCode != http.StatusOK { // from the same address
		t.Error(resp.Status)
	}
	from := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), freePort(t))
	n.engine.probing.Store(&probeMark{from: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), from.Port())})
	c, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from)}).Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := &kept{c, bufio.NewReader(c)}
	if resp := k.get(t); resp.StatusCode != http.StatusOK { // from the same port
		t.Error(resp.Status)
	}
	// Nor is it one when the probe is over.
	n.engine.probing.Store(nil)
	if resp := n.get("/"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

func TestANodeThatTakesNoConnectionsHasAFaultUntilItDoesAgain(t *testing.T) {
	needsFilters(t)
	n := startNode(t, 2)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	p := n.engine.SelfProbe()
	defer lifecycletest.Run(t, p.Run)()
	sockets := n.engine.bindings[netip.MustParseAddrPort(n.address)].sockets
	for _, s := range sockets {
		if err := stopSYN(s.fd); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a fault", func() bool { return p.Fault() != "" })
	if f := p.Fault(); !strings.Contains(f, `listener "web": `+n.address+`: no answer within 1s`) {
		t.Error(f)
	}
	for _, s := range sockets {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "no fault", func() bool { return p.Fault() == "" })
}

func TestWhoeverElseAnswersIsAFault(t *testing.T) {
	n := startNode(t, 1)
	ended := make(chan struct{})
	defer close(ended)
	says := func(what string) netip.AddrPort {
		return netip.MustParseAddrPort(rawServer(t, func(c net.Conn) { _, _ = io.WriteString(c, what); <-ended }))
	}
	for _, c := range []struct {
		what string
		at   netip.AddrPort
		want string // as it is each time: what is logged is what is new
	}{
		{"a greeting", says("some other program's greeting"), "somebody else answers"},
		{"zeroes", says(strings.Repeat("\x00", 64)), "somebody else answers"},
		{"nothing", says(""), "no answer within 1s"},
		{"a refusal", refusing(t), "connection refused"},
	} {
		if err := n.engine.probe(context.Background(), c.at); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}

// TestAnAddressThatTheNodeDoesNotHaveCannotBeAsked, which is no fault: an interface
// may be down.
func TestAnAddressThatTheNodeDoesNotHaveCannotBeAsked(t *testing.T) {
	n := startNode(t, 1)
	if err := n.engine.probe(context.Background(), netip.MustParseAddrPort("192.0.2.1:80")); !errors.Is(err, errUnasked) {
		t.Error(err)
	}
}

func TestAddressesAreAskedInOneOrder(t *testing.T) {
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) {
		l.Addresses = nil
		for _, last := range []byte{7, 3, 9, 5, 2, 8, 4, 6} {
			l.Addresses = append(l.Addresses, table.Address{Kind: table.AddressLiteral, IP: netip.AddrFrom4([4]byte{127, 0, 0, last})})
		}
	})
	for range 5 {
		all, _ := n.engine.probed()
		if len(all) != 8 || !slices.IsSortedFunc(all, func(a, b listening) int { return a.address.Compare(b.address) }) {
			t.Fatalf("%v", all)
		}
	}
}

// TestALinkLocalAddressIsNotAsked: which link it is of does not stand in it.
func TestALinkLocalAddressIsNotAsked(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil)
	local := netip.AddrPortFrom(netip.MustParseAddr("fe80::1"), n.port)
	n.engine.config.NodeAddress = local.Addr()
	n.engine.bindings[local] = &binding{address: local}
	defer delete(n.engine.bindings, local)
	if all, settled := n.engine.probed(); len(all) != 0 || !settled {
		t.Errorf("%v, settled %t", all, settled)
	}
}

// TestANodeDoesNotAskItselfWhereAnotherProcessMayAnswer is for hand-overs, in which
// two processes take connections from one queue, and for virtual IPs.
func TestANodeDoesNotAskItselfWhereAnotherProcessMayAnswer(t *testing.T) {
	n := startNode(t, 1)
	n.apply(onVIP, forwardAll(newUpstream("u", startBackend(t, echo))))
	n.foreign()
	own := func() (all []string) {
		probed, _ := n.engine.probed()
		for _, at := range probed {
			all = append(all, at.address.String())
		}
		return all
	}
	if got := own(); len(got) != 1 || got[0] != n.address {
		t.Errorf("probed: %q, expected %s alone", got, n.address)
	}
	if err := n.engine.Suspend(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := own(); len(got) != 0 {
		t.Errorf("probed during a hand-over: %q", got)
	}
	if v := n.engine.SelfProbe().round(context.Background()); v.standing != unknown {
		t.Errorf("during a hand-over: %+v", v)
	}
	n.engine.Resume()
	n.engine.released = true
	if _, settled := n.engine.probed(); settled {
		t.Error("probed when another process has taken over")
	}
	n.engine.released = false
	if err := n.engine.SetDrained(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	if got := own(); len(got) != 0 {
		t.Errorf("probed while drained: %q", got)
	}
	if v := n.engine.SelfProbe().round(context.Background()); v.standing != faultless {
		t.Errorf("while drained: %+v", v)
	}
}

func TestAProbeOfAWildcardAddressGoesToLoopback(t *testing.T) {
	for _, wildcard := range []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified()} {
		n := startNode(t, 1)
		n.engine.config.NodeAddress = wildcard
		n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
		probed, _ := n.engine.probed()
		if len(probed) != 1 {
			t.Errorf("%s: %v", wildcard, probed)
		}
		for _, at := range probed {
			if err := n.engine.probe(context.Background(), at.address); err != nil {
				t.Errorf("%s: %v", at.address, err)
			}
		}
	}
}

// TestAProbeCostsNextToNothing: 60 to 250 µs of both sides, the latter on a busy
// machine; four a second are a thousandth of a processor.
func TestAProbeCostsNextToNothing(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	const rounds = 200
	var before, after unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
	for range rounds {
		if err := n.probe(); err != nil {
			t.Fatal(err)
		}
	}
	_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
	used := func(r unix.Rusage) time.Duration { return time.Duration(r.Utime.Nano() + r.Stime.Nano()) }
	each := (used(after) - used(before)) / rounds
	t.Logf("%s of processor time a probe", each)
	if each > time.Millisecond {
		t.Error("that is more than a millisecond")
	}
}
