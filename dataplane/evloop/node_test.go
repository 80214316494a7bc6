//go:build linux

package evloop

import (
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
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
	"golang.org/x/sys/unix"
)

// records keeps what a node's exchanges ended with.
type records struct {
	mu     sync.Mutex
	all    []exchange.Record
	byLoop [8]atomic.Int64 // how many
}

// loopRecords are those of one loop.
type loopRecords struct {
	*records
	loop int
}

func (r loopRecords) Finish(rec *exchange.Record) {
	r.byLoop[r.loop].Add(1)
	r.records.Finish(rec)
}

func (r *records) Finish(rec *exchange.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := *rec
	kept.Path = bytes.Clone(rec.Path)
	kept.Host = bytes.Clone(rec.Host)
	kept.Method = bytes.Clone(rec.Method)
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

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	waittest.Until(t, what, is)
}

type node struct {
	t       *testing.T
	engine  *Engine
	records *records
	address string
	port    uint16
	version uint64
	connect func() (net.Conn, error) // as a client does
	stop    func()                   // once; waits for the end
}

// startNode runs an engine of n loops on a port of its own.
func startNode(t *testing.T, loops int) *node {
	t.Helper()
	return startChanged(t, loops, func(*Engine) {})
}

// startChanged is startNode with an engine that is changed before it runs.
func startChanged(t *testing.T, loops int, change func(*Engine)) *node {
	t.Helper()
	n := &node{t: t, records: &records{}}
	set := stats.New(loops, stats.Limits{})
	e, err := New(Config{
		Loops: loops, NodeAddress: netip.MustParseAddr("127.0.0.1"), DrainTimeout: 5 * time.Second,
		Stats: set, NewSink: func(loop int) Sink { return loopRecords{n.records, loop} },
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	change(e)
	n.engine = e
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
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
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections() // else it waits a second for their next request
		n.stop()
	})
	n.port = freePort(t)
	n.address = fmt.Sprintf("127.0.0.1:%d", n.port)
	n.connect = func() (net.Conn, error) { return net.Dial("tcp", n.address) }
	return n
}

// dial is a client's connection, which ends with the test.
func (n *node) dial() net.Conn {
	n.t.Helper()
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}

// freePort is a port that nobody listens on. It is none of those that the kernel
// gives to whoever asks for any, from 32768 on: a connection that is opened
// meanwhile does not take it.
func freePort(t *testing.T) uint16 {
	t.Helper()
	for range 100 {
		port := uint16(10_000 + rand.IntN(22_000))
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}

// bound is a socket at an address of its own, which does not listen. It ends with the test.
func bound(t *testing.T) (fd int, at netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	return fd, sysLocal(fd)
}

// refusing is an address where connections are refused for as long as the test lasts: somebody
// has it, and does not listen.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	_, at := bound(t)
	return at
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
		Pool:   table.Pool{MaxConnections: 1024, MaxIdle: 256, IdleTimeout: 4 * time.Second},
		Socket: table.UpstreamSocket{KeepAlive: table.KeepAlive{Idle: time.Minute, Interval: 10 * time.Second, Probes: 3}},
	}
	weights := make([]uint32, len(addresses))
	for i, a := range addresses {
		weights[i] = 1
		e := table.Endpoint{Address: a, Weight: 1}
		if path, ok := strings.CutPrefix(a, "unix:"); ok {
			e.Unix = path
		} else {
			e.AddrPort = netip.MustParseAddrPort(a)
		}
		u.Endpoints = append(u.Endpoints, e)
	}
	u.RoundRobin = balance.NewRoundRobin(weights)
	return u
}

func forwardAll(u *table.Upstream) *table.Route {
	return &table.Route{
		Name: "all", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionForward,
		Targets: []table.Target{{Upstream: u, Weight: 1}}, Split: balance.NewSplit([]uint32{1}), Timeout: 15 * time.Second,
		Retry: defaultRetry(),
	}
}

// defaultRetry is what routes have that say nothing else.
func defaultRetry() *table.Retry {
	return &table.Retry{
		Attempts: 2, On: table.RetryOnConnectFailure | table.RetryOnReset | table.RetryOnRefusedStream,
		Backoff: 25 * time.Millisecond, Budget: 20_00, Buffer: 64 << 10,
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
