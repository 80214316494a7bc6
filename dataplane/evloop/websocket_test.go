//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// tunnels makes a route that lets WebSockets pass.
func tunnels(u *table.Upstream) *table.Route {
	r := forwardAll(u)
	r.Tunnel = &table.Tunnel{Upgrades: []string{"websocket"}, Idle: time.Minute}
	return r
}

// echoSocket answers each message of a WebSocket with itself.
func echoSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}})
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(-1)
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}

func (n *node) socket() *websocket.Conn {
	n.t.Helper()
	ctx := n.t.Context()
	c, resp, err := websocket.Dial(ctx, "ws://"+n.address+"/chat?room=1", &websocket.DialOptions{Subprotocols: []string{"chat"}})
	if err != nil {
		n.t.Fatalf("%v %v", resp, err)
	}
	c.SetReadLimit(-1)
	n.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// exchangeMessage sends a message and expects it back, on any goroutine.
func exchangeMessage(t *testing.T, c *websocket.Conn, message []byte) {
	t.Helper()
	ctx := t.Context()
	sent := make(chan error, 1)
	go func() { sent <- c.Write(ctx, websocket.MessageBinary, message) }()
	kind, got, err := c.Read(ctx)
	if err != nil || kind != websocket.MessageBinary || !bytes.Equal(got, message) {
		t.Errorf("%d bytes of %d came back: %v", len(got), len(message), err)
		return
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestAWebSocketIsATunnelWithOneRecordAtItsEnd(t *testing.T) {
	n := startNode(t, 2)
	n.apply(nil, tunnels(newUpstream("u", startBackend(t, echoSocket))))
	c := n.socket()
	if c.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	for _, size := range []int{0, 1, 125, 70_000, 5 << 20} {
		exchangeMessage(t, c, bytes.Repeat([]byte{'x'}, size))
	}
	if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Error(err)
	}
	r := n.records.wait(t, 1)
	if r.Status != 101 || r.Reason != exchange.ReasonNone || string(r.Path) != "/chat" {
		t.Errorf("%d %s %s", r.Status, r.Reason, r.Path)
	}
	if r.BytesIn < 5<<20 || r.BytesOut < 5<<20 {
		t.Errorf("%d bytes in, %d out", r.BytesIn, r.BytesOut)
	}
	n.stop()
	n.records.mu.Lock()
	defer n.records.mu.Unlock()
	if len(n.records.all) != 1 {
		t.Errorf("%d records", len(n.records.all))
	}
}

// upgradeServer answers every request with the given head, and tells what it got.
func upgradeServer(t *testing.T, answer string) (address string, heads chan string) {
	t.Helper()
	heads = make(chan string, 8)
	return rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			var head strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				head.WriteString(line)
				if line == "\r\n" {
					break
				}
			}
			heads <- head.String()
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}), heads
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"

func TestUpgradeIsForwardedForAllowedProtocolsOnly(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
	for _, c := range []struct {
		name, fields, up string // up: what goes on; empty: no Upgrade
	}{
		{"websocket", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "websocket"},
		{"any case", "Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n", "WebSocket"},
		{"with a version", "Connection: Upgrade\r\nUpgrade: websocket/13\r\n", "websocket/13"},
		{"the allowed one of a list", "Connection: Upgrade\r\nUpgrade: h2c, websocket, other\r\n", "websocket"},
		{"the allowed one of two lines", "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n", "websocket"},
		{"h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", ""},
		{"not named by Connection", "Upgrade: websocket\r\n", ""},
		{"another", "Connection: Upgrade\r\nUpgrade: websockets\r\n", ""},
		{"with a body", "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t, 1)
			address, heads := upgradeServer(t, ok)
			n.apply(nil, tunnels(newUpstream("u", address)))
			fields := c.fields
			if !strings.Contains(fields, "\r\n\r\n") {
				fields += "\r\n"
			}
			conn := n.dial()
			fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: a\r\n%s", fields)
			head := strings.ToLower(<-heads)
			want := ""
			if c.up != "" {
				want = "upgrade: " + strings.ToLower(c.up) + "\r\n"
			}
			if strings.Contains(head, "\r\nupgrade:") != (c.up != "") || !strings.Contains(head, want) {
				t.Errorf("went up: %q", head)
			}
			if strings.Contains(head, "connection: upgrade") != (c.up != "") || strings.Contains(head, "http2-settings") {
				t.Errorf("went up: %q", head)
			}
			// An endpoint that answers as if nothing had been asked is right.
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != 200 {
				t.Errorf("%v %v", resp, err)
			}
		})
	}
}

