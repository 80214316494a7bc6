//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestAboveTheCeilingClientsAreRefusedAndIdleOnesMakeRoom fills a node with busy
// clients, then with idle ones.
func TestAboveTheCeilingClientsAreRefusedAndIdleOnesMakeRoom(t *testing.T) {
	const most = 4 * 2 * shedLeast // each of two loops may close shedLeast in the same moment
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	backend := startBackend(t, func(w http.ResponseWriter, _ *http.Request) { <-held; fmt.Fprint(w, "ok") })
	t.Cleanup(release)
	n := startNode(t, 2)
	n.engine.ceilings.clients.Store(most)
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
	release()
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
	n.engine.ceilings.connections.Store(clients + 1)
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

// TestAnIdleHTTP2ConnectionMakesRoomForOneToAnotherEndpoint where there is a descriptor
// for one of them alone.
func TestAnIdleHTTP2ConnectionMakesRoomForOneToAnotherEndpoint(t *testing.T) {
	n := startNode(t, 1)
	n.engine.ceilings.connections.Store(1 + 1)
	var routes []*table.Route
	for _, name := range []string{"a", "b"} {
		u, _ := h2backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })
		u.Name, u.Pool.IdleTimeout = name, time.Minute
		r := forwardAll(u)
		r.Name, r.Path.Text = name, "/"+name
		routes = append(routes, r)
	}
	n.apply(nil, routes...)
	k := dialKept(t, netip.MustParseAddrPort(n.address))
	for _, name := range []string{"a", "b", "a"} {
		fmt.Fprintf(k, "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", name)
		resp, err := http.ReadResponse(k.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || string(body) != name {
			t.Errorf("%s: %d %q %v", name, resp.StatusCode, body, err)
		}
	}
}

// TestALoopWithoutADescriptorGetsRoomFromAnother which has an idle connection to another
// endpoint. Where that one is busy there is nothing to wait for.
func TestALoopWithoutADescriptorGetsRoomFromAnother(t *testing.T) {
	n := startNode(t, 2)
	n.engine.ceilings.connections.Store(2 + 1)
	begun, goOn := make(chan struct{}), make(chan struct{})
	var routes []*table.Route
	for _, name := range []string{"a", "b"} {
		u := newUpstream(name, startBackend(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery == "held" {
				close(begun)
				<-goOn
			}
		}))
		u.Pool.IdleTimeout = time.Minute
		r := forwardAll(u)
		r.Name, r.Path.Text = name, "/"+name
		routes = append(routes, r)
	}
	n.apply(nil, routes...)
	clients := [2]*http.Client{h2client(t), h2client(t)}
	ask := func(client int, path string, want int) {
		t.Helper()
		resp, err := clients[client].Get("http://" + n.address + path)
		if err != nil {
			t.Error(err)
			return
		}
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("client %d: %d for %s, want %d", client, resp.StatusCode, path, want)
		}
	}
	for range 2 {
		ask(0, "/a", 200)
		ask(1, "/b", 200)
	}
	if a, b := n.records.byLoop[0].Load(), n.records.byLoop[1].Load(); a != 2 || b != 2 {
		t.Fatalf("%d and %d requests on the two loops", a, b)
	}
	var held sync.WaitGroup
	held.Go(func() { ask(0, "/a?held", 200) })
	<-begun
	ask(1, "/b", 503)
	close(goOn)
	held.Wait()
	ask(1, "/b", 200)
}

// TestDescriptorsAreLeftToTheSocketsOfVirtualIPs that a node may come to hold, so that one that
// is full of clients can take over another's; but half of all are left to connections.
func TestDescriptorsAreLeftToTheSocketsOfVirtualIPs(t *testing.T) {
	const loops, descriptors = 4, 10_000
	mine := func(v *table.VirtualIP) bool { return v.Name != "another's" }
	withVIPs := func(number int, name string) *table.Table {
		tab := &table.Table{Listeners: []table.Listener{{Addresses: []table.Address{{Kind: table.AddressNode}}}}}
		for range number {
			tab.VirtualIPs = append(tab.VirtualIPs, table.VirtualIP{Name: name, Ports: []uint16{80, 443}})
		}
		return tab
	}
	var said bytes.Buffer
	e := &Engine{config: Config{Loops: loops, MayHold: mine}, log: slog.New(slog.NewTextHandler(&said, nil))}
	e.ceilings.descriptors = descriptors
	e.ceilings.keep(0)
	for _, c := range []struct {
		name  string
		table *table.Table
		left  int64
		warns bool
	}{
		{"few sockets are among those that the process keeps", withVIPs(1, "x"), descriptors, false},
		{"of 100 virtual IPs with two ports", withVIPs(100, "x"), descriptors - (4 + 100*2*(loops+2) - socketsKept), false},
		{"of those that others hold", withVIPs(1000, "another's"), descriptors, false},
		{"more than there are descriptors", withVIPs(1000, "x"), descriptors / 2, true},
		{"the same again", withVIPs(1000, "x"), descriptors / 2, false},
		{"none any more", withVIPs(0, "x"), descriptors, false},
	} {
		said.Reset()
		e.leaveToSockets(c.table)
		connections, clients := e.ceilings.connections.Load(), e.ceilings.clients.Load()
		if connections != c.left || clients != c.left-c.left/upstreamShare {
			t.Errorf("%s: %d for connections, %d clients, expected %d", c.name, connections, clients, c.left)
		}
		if warns := strings.Contains(said.String(), "LimitNOFILE"); warns != c.warns {
			t.Errorf("%s: %q", c.name, said.String())
		}
	}
}

// TestClientsLeaveRoomForVirtualIPs: a table with virtual IPs lowers what a node takes.
func TestClientsLeaveRoomForVirtualIPs(t *testing.T) {
	n := startChanged(t, 1, func(e *Engine) { e.config.MayHold = func(*table.VirtualIP) bool { return true } })
	n.apply(nil, respond("ok"))
	before := n.engine.ceilings.connections.Load()
	tab := *n.engine.Live().Load()
	tab.VirtualIPs = []table.VirtualIP{{Name: "x", Ports: make([]uint16, 100)}}
	if err := n.engine.Apply(context.Background(), &tab); err != nil {
		t.Fatal(err)
	}
	if left := before - n.engine.ceilings.connections.Load(); left != 1+100*3-socketsKept {
		t.Errorf("%d are left to sockets", left)
	}
}

// TestDescriptorsAreLeftToEachLoop: a machine with many processors has many loops, and perhaps
// a low limit.
func TestDescriptorsAreLeftToEachLoop(t *testing.T) {
	var few, many ceilings
	few.begin(0, 4)
	many.begin(0, 36)
	if left := few.descriptors - many.descriptors; left != 32*descriptorsOfLoop {
		t.Errorf("for 32 loops more %d descriptors less", left)
	}
}

// TestANodeTakesNoMoreClientsThanItIsTold to, and never more than its descriptors allow.
func TestANodeTakesNoMoreClientsThanItIsTold(t *testing.T) {
	var none, few, many ceilings
	none.begin(0, 1)
	few.begin(10, 1)
	many.begin(1<<40, 1)
	if few.clients.Load() != 10 || few.connections.Load() != none.connections.Load() || many.clients.Load() != none.clients.Load() {
		t.Errorf("%d clients where 10 are allowed, %d where too many are, %d where nothing is said", few.clients.Load(), many.clients.Load(), none.clients.Load())
	}
}
