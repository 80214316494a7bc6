//go:build linux

package evloop

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http1/http1test"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// raw opens a connection without TLS.
func (n *node) raw() net.Conn {
	n.t.Helper()
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func TestWhatIsNoHandshakeIsToldAndCounted(t *testing.T) {
	n := startTLS(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	for _, c := range []struct {
		name, send string
		want       string // how the answer begins
		result     secure.Result
	}{
		{"a request without TLS", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 ", secure.ResultPlain},
		{"garbage", "\x00\x01\x02\x03", "\x15\x03\x03", secure.ResultNotTLS},
		{"a large hello", "\x16\x03\x01\x00\x04\x01\x00\x50\x00", "\x15\x03\x03", secure.ResultHelloTooLarge},
		{"a broken hello", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x07", "\x15\x03", secure.ResultMalformed},
		{"nothing", "", "", secure.ResultTimeout},
		{"half a hello", "\x16\x03\x01\x02\x00\x01\x00", "", secure.ResultTimeout},
	} {
		n.serve(func(l *table.Listener) {
			if c.result == secure.ResultTimeout {
				l.Timeouts.RequestHead = 300 * time.Millisecond
			}
		}, all)
		before := n.engine.stats.Handshakes(false, uint8(c.result))
		conn := n.raw()
		if _, err := io.WriteString(conn, c.send); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", c.name, err)
		}
		if !strings.HasPrefix(string(got), c.want) {
			t.Errorf("%s: answered %.40q", c.name, got)
		}
		n.handshakes(c.result, before+1)
	}
	n.serve(nil, all)
	gone := n.raw()
	_, _ = io.WriteString(gone, "\x16\x03\x01")
	gone.Close()
	n.handshakes(secure.ResultGone, 1)
}

func TestANodeThatTakesNoMoreTellsItByAnAlert(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(func(l *table.Listener) { l.Limits.Connections = 1 }, forwardAll(newUpstream("u", startBackend(t, echo))))
	n.ask(n.dial(n.config())) // stays
	if _, err := tls.Dial("tcp", n.address, n.config()); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("too many connections: %v", err)
	}
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	n.engine.SetPressure(pressure.Critical)
	if _, err := tls.Dial("tcp", n.address, n.config()); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("no memory left: %v", err)
	}
	n.handshakes(secure.ResultRefused, 1)
	n.engine.SetPressure(pressure.Calm)
	n.ask(n.dial(n.config()))
}

func TestHandshakesThatNobodyGoesOnWithKeepNobodyOut(t *testing.T) {
	byLoopAndByCrew(t, 1, handshakesThatNobodyGoesOnWithKeepNobodyOut)
}

func handshakesThatNobodyGoesOnWithKeepNobodyOut(t *testing.T, n *tlsNode) {
	// All of them compute before the last one does, which may last on a busy machine.
	n.serve(func(l *table.Listener) { l.Timeouts.RequestHead = time.Minute }, forwardAll(newUpstream("u", startBackend(t, echo))))
	const more = 50
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 3*maxHandshakes {
		t.Skipf("it needs %d descriptors", 3*maxHandshakes)
	}
	hello := helloBytes()
	for i := range maxHandshakes + more {
		conn := n.from(fmt.Sprintf("127.0.0.%d", 2+i%4)) // none has a client's share
		_, _ = conn.Write(hello)
	}
	n.ask(n.dial(n.config()))
	n.handshakes(secure.ResultShed, 1)
	if got := n.engine.stats.Handshakes(false, uint8(secure.ResultRefused)); got > more {
		t.Errorf("%d were refused", got)
	}
}

// pieces writes in pieces of so many bytes.
type pieces struct {
	net.Conn
	size int
}

func (p pieces) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += p.size {
		if _, err := p.Conn.Write(b[i:min(i+p.size, len(b))]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func TestAHandshakeAndARequestMayComeByteByByte(t *testing.T) {
	byLoopAndByCrew(t, 1, aHandshakeAndARequestMayComeByteByByte)
}

func aHandshakeAndARequestMayComeByteByByte(t *testing.T, n *tlsNode) {
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := n.config()
		c.MinVersion, c.MaxVersion = version, version
		conn := tls.Client(pieces{n.raw(), 1}, c)
		if resp, _ := n.ask(conn); resp.StatusCode != 200 {
			t.Error(resp.StatusCode)
		}
	}
}

// answerUntilClose serves one answer that lasts until the connection ends, and
// ends it as told.
func answerUntilClose(t *testing.T, ca *securetest.Authority, end func(*tls.Conn)) *table.Upstream {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{ca.Pair(securetest.Config{Names: []string{"127.0.0.1"}})}}
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		conn := tls.Server(c, config)
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nhalf of it")
		end(conn)
	}))
	u.TLS = &table.UpstreamTLS{CAs: ca.Pool()}
	return u
}

