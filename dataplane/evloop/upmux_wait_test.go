//go:build linux

package evloop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// TestAllThatWaitForAnHTTP2EndpointAreToldThatItIsGone: connecting fails at once, for
// each of them.
func TestAllThatWaitForAnHTTP2EndpointAreToldThatItIsGone(t *testing.T) {
	const waiting = 3
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			close(begun)
			<-r.Context().Done()
		}
	})}
	speaksHTTP2(server, 1)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	n := startNode(t, 1)
	u := newUpstream("u", "unix:"+path)
	u.HTTP2, u.ConnectTimeout, u.Pool.MaxConnections = true, time.Minute, 1
	route := forwardAll(u)
	route.Timeout, route.Retry.Attempts = time.Minute, 1
	n.apply(nil, route)
	ask := func(path string) { fmt.Fprintf(n.dial(), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path) }
	ask("/")
	n.records.wait(t, 1)
	ask("/held")
	<-begun
	for range waiting {
		ask("/")
	}
	eventually(t, "all to wait", func() bool { _, _, w := n.engine.EndpointLoad(0); return w == waiting })
	server.Close()
	for i := range waiting {
		if r := n.records.wait(t, 3+i); r.Reason != exchange.ReasonConnectFailure {
			t.Errorf("%s %s", r.Reason, r.Detail)
		}
	}
}

// TestAnEndpointThatTakesNoStreamsIsWaitedFor: another connection would take none
// either.
func TestAnEndpointThatTakesNoStreamsIsWaitedFor(t *testing.T) {
	const waiting = 4
	var opened atomic.Int64
	var writing sync.Mutex
	var first *xhttp2.Framer // of the endpoint's first connection
	limit := func(streams uint32) {
		_ = first.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: streams})
	}
	n := startNode(t, 1)
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(http2.Preface)))
		f := xhttp2.NewFramer(c, c)
		_ = f.WriteSettings()
		opened.Add(1)
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			asked, ok := frame.(*xhttp2.HeadersFrame)
			if !ok {
				continue
			}
			writing.Lock()
			if first == nil {
				first = f
				limit(0)
			}
			_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: asked.StreamID, BlockFragment: []byte{0x88}, EndStream: true, EndHeaders: true})
			writing.Unlock()
		}
	}))
	u.HTTP2, u.Pool.IdleTimeout = true, time.Minute
	n.apply(nil, forwardAll(u))
	ask := func() { fmt.Fprint(n.dial(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }
	ask()
	n.records.wait(t, 1)
	for range waiting {
		ask()
	}
	eventually(t, "all to wait", func() bool { _, _, w := n.engine.EndpointLoad(0); return w == waiting })
	writing.Lock()
	limit(100)
	writing.Unlock()
	for i := range 1 + waiting {
		if r := n.records.wait(t, 1+i); r.Status != 200 {
			t.Errorf("%d %s", r.Status, r.Reason)
		}
	}
	if got := opened.Load(); got != 1 {
		t.Errorf("%d connections", got)
	}
}

// twoLoops is a node of two loops with a client of each, which has asked once.
func twoLoops(t *testing.T, u *table.Upstream) (n *node, ask func(client int, path string)) {
	t.Helper()
	n = startNode(t, 2)
	n.apply(nil, forwardAll(u))
	clients := [2]*http.Client{h2client(t), h2client(t)}
	ask = func(client int, path string) {
		resp, err := clients[client].Get("http://" + n.address + path)
		if err != nil {
			t.Error(err)
			return
		}
		if resp.Body.Close(); resp.StatusCode != 200 {
			t.Errorf("client %d: %d for %s", client, resp.StatusCode, path)
		}
	}
	ask(0, "/")
	ask(1, "/")
	if a, b := n.records.byLoop[0].Load(), n.records.byLoop[1].Load(); a != 1 || b != 1 {
		t.Fatalf("%d and %d requests on the two loops", a, b)
	}
	return n, ask
}

// TestAnHTTP2ConnectionThatIsLeavingStopsNoOtherRequests however long its last stream lasts, and
// whether they wait already.
func TestAnHTTP2ConnectionThatIsLeavingStopsNoOtherRequests(t *testing.T) {
	var first atomic.Bool
	asked, leave := make(chan struct{}), make(chan struct{})
	n := startNode(t, 1)
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(http2.Preface)))
		f := xhttp2.NewFramer(c, c)
		_ = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: 1})
		holds := first.CompareAndSwap(false, true)
		for acknowledged, begun := false, uint32(0); ; {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *xhttp2.SettingsFrame:
				acknowledged = acknowledged || frame.IsAck()
			case *xhttp2.HeadersFrame:
				if begun = frame.StreamID; !holds {
					_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: begun, BlockFragment: []byte{0x88}, EndStream: true, EndHeaders: true})
				}
			}
			if holds && acknowledged && begun > 0 {
				close(asked)
				<-leave
				_ = f.WriteGoAway(begun, xhttp2.ErrCodeNo, nil)
				_, _ = io.Copy(io.Discard, c)
				return
			}
		}
	}))
	u.HTTP2, u.Pool.MaxConnections, u.Pool.IdleTimeout = true, 1, time.Minute
	n.apply(nil, forwardAll(u))
	ask := func() { fmt.Fprint(n.dial(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }
	ask()
	<-asked
	ask()
	eventually(t, "one to wait", func() bool { _, _, w := n.engine.EndpointLoad(0); return w == 1 })
	close(leave)
	waited := n.records.wait(t, 1)
	ask()
	for _, r := range []exchange.Record{waited, n.records.wait(t, 2)} {
		if r.Status != 200 {
			t.Errorf("%d %s", r.Status, r.Reason)
		}
	}
}

// TestConnectionsThatAreLeavingAreBounded: an endpoint may have each of them leave while a
// stream of it lasts.
func TestConnectionsThatAreLeavingAreBounded(t *testing.T) {
	for most, opened := range map[int]int{1: leavingMost + 1, 3: leavingMost + 1, leavingMost + 2: leavingMost + 3} {
		u := newUpstream("u", "127.0.0.1:9")
		u.HTTP2, u.Pool.MaxConnections = true, most
		_, p := poolOf(t, u)
		for range 2 * (leavingMost + most) {
			if p.tryOpenMux() && p.Open() > opened {
				t.Errorf("%d may be open of %d", p.Open(), most)
			}
		}
		if p.Open() != opened {
			t.Errorf("%d are open of %d, and not %d", p.Open(), most, opened)
		}
	}
}

// holder is a handler that keeps requests for "/0" and "/1" until they are let go.
type holder struct{ begun, goOn [2]chan struct{} }

func newHolder() *holder {
	h := new(holder)
	for i := range h.begun {
		h.begun[i], h.goOn[i] = make(chan struct{}), make(chan struct{})
	}
	return h
}

func (h *holder) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	if i, err := strconv.Atoi(r.URL.Path[1:]); err == nil {
		close(h.begun[i])
		<-h.goOn[i]
	}
}

