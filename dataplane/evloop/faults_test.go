//go:build linux

package evloop

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestAClientHasSoManyFaultsAtOnceAndATenthOfThatASecond(t *testing.T) {
	const client, start = 7, int64(time.Hour)
	for _, most := range []int{1, 2, 3, 7, 100, 99_999, 100_000} {
		f, now := new(faults), start
		fill := func(want int) {
			for n := 1; ; n++ {
				if f.refuses(client, now, most) {
					t.Errorf("%d a window: refused after %d faults, want %d", most, n-1, want)
					return
				}
				if refused := f.add(client, 0, now, most, 1); refused != f.refuses(client, now, most) {
					t.Errorf("%d a window: of fault %d it says that the client is refused: %t", most, n, refused)
				} else if refused {
					if n != want {
						t.Errorf("%d a window: refused after %d faults, want %d", most, n, want)
					}
					return
				}
			}
		}
		fill(most)
		if f.refuses(client+1, now, most) {
			t.Errorf("%d a window: another client is refused", most)
		}
		now += faultWindow / int64(most) / 2
		if !f.refuses(client, now, most) {
			t.Errorf("%d a window: not refused any more before a fault is paid", most)
		}
		now = start + faultWindow/int64(most)*int64(max(most/10, 1))
		fill(max(most/10, 1))
		now += 2 * faultWindow
		fill(most) // all is paid
	}
}

// TestWhoUsesUpHisFaultsAgainIsRefusedForLonger on connections that were begun since, until all is paid.
func TestWhoUsesUpHisFaultsAgainIsRefusedForLonger(t *testing.T) {
	const client, start = 7, int64(time.Hour)
	for _, most := range []int{20, 100, 100_000} {
		f, now, each := new(faults), start, faultWindow/int64(most)
		add := func(begun int64, times int) {
			for range times {
				f.add(client, begun, now, most, 1)
			}
		}
		refusedFor := func(what string, want int64) {
			t.Helper()
			if got := max(f.refusedUntil(client, now, most)-now, 0); got != want {
				t.Errorf("%d a window: %s it is refused for %s, want %s", most, what, time.Duration(got), time.Duration(want))
			}
		}
		add(now, most)
		refusedFor("by all that it may have", each)
		now += each
		add(start, 1)
		refusedFor("by a connection that was there", each)
		now += each
		add(now-1, 2) // neither of which had ended when the other was begun
		refusedFor("by two that were begun since", relapseTime+each)
		now += relapseTime + each
		add(now, 1)
		refusedFor("by one that was begun after that", relapseTime)
		now += relapseTime + relapseWeight*each
		add(now, 1)
		refusedFor("by one for which it has paid", 0)
		add(now, 1)
		refusedFor("by another", relapseTime)
		now += relapseTime + faultWindow - each - 1
		add(now, most/relapseWeight)
		refusedFor("by a tenth of what it may have, just before all is paid", relapseTime)
		now += relapseTime + faultWindow - each
		add(now, most)
		refusedFor("by all that it may have, when all is paid", each)
	}
}

// TestNothingMoreIsRefusedWhereOneFaultIsAllThatThereMayBe for going on.
func TestNothingMoreIsRefusedWhereOneFaultIsAllThatThereMayBe(t *testing.T) {
	const client = 7
	f, now := new(faults), int64(0)
	for range 3 {
		f.add(client, now, now, 1, 1)
		if got := f.refusedUntil(client, now, 1) - now; got != faultWindow {
			t.Errorf("refused for %s, want %s", time.Duration(got), time.Duration(faultWindow))
		}
		now += faultWindow
	}
}

func TestWhoOwesALotIsRefusedForABoundedTime(t *testing.T) {
	const client, most = 7, 10
	f := new(faults)
	for range 10_000 {
		f.add(client, 0, 0, most, 1)
	}
	end := faultLongest - (faultWindow - faultWindow/most)
	if !f.refuses(client, end-1, most) || f.refuses(client, end, most) {
		t.Errorf("refused just before %s: %t, then: %t", time.Duration(end), f.refuses(client, end-1, most), f.refuses(client, end, most))
	}
	if f.refuses(client, 0, 0) {
		t.Error("refused where there is no limit")
	}
}

