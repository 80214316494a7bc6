//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// records keeps what a node's exchanges ended with.
type records struct {
	mu  sync.Mutex
	all []exchange.Record
}

func (r *records) Finish(rec *exchange.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := *rec
	kept.Path = bytes.Clone(rec.Path)
	kept.Host = bytes.Clone(rec.Host)
	r.all = append(r.all, kept)
}
func (r *records) Flush() {}

// wait returns the n-th record once it is there.
func (r *records) wait(t *testing.T, n int) exchange.Record {
	t.Helper()
	var rec exchange.Record
	eventually(t, fmt.Sprintf("record %d", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.all) >= n {
			rec = r.all[n-1]
		}
		return len(r.all) >= n
	})
	return rec
}

// eventually asks until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("did not come: %s", what)
		}
	}
}

type node struct {
	t       *testing.T
	engine  *Engine
	records *records
	address string
	port    uint16
	version uint64
}

// startNode runs an engine of n loops on a port of its own.
func startNode(t *testing.T, loops int) *node {
	t.Helper()
	n := &node{t: t, records: &records{}}
	set := stats.New(loops, stats.Limits{})
	e, err := New(Config{
		Loops: loops, NodeAddress: netip.MustParseAddr("127.0.0.1"), DrainTimeout: 5 * time.Second,
		Stats: set, NewSink: func(int) Sink { return n.records },
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	n.engine = e
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the engine did not stop")
		}
	})
	n.port = freePort(t)
	n.address = fmt.Sprintf("127.0.0.1:%d", n.port)
	return n
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// listener is the one that the tests' routes live on.
func (n *node) listener() table.Listener {
	return table.Listener{
		Name: "web", Port: n.port, Addresses: []table.Address{{}}, Backlog: 1024,
		Limits:    table.Limits{HeaderBytes: 64 << 10, HeaderFields: 100, BodyBytes: -1},
		Timeouts:  table.ListenerTimeouts{RequestHead: 10 * time.Second, Idle: time.Minute, StreamIdle: time.Minute},
		KeepAlive: table.KeepAlive{Idle: time.Minute, Interval: 10 * time.Second, Probes: 3},
	}
}

// apply makes routes live on one listener.
func (n *node) apply(change func(*table.Listener), routes ...*table.Route) {
	n.t.Helper()
	l := n.listener()
	editor := l.Routes.Edit()
	ups := map[string]*table.Upstream{}
	for _, r := range routes {
		if refused := editor.Add(r); len(refused) > 0 {
			n.t.Fatal(refused)
		}
		for _, target := range r.Targets {
			ups[target.Upstream.Name] = target.Upstream
		}
	}
	l.Routes = editor.Index()
	if change != nil {
		change(&l)
	}
	n.version++
	t := &table.Table{Version: table.Version{Epoch: 1, Revision: n.version}, Listeners: []table.Listener{l}, Routes: len(routes)}
	for _, u := range ups {
		t.Upstreams = append(t.Upstreams, u)
	}
	if err := n.engine.Apply(context.Background(), t); err != nil {
		n.t.Fatal(err)
	}
}

func newUpstream(name string, addresses ...string) *table.Upstream {
	u := &table.Upstream{
		Name: name, ConnectTimeout: 5 * time.Second,
		Pool:      table.Pool{MaxConnections: 1024, MaxIdle: 256, IdleTimeout: 4 * time.Second},
		KeepAlive: table.KeepAlive{Idle: time.Minute, Interval: 10 * time.Second, Probes: 3},
	}
	weights := make([]uint32, len(addresses))
	for i, a := range addresses {
		weights[i] = 1
		u.Endpoints = append(u.Endpoints, table.Endpoint{Address: a, AddrPort: netip.MustParseAddrPort(a), Weight: 1})
	}
	u.RoundRobin = balance.NewRoundRobin(weights)
	return u
}

func forwardAll(u *table.Upstream) *table.Route {
	return &table.Route{
		Name: "all", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionForward,
		Targets: []table.Target{{Upstream: u, Weight: 1}}, Split: balance.NewSplit([]uint32{1}), Timeout: 15 * time.Second,
	}
}