func TestAnAnswerUntilCloseNeedsACloseNotify(t *testing.T) {
	ca := securetest.New(t)
	n := startNode(t, 1)
	n.apply(nil, forwardAll(answerUntilClose(t, ca, func(c *tls.Conn) { c.Close() })))
	if body, err := io.ReadAll(n.get("/").Body); err != nil || string(body) != "half of it" {
		t.Errorf("ended by close_notify: %q, %v", body, err)
	}
	n.apply(nil, forwardAll(answerUntilClose(t, ca, func(c *tls.Conn) { c.NetConn().Close() })))
	if body, err := io.ReadAll(n.get("/").Body); err == nil {
		t.Errorf("ended by a bare FIN: %q was taken for whole", body)
	}
	if r := n.records.wait(t, 2); r.Reason != exchange.ReasonUpstreamTruncated || r.Detail != "no_close_notify" {
		t.Errorf("%s %s", r.Reason, r.Detail)
	}
}

func TestTheNodeEndsWithACloseNotifyAndCutsWithout(t *testing.T) {
	n := startTLS(t, 1)
	broken := rawServer(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
	})
	// An idle connection outlives its time; an answer is cut.
	all := forwardAll(newUpstream("u", broken))
	n.serve(func(l *table.Listener) { l.Timeouts.Idle = 100 * time.Millisecond }, all)
	// To crypto/tls an end between two records is as good as close_notify.
	idle := &cutNoted{Conn: n.raw()}
	if _, err := tls.Client(idle, n.config()).Read(make([]byte, 1)); err != io.EOF || idle.cut { //nolint:errorlint // exactly that
		t.Errorf("an idle connection ended by %v, without close_notify: %t", err, idle.cut)
	}
	n.serve(nil, all)
	conn := n.dial(n.config())
	fmt.Fprint(conn, "GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	if got, err := io.ReadAll(conn); err == nil {
		t.Errorf("a cut answer looks whole: %q", got)
	}
}

func TestARecordThatIsNoneEndsTheConnection(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	under := n.raw()
	conn := tls.Client(under, n.config())
	n.ask(conn)
	_, _ = io.WriteString(under, "\x17\x03\x03\x00\x20this is not encrypted with a key")
	if _, err := io.ReadAll(conn); err == nil {
		t.Error("no alert came")
	}
	n.handshakes(secure.ResultBadRecord, 1)
	eventually(t, "the connection's end", func() bool { return clientsOpen(n.node) == 0 })
}

func clientsOpen(n *node) (open int64) {
	for _, c := range n.engine.clienteles {
		open += c.open.Load()
	}
	return open
}

func TestHundredsOfShortConnectionsLeaveNothing(t *testing.T) {
	byLoopAndByCrew(t, 2, hundredsOfShortConnectionsLeaveNothing)
}

func hundredsOfShortConnectionsLeaveNothing(t *testing.T, n *tlsNode) {
	u := newUpstream("u", startBackend(t, echo))
	u.Pool.IdleTimeout = 10 * time.Millisecond
	n.serve(nil, forwardAll(u))
	n.ask(n.dial(n.config())) // so that what is made once is there
	before := runtime.NumGoroutine()
	const workers, each = 8, 40
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				conn, err := net.Dial("tcp", n.address)
				if err != nil {
					t.Error(err)
					return
				}
				switch (w + i) % 4 {
				case 0: // leaves in the middle
					_, _ = conn.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc"))
				case 1: // leaves after the hello
					_ = conn.SetDeadline(time.Now().Add(time.Millisecond))
					_ = tls.Client(conn, n.config()).Handshake()
				default:
					_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
					c := tls.Client(conn, n.config())
					if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
						t.Error(err)
					} else if _, err := io.ReadAll(c); err != nil {
						t.Error(err)
					}
				}
				conn.Close()
			}
		})
	}
	wg.Wait()
	eventually(t, "all connections' end", func() bool { return clientsOpen(n.node) <= 1 })
	eventually(t, "the goroutines' end", func() bool { return runtime.NumGoroutine() <= before+4+(2+2)*minIdleShakings })
}

// TestTheTableOfCasesHoldsOverTLS sends every case of the codec's table by TLS,
// whole and cut into records in two places.
func TestTheTableOfCasesHoldsOverTLS(t *testing.T) {
	n := startTLS(t, 1)
	u := newUpstream("u", strictEcho(t))
	cache := tls.NewLRUClientSessionCache(1)
	n.connect = func() (net.Conn, error) {
		c := n.config()
		c.ClientSessionCache = cache
		return tls.Dial("tcp", n.address, c)
	}
	var last message.PathOptions
	serve := func() { n.serve(func(l *table.Listener) { l.Path = last }, forwardAll(u)) }
	serve()
	ran := 0
	for _, c := range http1test.Cases() {
		if c.Role != http1.Server || !completeCase(&c) {
			continue
		}
		if c.Options != last {
			last = c.Options
			serve()
		}
		ran++
		for _, cut := range []int{len(c.Input), len(c.Input) / 2} {
			if got, want := n.playCase(&c, cut), wantOf(&c); got != want {
				t.Errorf("%s (%s), cut at %d of %d: got %s, want %s\n%q", c.Name, c.Section, cut, len(c.Input), got, want, abbreviated(c.Input))
			}
		}
	}
	if ran < 200 {
		t.Errorf("only %d cases", ran)
	}
}