// TestFaultsAreThoseOfEachClient holds it against a map without bounds, with as many clients
// as there is certainly room for.
func TestFaultsAreThoseOfEachClient(t *testing.T) {
	const most = 5
	rnd := rand.New(rand.NewPCG(1, 2))
	f, model, stopped, now := new(faults), map[uint64]int64{}, map[uint64]int64{}, int64(0)
	var clients [faultWays]uint64
	for i := range clients {
		clients[i] = rnd.Uint64()
	}
	clients[0] = 0 // ::/64, and what an empty entry has
	refused := 0
	for range 100_000 {
		now += rnd.Int64N(int64(time.Second) / 2)
		client := clients[rnd.IntN(len(clients))]
		if rnd.IntN(2) == 0 {
			begun := now - rnd.Int64N(faultWindow)
			f.add(client, begun, now, most, 1)
			if model[client] <= now {
				model[client] = now
				delete(stopped, client)
			}
			at, was := stopped[client]
			again := was && begun > at && !spent(model[client], now, most)
			if again {
				model[client] += faultWindow // most is less than relapseWeight
			} else {
				model[client] += faultWindow / most
			}
			if spent(model[client], now, most) && again {
				model[client] = max(model[client], now+relapseTime+faultWindow-faultWindow/most)
			} else if spent(model[client], now, most) && !was {
				stopped[client] = now
			}
			model[client] = min(model[client], now+faultLongest)
		}
		want := spent(model[client], now, most)
		if got := f.refuses(client, now, most); got != want {
			t.Fatalf("client %x is refused: %t, want %t", client, got, want)
		}
		if want {
			refused++
		}
	}
	if refused < 100 {
		t.Errorf("%d were refused: not much was tried", refused)
	}
}

// TestManyClientsAtFaultDoNotForgiveWhoOwesTheMost has more clients than there is room for.
func TestManyClientsAtFaultDoNotForgiveWhoOwesTheMost(t *testing.T) {
	const worst, most = 7, 100
	f := new(faults)
	for range most {
		f.add(worst, 0, 0, most, 1)
	}
	for n := range uint64(100_000) {
		f.add(1<<20+n, 0, 0, most, 1)
	}
	if !f.refuses(worst, 0, most) {
		t.Error("the one who owes the most is not refused any more")
	}
}

func TestLoopsCountFaultsTogether(t *testing.T) {
	const loops, clients, most = 4, 50, 100
	f := new(faults)
	var refused atomic.Int32
	var wg sync.WaitGroup
	for range loops {
		wg.Go(func() {
			for n := range most / loops * clients {
				if f.add(uint64(n%clients), 0, 0, most, 1) {
					refused.Add(1)
				}
				f.refuses(uint64(n%clients), 0, most)
			}
		})
	}
	wg.Wait()
	if got := refused.Load(); got != clients {
		t.Errorf("%d times a client was refused that was not before, want %d", got, clients)
	}
}

// wantReset says that a client's next connection is ended without a word. That may be before
// the client knows that it is there.
func (n *node) wantReset(what, client string) {
	n.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
	var got []byte
	c, err := d.Dial("tcp", n.address)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		got, err = io.ReadAll(c)
	}
	if len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) {
		n.t.Errorf("%s: %q and %v, want a reset", what, got, err)
	}
}

// respondsTo says that a client is served on a new connection.
func (n *node) respondsTo(what, client string) {
	n.t.Helper()
	n.wantStatus(what, n.from(client), "", 200)
}

func (n *node) atFault() uint64 { return n.engine.stats.Counter(stats.ClientsAtFault) }

const malformed = "GET / HTTP/1.1\r\nHost : a\r\n\r\n"