func startBackend(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// echo answers with what it got.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Seen", r.Method+" "+r.Host+" "+r.RequestURI)
	w.Header().Set("X-For", r.Header.Get("X-Forwarded-For"))
	_, _ = w.Write(body)
}

func (n *node) get(path string) *http.Response {
	n.t.Helper()
	resp, err := http.Get("http://" + n.address + path)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// talk sends raw bytes and returns all that comes until the node closes.
func (n *node) talk(raw string) string {
	n.t.Helper()
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		n.t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	all, err := io.ReadAll(c)
	if err != nil && len(all) == 0 {
		n.t.Fatal(err)
	}
	return string(all)
}

func TestARequestIsForwardedAndRecorded(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	resp := n.get("/a/../b%7e?x=%20y")
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || len(body) != 0 {
		t.Fatalf("%d %q", resp.StatusCode, body)
	}
	if got, want := resp.Header.Get("X-Seen"), "GET "+n.address+" /b~?x=%20y"; got != want {
		t.Errorf("the endpoint saw %q, want %q", got, want)
	}
	if got := resp.Header.Get("X-For"); got != "127.0.0.1" {
		t.Errorf("X-Forwarded-For %q", got)
	}
	r := n.records.wait(t, 1)
	if r.Status != 200 || r.Route != "all" || r.Upstream != "u" || string(r.Path) != "/b~" || r.Attempts != 1 || r.Duration <= 0 || r.FirstByte <= 0 {
		t.Errorf("%+v", r)
	}
}

func TestBodiesOfAnySizePassBothWays(t *testing.T) {
	n := startNode(t, 2)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 100, 4095, 65536, 65537, 1 << 20, 10<<20 + 3} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d chunked=%v", size, chunked), func(t *testing.T) {
				sent := make([]byte, size)
				for i := range sent {
					sent[i] = byte(rnd.Uint32())
				}
				var body io.Reader = bytes.NewReader(sent)
				if chunked {
					body = struct{ io.Reader }{body}
				}
				resp, err := http.Post("http://"+n.address+"/", "x/y", body)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("got %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

func TestASlowReaderHoldsABoundedAmount(t *testing.T) {
	const size = 64 << 20
	sent := make(chan int, 1)
	backend := startBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		total := 0
		chunk := make([]byte, 64<<10)
		for total < size {
			k, err := w.Write(chunk)
			total += k
			if err != nil {
				break
			}
		}
		sent <- total
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "bytes that wait for the reader", func() bool { return n.engine.BufferBytes() > highWater })
	select {
	case total := <-sent:
		t.Fatalf("the endpoint could send %d bytes to a client that reads none", total)
	default:
	}
	if held := n.engine.BufferBytes(); held > 512<<10 {
		t.Errorf("%d bytes of buffers for one slow reader", held)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.Copy(io.Discard, resp.Body); err != nil || got != size {
		t.Fatalf("got %d, %v", got, err)
	}
}

func TestAnswersOfTheNodeItself(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil,
		&table.Route{
			Name: "ping", Path: table.PathMatch{Kind: table.PathExact, Text: "/ping"}, Action: table.ActionRespond, Timeout: time.Second,
			Respond: &table.Respond{Status: 200, Body: []byte("pong\n"), Fields: []table.HeaderField{{Name: []byte("content-type"), Value: []byte("text/plain")}}},
		},
		&table.Route{
			Name: "home", Path: table.PathMatch{Kind: table.PathExact, Text: "/home"}, Action: table.ActionRedirect, Timeout: time.Second,
			Redirect: &table.Redirect{Status: 301, Change: table.PathReplace, Path: "/"},
		},
	)
	got := n.talk("GET /ping HTTP/1.1\r\nHost: a\r\n\r\nHEAD /ping HTTP/1.1\r\nHost: a\r\n\r\nGET /home HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.0\r\n\r\n")
	r := bufio.NewReader(strings.NewReader(got))
	for i, want := range []struct {
		method string
		status int
		body   string
	}{{"GET", 200, "pong\n"}, {"HEAD", 200, ""}, {"GET", 301, ""}, {"GET", 404, "no route takes this request"}} {
		resp, err := http.ReadResponse(r, &http.Request{Method: want.method})
		if err != nil {
			t.Fatalf("answer %d: %v in %q", i, err, got)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != want.status || !strings.Contains(string(body), want.body) {
			t.Errorf("answer %d: %d %q", i, resp.StatusCode, body)
		}
		if i == 2 && resp.Header.Get("Location") != "/" {
			t.Errorf("Location %q", resp.Header.Get("Location"))
		}
	}
}

func TestFailuresOfTheEndpointAreToldApart(t *testing.T) {
	dead := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	silent := rawServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	closes := rawServer(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) })
	garbage := rawServer(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\nbad\n\n")
		_, _ = io.Copy(io.Discard, c)
	})
	n := startNode(t, 1)
	for i, c := range []struct {
		name, address string
		status        int
		reason        exchange.Reason
	}{
		{"refused", dead, 502, exchange.ReasonConnectFailure},
		{"silent", silent, 504, exchange.ReasonRequestTimeout},
		{"closes", closes, 502, exchange.ReasonUpstreamClosed},
		{"garbage", garbage, 502, exchange.ReasonUpstreamMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			route := forwardAll(newUpstream(c.name, c.address))
			route.Timeout = 500 * time.Millisecond
			n.apply(nil, route)
			resp := n.get("/")
			r := n.records.wait(t, i+1)
			if resp.StatusCode != c.status || r.Status != uint16(c.status) || r.Reason != c.reason {
				t.Errorf("status %d, record %d %s (%s)", resp.StatusCode, r.Status, r.Reason, r.Detail)
			}
		})
	}
}

func rawServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	return l.Addr().String()
}

func TestABrokenAnswerIsCutAndNotEnded(t *testing.T) {
	backend := rawServer(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	resp := n.get("/")
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the client took a broken answer for a whole one")
	}
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonUpstreamTruncated || r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Reason)
	}
}

func TestAKeptConnectionThatDiesIsTriedAgainOnANewOne(t *testing.T) {
	// Each connection answers once and closes when the second request comes.
	backend := rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
			_, _ = r.ReadByte()
		}
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	for i := range 4 {
		resp := n.get("/")
		if resp.StatusCode != 200 {
			t.Fatalf("request %d: %d", i, resp.StatusCode)
		}
		_, _ = io.ReadAll(resp.Body)
	}
	if r := n.records.wait(t, 2); r.Attempts != 2 {
		t.Errorf("%d attempts", r.Attempts)
	}
	// A request with a body may have acted: it is not tried again.
	resp, err := http.Post("http://"+n.address+"/", "x/y", strings.NewReader("once"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 502 {
		t.Errorf("POST on a dead connection: %d", resp.StatusCode)
	}
}

func TestAClientThatLeavesEndsItsExchange(t *testing.T) {
	gone := make(chan struct{})
	backend := startBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(gone)
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "a request in flight", func() bool { return n.engine.registry.Endpoint(0).InFlight() > 0 })
	c.Close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Fatal("the endpoint was not told")
	}
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonClientGone || r.Status != 499 {
		t.Errorf("%d %s", r.Status, r.Reason)
	}
	if f := n.engine.registry.Endpoint(0).InFlight(); f != 0 {
		t.Errorf("%d in flight", f)
	}
}

func TestPushesCloseNothing(t *testing.T) {
	n := startNode(t, 2)
	backend := startBackend(t, echo)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	for i := range 300 {
		// The upstream is replaced by another name each time.
		n.apply(nil, forwardAll(newUpstream(fmt.Sprintf("u%d", i%3), backend)))
		req, _ := http.NewRequest("POST", "http://"+n.address+"/", strings.NewReader("body"))
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("push %d: %v", i, err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "body" {
			t.Fatalf("push %d: %d %q", i, resp.StatusCode, body)
		}
	}
	n.records.wait(t, 300)
	if slots := n.engine.registry.Slots(); slots > 8 {
		t.Errorf("%d endpoint slots after 300 replacements: they are not used again", slots)
	}
}

func TestMaxConnectionsMakesRequestsWait(t *testing.T) {
	var mu sync.Mutex
	open, most := 0, 0
	backend := startBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		open++
		most = max(most, open)
		mu.Unlock()
		<-time.After(2 * time.Millisecond) // work that takes time
		mu.Lock()
		open--
		mu.Unlock()
		fmt.Fprint(w, "ok")
	})
	n := startNode(t, 2)
	u := newUpstream("u", backend)
	u.Pool.MaxConnections = 3
	n.apply(nil, forwardAll(u))
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			for range 5 {
				resp, err := http.Get("http://" + n.address + "/")
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
		})
	}
	wg.Wait()
	if most > 3 {
		t.Errorf("%d connections at once", most)
	}
}

