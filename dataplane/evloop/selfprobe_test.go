//go:build linux

package evloop

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

func (n *node) probe() error {
	return n.engine.probe(context.Background(), netip.MustParseAddrPort(n.address))
}

// checkNoTrace looks for what probes may have left.
func (n *node) checkNoTrace() {
	n.t.Helper()
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
			for range 10 {
				if err := n.probe(); err != nil {
					t.Fatal(err)
				}
			}
			n.stop() // so that nothing comes later
			n.checkNoTrace()
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
	mark := &probeMark{from: netip.MustParseAddrPort("127.0.0.1:1")}
	n.engine.probing.Store(mark)
	if resp := n.get("/"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	// Nor is it one when the probe is over.
	n.engine.probing.Store(nil)
	if resp := n.get("/"); resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
}

func TestANodeThatTakesNoConnectionsHasAFaultUntilItDoesAgain(t *testing.T) {
	n := startNode(t, 2)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	p := n.engine.SelfProbe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	sockets := n.engine.bindings[netip.MustParseAddrPort(n.address)].sockets
	for _, s := range sockets {
		if err := stopSYN(s.fd); errors.Is(err, unix.EPERM) {
			t.Skip("a filter needs CAP_NET_ADMIN: ", err)
		} else if err != nil {
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
	at := netip.MustParseAddrPort(rawServer(t, func(c net.Conn) { _, _ = io.WriteString(c, "some other program's greeting") }))
	if err := n.engine.probe(context.Background(), at); err == nil || err.Error() != "somebody else answers" {
		t.Error(err)
	}
	refusing := netip.AddrPortFrom(at.Addr(), freePort(t))
	if err := n.engine.probe(context.Background(), refusing); !errors.Is(err, unix.ECONNREFUSED) {
		t.Error(err)
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
	n := startNode(t, 1)
	n.engine.config.NodeAddress = netip.IPv6Unspecified()
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	probed, _ := n.engine.probed()
	for _, at := range probed {
		if err := n.engine.probe(context.Background(), at.address); err != nil {
			t.Errorf("%s: %v", at.address, err)
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