// TestAClientWhoseConnectionsKeepEndingByItsFaultIsReset changes the limit while some are kept.
func TestAClientWhoseConnectionsKeepEndingByItsFaultIsReset(t *testing.T) {
	const most = 3
	n := startNode(t, 2)
	limit := func(most int) {
		n.apply(func(l *table.Listener) { l.Limits.FaultsPerClient = most }, respondAll())
	}
	fault := func() {
		c := n.from("127.0.0.1")
		if _, err := io.WriteString(c, malformed); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
			t.Fatalf("%q %v", got, err)
		}
	}
	limit(0)
	for range 2 * most {
		fault()
	}
	limit(most)
	kept := n.from("127.0.0.1")
	n.wantStatus("before any fault that counts", kept, "", 200)
	for range most {
		n.respondsTo("within the limit", "127.0.0.1")
		fault()
	}
	for range 3 {
		n.wantReset("beyond the limit", "127.0.0.1")
	}
	if got := n.atFault(); got != 3 {
		t.Errorf("%d were counted as refused", got)
	}
	n.wantStatus("a connection that was there", kept, "", 200)
	n.respondsTo("another client", "127.0.0.2")
	limit(1 << 20) // that many make what was paid back since enough for another one
	n.respondsTo("within a higher limit", "127.0.0.1")
	limit(0)
	n.respondsTo("without a limit", "127.0.0.1")
}

// TestConnectionsGatherWhileClientsAreRefused, by the clock of a loop that does not run: without
// an edge, until nobody has been refused for a while.
func TestConnectionsGatherWhileClientsAreRefused(t *testing.T) {
	fd, at := boundListener(t, "127.0.0.1:0")
	l := startedLoop(t)
	l.table = l.engine.live.Load()
	listener := (&node{}).listener()
	listener.Limits.FaultsPerClient = 1
	s := &socket{fd: fd, listener: &listener, binding: &binding{clientele: new(clientele)}}
	if err := l.addSocket(s); err != nil {
		t.Fatal(err)
	}
	s.binding.clientele.faults.add(clientKey(netip.MustParseAddr("127.0.0.1")), 0, l.now, 1, 1)
	connect := func() (edges int) { // the client sees that it is there, or reset
		if c, err := net.Dial("tcp", at.String()); err == nil {
			t.Cleanup(func() { c.Close() })
		}
		events, err := l.poller.Wait(0)
		if err != nil {
			t.Fatal(err)
		}
		return len(events)
	}
	turn := func(later int64) (refused uint64) {
		before := l.engine.stats.Counter(stats.ClientsAtFault)
		l.now += later
		l.sockets.askMuted(l.now)
		l.sockets.turn(l.accept)
		return l.engine.stats.Counter(stats.ClientsAtFault) - before
	}
	if connect() == 0 || turn(0) != 1 {
		t.Fatal("the first is not told, or not refused")
	}
	for range 2 {
		if len(l.sockets.muted) != 1 {
			t.Fatalf("it is %d times on the list", len(l.sockets.muted))
		}
		if edges := connect() + connect(); edges > 0 {
			t.Errorf("%d edges while connections gather", edges)
		}
		if wait := l.patience(); wait <= 0 || wait > time.Duration(muteTime) {
			t.Errorf("the loop sleeps for %s", wait)
		}
		if early, due := turn(muteTime-1), turn(1); early != 0 || due != 2 {
			t.Errorf("%d are refused before the time, and %d then", early, due)
		}
	}
	if turn(muteLast + 1); s.muted || l.sockets.mutedUntil != 0 {
		t.Error("connections still gather though nobody was refused for a while")
	}
	if connect() == 0 {
		t.Error("no edge tells of the next")
	}
}