// TestEachLoopMayHaveAnHTTP2Connection whatever others keep busy.
func TestEachLoopMayHaveAnHTTP2Connection(t *testing.T) {
	h := newHolder()
	u, _ := h2backend(t, h.ServeHTTP)
	u.Pool.MaxConnections, u.Pool.IdleTimeout = 1, 100*time.Millisecond
	n, ask := twoLoops(t, u)
	connections := func(most int) func() bool {
		return func() bool { _, open, _ := n.engine.EndpointLoad(0); return open <= most }
	}
	eventually(t, "the end of idle connections", connections(0))
	var held sync.WaitGroup
	held.Go(func() { ask(0, "/0") })
	<-h.begun[0]
	ask(1, "/")
	if !connections(2)() {
		t.Error("more than one connection for each loop")
	}
	close(h.goOn[0])
	held.Wait()
}

// TestAnIdleHTTP2ConnectionOfAnotherLoopMakesRoom where the endpoint takes no more
// connections than there are, at once or when its last call is over.
func TestAnIdleHTTP2ConnectionOfAnotherLoopMakesRoom(t *testing.T) {
	for name, busy := range map[string]bool{"at once": false, "when its last call is over": true} {
		t.Run(name, func(t *testing.T) {
			h := newHolder()
			u, _ := h2narrow(t, 1, h.ServeHTTP)
			u.Pool.MaxConnections, u.Pool.IdleTimeout = 2, time.Minute
			n, ask := twoLoops(t, u)
			var held sync.WaitGroup
			hold := func(client int) {
				held.Go(func() { ask(client, "/"+strconv.Itoa(client)) })
				<-h.begun[client]
			}
			hold(1)
			if busy {
				hold(0)
				held.Go(func() {
					if !waittest.Soon(func() bool { _, _, w := n.engine.EndpointLoad(0); return w == 1 }) {
						t.Error("no request waits")
					}
					close(h.goOn[0])
				})
			}
			ask(1, "/") // its loop's connection is full
			close(h.goOn[1])
			held.Wait()
		})
	}
}
