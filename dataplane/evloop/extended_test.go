//go:build linux

package evloop

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// chat opens a WebSocket.
func chat(t *testing.T, client http.RoundTripper, url string) *websocket.Conn {
	t.Helper()
	c, resp, err := websocket.Dial(t.Context(), url+"/chat?room=1", &websocket.DialOptions{
		Subprotocols: []string{"chat"}, HTTPClient: &http.Client{Transport: client},
	})
	if err != nil {
		t.Fatalf("%v %v", resp, err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	if c.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	return c
}

// talkAndLeave exchanges messages of all sizes and ends as it should.
func talkAndLeave(t *testing.T, c *websocket.Conn) {
	t.Helper()
	for _, size := range []int{0, 1, 125, 70_000, 1 << 20} {
		exchangeMessage(t, c, bytes.Repeat([]byte{'x'}, size))
	}
	if err := c.Close(websocket.StatusNormalClosure, "done"); err != nil {
		t.Error(err)
	}
}

// wantTunnel checks the record of a tunnel that ended well.
func wantTunnel(t *testing.T, r exchange.Record, status uint16, least uint64) {
	t.Helper()
	if r.Status != status || r.Reason != exchange.ReasonNone || r.BytesIn < least || r.BytesOut < least {
		t.Errorf("%d %s %s, %d bytes in, %d out", r.Status, r.Reason, r.Detail, r.BytesIn, r.BytesOut)
	}
}

func TestAWebSocketOverHTTP2ReachesAnHTTP1Endpoint(t *testing.T) {
	n := startNode(t, 2)
	n.apply(nil, tunnels(newUpstream("u", startBackend(t, echoSocket))))
	client := n.h2()
	var open sync.WaitGroup
	for range 3 { // on one connection
		c := chat(t, upgrades{client}, "http://"+n.address)
		open.Go(func() { talkAndLeave(t, c) })
	}
	open.Wait()
	for i := range 3 {
		wantTunnel(t, n.records.wait(t, i+1), 200, 1<<20)
	}
	if open := clientsOpen(n); open != 1 {
		t.Errorf("%d connections", open)
	}
}

func TestAWebSocketOverHTTP2AndTLSReachesAnHTTP1Endpoint(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(nil, tunnels(newUpstream("u", startBackend(t, echoSocket))))
	talkAndLeave(t, chat(t, upgrades{n.h2()}, "https://"+n.address))
	wantTunnel(t, n.records.wait(t, 1), 200, 1<<20)
}

// TestAWebSocketReachesAnHTTP2Endpoint that takes RFC 8441, from clients of both
// versions.
func TestAWebSocketReachesAnHTTP2Endpoint(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, tunnels(extendedBackend(t)))
	talkAndLeave(t, chat(t, http.DefaultTransport, "http://"+n.address))
	wantTunnel(t, n.records.wait(t, 1), 101, 1<<20)
	client := n.h2()
	for i := range 3 {
		talkAndLeave(t, chat(t, upgrades{client}, "http://"+n.address))
		wantTunnel(t, n.records.wait(t, i+2), 200, 1<<20)
	}
	if got := n.begin("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: short\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("a key that is none: %q", got)
	}
}

func TestAnExtendedCONNECTIsRefusedWhereNobodyTakesIt(t *testing.T) {
	n := startNode(t, 1)
	plain, _ := h2backend(t, echo)
	client := n.h2()
	for i, c := range []struct {
		route    *table.Route
		protocol string
		status   int
		reason   exchange.Reason
	}{
		{forwardAll(newUpstream("u", startBackend(t, echoSocket))), "websocket", 403, exchange.ReasonConnectDenied},
		{tunnels(newUpstream("u", startBackend(t, echoSocket))), "connect-udp", 403, exchange.ReasonConnectDenied},
		{tunnels(plain), "websocket", 502, exchange.ReasonUpgradeFailed},
		{tunnels(newUpstream("u", startBackend(t, echo))), "websocket", 502, exchange.ReasonUpgradeFailed}, // it ignores the field,
	} {
		n.apply(nil, c.route)
		_, resp, err := open(t.Context(), client, "http://"+n.address+"/chat", c.protocol, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if r := n.records.wait(t, i+1); resp.StatusCode != c.status || r.Reason != c.reason {
			t.Errorf("%s: %d, %s %s", c.protocol, resp.StatusCode, r.Reason, r.Detail)
		}
	}
	n.apply(nil, tunnels(plain))
	if got := n.begin("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 502") {
		t.Errorf("HTTP/1.1 to an HTTP/2 endpoint that takes none: %q", got)
	}
	if open := clientsOpen(n); open > 2 {
		t.Errorf("%d connections", open)
	}
}

// TestAnAnswerThatDidNotReadTheKeyOpensNoWebSocket: something between may have
// answered.
func TestAnAnswerThatDidNotReadTheKeyOpensNoWebSocket(t *testing.T) {
	n := startNode(t, 1)
	address, _ := upgradeServer(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n")
	n.apply(nil, tunnels(newUpstream("u", address)))
	_, resp, err := open(t.Context(), n.h2(), "http://"+n.address+"/", "websocket", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if r := n.records.wait(t, 1); resp.StatusCode != 502 || r.Detail != "websocket_accept" {
		t.Errorf("%d %s", resp.StatusCode, r.Detail)
	}
}