// TestFaultsAreWhatEndsAConnectionByItsClientsDoing has one of each kind, and of what is none.
func TestFaultsAreWhatEndsAConnectionByItsClientsDoing(t *testing.T) {
	n := startTLS(t, 1)
	say := func(n *node, text string) {
		c := n.from("127.0.0.1")
		defer c.Close() // else the node lingers
		_, _ = io.WriteString(c, text)
		_, _ = io.ReadAll(c)
	}
	shake := func(change func(*tls.Config)) {
		config := n.config()
		change(config)
		c := tls.Client(n.from("127.0.0.1"), config)
		_ = c.Handshake()
		c.Close()
	}
	plain, passing, u := startNode(t, 1), startNode(t, 1), newUpstream("u", startBackend(t, echo))
	kinds := []struct {
		name   string
		of     *node
		do     func()
		result secure.Result // by which a handshake has to end; ResultFull: none
		fault  bool
	}{
		{"a malformed request", plain, func() { say(plain, malformed) }, 0, true},
		{"a target that is too long", plain, func() { say(plain, "GET /"+strings.Repeat("a", 20<<10)) }, 0, true},
		{"a malformed body", plain, func() { say(plain, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n") }, 0, true},
		{"frames before SETTINGS", plain, func() { say(plain, http2.Preface+"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678") }, 0, true},
		{"half a head", plain, func() { say(plain, "GET / HTTP/1.1\r\n") }, 0, false},
		{"half a frame", plain, func() { say(plain, http2.Preface+"\x00\x00\x08") }, 0, false},
		{"nothing", plain, func() { plain.from("127.0.0.1").Close() }, 0, false},
		{"no handshake", n.node, func() { say(n.node, "\x00\x01\x02\x03") }, secure.ResultNotTLS, true},
		{"a request without TLS", n.node, func() { say(n.node, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }, secure.ResultPlain, true},
		{"a hello that is too large", n.node, func() { say(n.node, "\x16\x03\x01\x00\x04\x01\x00\x50\x00") }, secure.ResultHelloTooLarge, true},
		{"a malformed hello", n.node, func() { say(n.node, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x07") }, secure.ResultMalformed, true},
		{"half a hello", n.node, func() { say(n.node, "\x16\x03\x01\x02\x00\x01\x00") }, secure.ResultTimeout, false},
		{"no hello that could be passed on", passing, func() { say(passing, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }, 0, true},
		{"half a hello to be passed on", passing, func() { say(passing, "\x16\x03\x01\x02\x00\x01\x00") }, 0, false},
		{"a certificate that is not believed", n.node, func() { shake(func(c *tls.Config) { c.RootCAs = nil }) }, secure.ResultPeerAlert, false},
		{"an old version", n.node, func() { shake(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }) }, secure.ResultVersion, false},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			limits := func(l *table.Listener) {
				l.Limits.FaultsPerClient = 1
				if strings.HasPrefix(kind.name, "half ") {
					l.Timeouts.RequestHead = 300 * time.Millisecond
				}
				l.Name = strings.ReplaceAll(kind.name, " ", "-") // with faults of its own
			}
			switch kind.of {
			case plain:
				plain.apply(limits, forwardAll(u))
			case passing:
				passing.apply(func(l *table.Listener) { limits(l); l.Protocol = table.ProtocolTLSPassthrough }, passes("all", u))
			default:
				n.serve(limits, respondAll())
			}
			shaken := kind.of.engine.stats.Handshakes(false, uint8(kind.result))
			kind.do()
			eventually(t, "it to have ended", func() bool { return clientsOpen(kind.of) == 0 })
			if kind.result != 0 {
				kind.of.handshakes(kind.result, shaken+1)
			}
			if kind.fault {
				kind.of.wantReset("the next", "127.0.0.1")
				return
			}
			refused := kind.of.atFault()
			c := kind.of.from("127.0.0.1")
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.ReadAll(c)
			if got := kind.of.atFault(); got != refused {
				t.Error("the next is refused")
			}
		})
	}
}

// TestAFloodIsAFault of a client of HTTP/2, and one more for each 64 KiB of heads that were refused.
func TestAFloodIsAFault(t *testing.T) {
	settings := func(f *xhttp2.Framer) {
		for f.WriteSettings() == nil { // until it is told to stop
		}
	}
	for _, c := range []struct {
		name string
		do   func(*xhttp2.Framer)
		most int // by faultsPerClient
		want int // connections until the client is refused
	}{
		{"SETTINGS", settings, 1, 1},
		{"SETTINGS", settings, 3, 3},
		{"heads", floodHeads, 1, 1},
		{"heads", floodHeads, 20, 3},
	} {
		t.Run(fmt.Sprintf("%s, of %d faults", c.name, c.most), func(t *testing.T) {
			n := startNode(t, 1)
			n.apply(func(l *table.Listener) { l.Limits.FaultsPerClient = c.most }, respondAll())
			for range c.want {
				n.respondsTo("within the limit", "127.0.0.1")
				conn, f := n.framesTo()
				go c.do(f)
				code, reset, err := endOf(f)
				for code < 0 && reset >= 0 { // of one stream
					code, reset, err = endOf(f)
				}
				if code != int(http2.EnhanceYourCalm) || err != nil && !errors.Is(err, syscall.ECONNRESET) {
					t.Fatalf("GOAWAY %d, %v", code, err)
				}
				conn.Close()
			}
			n.wantReset("the next", "127.0.0.1")
		})
	}
}

// floodHeads sends heads of 80 KiB until the connection ends.
func floodHeads(f *xhttp2.Framer) {
	var block bytes.Buffer
	value := strings.Repeat("\x00", 80<<10) // of 13 bits each in the table of RFC 7541 appendix B, so it is left as it is
	_ = hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: "a", Value: value, Sensitive: true})
	for stream := uint32(1); ; stream += 2 {
		rest := block.Bytes()
		err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: stream, BlockFragment: rest[:http2.MaxFrame]})
		for rest = rest[http2.MaxFrame:]; len(rest) > 0 && err == nil; {
			n := min(len(rest), http2.MaxFrame)
			err = f.WriteContinuation(stream, n == len(rest), rest[:n])
			rest = rest[n:]
		}
		if err != nil {
			return
		}
	}
}

// TestAFaultIsNoHeavierThanAllThatThereMayBe: else who had one would be refused for longer than who has
// had as many as its listener allows.
func TestAFaultIsNoHeavierThanAllThatThereMayBe(t *testing.T) {
	const most = 2
	l := startedLoop(t)
	d, _ := pairedDown(t, l)
	d.socket.listener.Limits.FaultsPerClient = most
	l.fault(d, 8)
	want := l.now + faultWindow/most
	if got := d.clientele.faults.refusedUntil(clientKey(d.peer.Addr()), l.now, most); got != want {
		t.Errorf("it is refused for %s, want %s", time.Duration(got-l.now), time.Duration(want-l.now))
	}
}

// TestAConnectionThatWasThereIsNoRelapse: a client may have opened thousands before the first one ended.
func TestAConnectionThatWasThereIsNoRelapse(t *testing.T) {
	const most, each = 4, faultWindow / 4
	for _, c := range []struct {
		begun int64 // after the client used up its faults, in nanoseconds
		want  int64 // for how long it is refused then
	}{{-1, each}, {1, relapseTime}} {
		l := startedLoop(t)
		d, _ := pairedDown(t, l)
		d.socket.listener.Limits.FaultsPerClient = most
		f, client := &d.clientele.faults, clientKey(d.peer.Addr())
		stopped := d.born - c.begun
		f.add(client, 0, stopped, most, most)
		l.now = stopped + each
		l.fault(d, 1)
		if got := f.refusedUntil(client, l.now, most) - l.now; got != c.want {
			t.Errorf("begun %dns after the client used up its faults, it is refused for %s, want %s", c.begun, time.Duration(got), time.Duration(c.want))
		}
	}
}

// TestFaultsBehindATrustedProxyAreThoseOfWhomItNames by a PROXY header, and nobody's without one.
func TestFaultsBehindATrustedProxyAreThoseOfWhomItNames(t *testing.T) {
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) {
		l.Limits.FaultsPerClient = 1
		l.ProxyProtocol = table.ProxyOptional
		l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}, respondAll())
	named := func(client string) string { return fmt.Sprintf("PROXY TCP4 %s 127.0.0.1 1000 80\r\n", client) }
	for _, before := range []string{"", "", named("192.0.2.1")} {
		c := n.from("127.0.0.1")
		if _, err := io.WriteString(c, before+malformed); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
			t.Fatalf("%q %v", got, err)
		}
	}
	n.wantStatus("of who is at fault, another", n.from("127.0.0.1"), named("192.0.2.1"), 503)
	n.wantStatus("of another client", n.from("127.0.0.1"), named("192.0.2.2"), 200)
	n.wantStatus("of nobody", n.from("127.0.0.1"), "", 200)
	if got := n.atFault(); got != 1 {
		t.Errorf("%d were counted as refused", got)
	}
}
