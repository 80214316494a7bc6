//go:build linux

package evloop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
)

// TestAboveTheCeilingClientsAreRefusedAndIdleOnesMakeRoom fills a node with busy
// clients, then with idle ones.
func TestAboveTheCeilingClientsAreRefusedAndIdleOnesMakeRoom(t *testing.T) {
	const most = 32
	release := make(chan struct{})
	backend := startBackend(t, func(w http.ResponseWriter, _ *http.Request) { <-release; fmt.Fprint(w, "ok") })
	n := startNode(t, 2)
	n.engine.ceilings.clients = most
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", n.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	var busy []net.Conn
	for range most {
		c := dial()
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		busy = append(busy, c)
	}
	eventually(t, "all to be busy", func() bool { f, _, _ := n.engine.EndpointLoad(0); return f == most })
	resp, err := http.ReadResponse(bufio.NewReader(dial()), nil)
	if err != nil || resp.StatusCode != 503 || !resp.Close {
		t.Fatalf("one more: %v %v", resp, err)
	}
	if refused := n.engine.stats.Counter(stats.ClientsOverCeiling); refused != 1 {
		t.Errorf("%d refused", refused)
	}
	close(release)
	for _, c := range busy {
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("busy when the node was full: %v %v", resp, err)
		}
	}
	// Now they are idle, and some of them make room.
	eventually(t, "room", func() bool { return n.engine.clients() < most })
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("with room again: %d", resp.StatusCode)
	}
	_ = busy[most-1].SetDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := busy[most-1].Read(make([]byte, 1)); errors.Is(err, io.EOF) && n.engine.clients() < most/4 {
		t.Error("all idle connections were closed")
	}
}

// TestWithoutDescriptorsRequestsWaitForAConnection leaves room for one connection
// to the endpoint.
func TestWithoutDescriptorsRequestsWaitForAConnection(t *testing.T) {
	const clients = 8
	n := startNode(t, 1)
	n.engine.ceilings.connections = clients + 1
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))))
	conns := make([]net.Conn, clients)
	for i := range conns {
		c := n.dial()
		conns[i] = c
	}
	eventually(t, "all clients", func() bool { return n.engine.clients() == clients })
	for _, c := range conns {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	for i, c := range conns {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Errorf("client %d: %v %v", i, resp, err)
		}
	}
	if _, connections, _ := n.engine.EndpointLoad(0); connections > 1 {
		t.Errorf("%d connections to the endpoint", connections)
	}
}