func TestARemovedListenerAnswersWhatCameAndClosesTheRest(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 {
		t.Fatal(err)
	}
	if err := n.engine.Apply(context.Background(), &table.Table{Version: table.Version{Epoch: 1, Revision: 99}}); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	if _, err := net.DialTimeout("tcp", n.address, time.Second); err == nil {
		t.Error("the port still accepts")
	}
}

func TestAPortInUseIsToldAndChangesNothing(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := n.listener()
	l.Name, l.Port = "other", uint16(taken.Addr().(*net.TCPAddr).Port)
	before := n.engine.Live().Load()
	err = n.engine.Apply(context.Background(), &table.Table{Listeners: []table.Listener{l}})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("got %v", err)
	}
	if n.engine.Live().Load() != before {
		t.Error("the table was swapped")
	}
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestTinyChunksArriveWhole(t *testing.T) {
	const chunks = 5000
	backend := rawServer(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		answer := "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", chunks) + "0\r\n\r\n"
		_, _ = io.WriteString(c, answer)
		_, _ = io.Copy(io.Discard, c)
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	resp := n.get("/")
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) != chunks {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	const requests = 1000
	n := startNode(t, 1)
	n.apply(nil, &table.Route{
		Name: "ping", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionRespond, Timeout: time.Second,
		Respond: &table.Respond{Status: 200, Body: []byte("pong")},
	})
	var b strings.Builder
	for range requests - 1 {
		b.WriteString("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	b.WriteString("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if got := strings.Count(n.talk(b.String()), "pong"); got != requests {
		t.Errorf("%d answers", got)
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	seen := make(chan string, 1)
	backend := startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.Trailer.Get("X-Up")
		w.Header().Set("Trailer", "X-Down")
		fmt.Fprint(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Down", "d")
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	// The Trailer field belongs to the hop, so Go's server only takes what it was
	// told of: the raw answer is looked at instead.
	got := n.talk("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Up: u\r\n\r\n")
	<-seen
	if !strings.HasSuffix(got, "0\r\nX-Down: d\r\n\r\n") {
		t.Errorf("%q", got)
	}
}

// TestRemovingAListenerAnswersEveryConnectionThatTheKernelCompleted removes the
// listener while clients connect as fast as they can.
func TestRemovingAListenerAnswersEveryConnectionThatTheKernelCompleted(t *testing.T) {
	n := startNode(t, 2)
	ping := func() *table.Route {
		return &table.Route{
			Name: "ping", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionRespond, Timeout: time.Second,
			Respond: &table.Respond{Status: 200, Body: []byte("pong")},
		}
	}
	answered, refused := 0, 0
	for round := range 10 {
		n.apply(nil, ping())
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					c, err := net.DialTimeout("tcp", n.address, 300*time.Millisecond)
					if err != nil {
						mu.Lock()
						refused++ // after the removal: not counted as a loss
						mu.Unlock()
						continue
					}
					fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
					_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
					all, err := io.ReadAll(c)
					c.Close()
					if !strings.HasSuffix(string(all), "pong") {
						t.Errorf("round %d: a completed connection got %q, %v", round, all, err)
					}
					mu.Lock()
					answered++
					mu.Unlock()
				}
			})
		}
		eventually(t, "answers", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return answered > (round+1)*200
		})
		if err := n.engine.Apply(context.Background(), &table.Table{}); err != nil {
			t.Fatal(err)
		}
		close(stop)
		wg.Wait()
	}
	t.Logf("%d connections answered, %d not accepted", answered, refused)
}