func TestOnlyTheProtocolThatWasAskedForIsSwitchedTo(t *testing.T) {
	for _, c := range []struct{ name, asked, answer string }{
		{"unasked", "", fmt.Sprintf(switching, "websocket")},
		{"another", "Connection: Upgrade\r\nUpgrade: websocket\r\n", fmt.Sprintf(switching, "h2c")},
		{"two", "Connection: Upgrade\r\nUpgrade: websocket\r\n", fmt.Sprintf(switching, "websocket, h2c")},
		{"none", "Connection: Upgrade\r\nUpgrade: websocket\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
	} {
		n := startNode(t, 1)
		address, _ := upgradeServer(t, c.answer)
		n.apply(nil, tunnels(newUpstream("u", address)))
		if got := n.talk("GET / HTTP/1.1\r\nHost: a\r\n" + c.asked + "\r\nGET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502") {
			t.Errorf("%s: %q", c.name, got)
		}
		if r := n.records.wait(t, 1); r.Reason != exchange.ReasonUpstreamMalformed || r.Detail != "unasked_upgrade" {
			t.Errorf("%s: %s %s", c.name, r.Reason, r.Detail)
		}
	}
}

// TestWhatComesWithTheHeadsIsPartOfTheTunnel sends bytes in the same segments as
// the heads of both sides, and ends one side after the other.
func TestWhatComesWithTheHeadsIsPartOfTheTunnel(t *testing.T) {
	n := startNode(t, 1)
	seen := make(chan string, 1)
	address := rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		fmt.Fprintf(c, switching+"first", "websocket")
		all, _ := io.ReadAll(r) // until the client ends its half
		seen <- string(all)
		_, _ = io.WriteString(c, " last")
	})
	n.apply(nil, tunnels(newUpstream("u", address)))
	conn := n.dial()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Connection") != "upgrade" {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(conn, " late")
	_ = conn.(*net.TCPConn).CloseWrite()
	if got := <-seen; got != "early late" {
		t.Errorf("up went %q", got)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "first last" {
		t.Errorf("down came %q, %v", got, err)
	}
	if rec := n.records.wait(t, 1); rec.Reason != exchange.ReasonNone || rec.BytesIn != 10 || rec.BytesOut != 10 {
		t.Errorf("%s, %d in, %d out", rec.Reason, rec.BytesIn, rec.BytesOut)
	}
}

// TestATunnelHoldsNoMoreThanItsFarEndTakes lets one side send without end while
// the other does not read.
func TestATunnelHoldsNoMoreThanItsFarEndTakes(t *testing.T) {
	n := startNode(t, 1)
	var sent atomic.Int64
	address := rawServer(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		fmt.Fprintf(c, switching, "websocket")
		piece := make([]byte, 64<<10)
		for {
			k, err := c.Write(piece)
			sent.Add(int64(k))
			if err != nil {
				return
			}
		}
	})
	n.apply(nil, tunnels(newUpstream("u", address)))
	conn := n.dial()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	last := int64(-1)
	still := time.NewTicker(100 * time.Millisecond)
	defer still.Stop()
	for now := sent.Load(); now == 0 || now != last; now = sent.Load() {
		last = now
		<-still.C
	}
	if held := n.engine.BufferBytes(); held > 512<<10 {
		t.Errorf("%d bytes held", held)
	}
	if _, err := io.CopyN(io.Discard, conn, 32<<20); err != nil { // and it goes on
		t.Error(err)
	}
}

func TestATunnelWithoutBytesEnds(t *testing.T) {
	n := startNode(t, 1)
	route := tunnels(newUpstream("u", startBackend(t, echoSocket)))
	route.Timeout = 800 * time.Millisecond // of the answer, which is over with the head
	route.Tunnel.Idle = time.Second
	n.apply(nil, route)
	c := n.socket()
	begun := time.Now()
	pause := time.NewTicker(200 * time.Millisecond)
	defer pause.Stop()
	for range 6 {
		<-pause.C
		exchangeMessage(t, c, []byte("x"))
	}
	if _, _, err := c.Read(t.Context()); err == nil {
		t.Error("it goes on")
	}
	if took := time.Since(begun); took < 2*time.Second {
		t.Errorf("ended after %s", took)
	}
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonStreamIdleTimeout || r.Status != 101 {
		t.Errorf("%d %s", r.Status, r.Reason)
	}
}

// TestPushesDoNotKeepTablesAlive opens a WebSocket after each of many pushes; all
// stay open, and nearly all tables go.
func TestPushesDoNotKeepTablesAlive(t *testing.T) {
	const pushes = 120
	n := startNode(t, 2)
	address := startBackend(t, echoSocket)
	var gone atomic.Int64
	sockets := make([]*websocket.Conn, 0, pushes)
	for range pushes {
		route := tunnels(newUpstream("u", address))
		marker := &table.Respond{}
		route.Respond = marker // reachable by way of the table's routes alone
		runtime.AddCleanup(marker, func(struct{}) { gone.Add(1) }, struct{}{})
		n.apply(nil, route)
		sockets = append(sockets, n.socket())
	}
	eventually(t, "tables to go", func() bool {
		runtime.GC()
		return gone.Load() >= pushes-8
	})
	for i, c := range sockets { // each survived every push
		exchangeMessage(t, c, fmt.Append(nil, i))
	}
}

func TestADrainEndsATunnelAtItsTimeout(t *testing.T) {
	n := startNode(t, 1)
	n.engine.config.DrainTimeout = time.Second
	n.apply(nil, tunnels(newUpstream("u", startBackend(t, echoSocket))))
	c := n.socket()
	exchangeMessage(t, c, []byte("x"))
	other := dialKept(t, netip.MustParseAddrPort(n.address))
	ended := make(chan struct{})
	go func() { n.stop(); close(ended) }()
	eventually(t, "the drain", func() bool { return other.get(t).Close })
	exchangeMessage(t, c, []byte("still there"))
	<-ended
	n.records.mu.Lock()
	defer n.records.mu.Unlock()
	if last := n.records.all[len(n.records.all)-1]; last.Reason != exchange.ReasonShutdown {
		t.Errorf("%s", last.Reason)
	}
}
