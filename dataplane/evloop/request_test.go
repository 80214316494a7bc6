//go:build linux

package evloop

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// noSink is a sink that keeps nothing.
type noSink struct{}

func (noSink) Finish(*exchange.Record) {}
func (noSink) Flush()                  {}

// between is a loop that does not run, with one client and one endpoint whose other ends a
// test holds: what a request costs, without any other thread.
type between struct {
	l              *Loop
	down           *downstream
	up             *upstreamConn
	client, server int
	buf            [4 << 10]byte
}

func newBetween(t testing.TB, u *table.Upstream, route *table.Route) *between {
	t.Helper()
	e, err := New(Config{
		Stats: stats.New(1, stats.Limits{}), NewSink: func(int) Sink { return noSink{} }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	listener := (&node{}).listener()
	editor := listener.Routes.Edit()
	editor.Add(route)
	listener.Routes = editor.Index()
	tab := &table.Table{Listeners: []table.Listener{listener}, Upstreams: []*table.Upstream{u}, Routes: 1}
	if _, err := e.registry.Bind(tab); err != nil {
		t.Fatal(err)
	}
	bindSeries(e.stats, tab)
	e.live.Store(tab)
	b := &between{l: e.loops[0]}
	t.Cleanup(b.l.close)
	b.l.tick()
	b.l.wheel.start(b.l.now)
	b.l.look()
	var fds [2][2]int
	for i := range fds {
		if fds[i], err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fds[i][1]) })
	}
	b.client, b.server = fds[0][1], fds[1][1]
	p := b.l.pool(u, &u.Endpoints[0])
	p.TryOpen(1)
	b.up = b.l.newUp(fds[1][0], p)
	b.up.link.writable = true
	b.l.opened(b.up)
	s := &socket{fd: -1, binding: &binding{clientele: new(clientele)}, listener: &tab.Listeners[0]}
	b.l.newDown(s, fds[0][0], netip.MustParseAddrPort("192.0.2.1:9"))
	for _, k := range b.l.links {
		if k.down != nil {
			b.down = k.down
		}
	}
	return b
}

// turn has a link read what is there.
func (b *between) turn(k *link) {
	b.l.tick()
	k.readable = true
	b.l.turn(k)
	b.l.takeTurns()
	b.l.endTurn(b.l.now)
}

// send writes at one end, and read is how much has come at one.
func (b *between) send(t testing.TB, fd int, what []byte) {
	if _, err := unix.Write(fd, what); err != nil {
		t.Fatal(err)
	}
}

func (b *between) read(t testing.TB, fd int) int {
	n, err := unix.Read(fd, b.buf[:])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var (
	keptRequest = []byte("GET /some/path HTTP/1.1\r\nHost: a.test\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n")
	keptReply   = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
)

// forward is one request and its answer.
func (b *between) forward(t testing.TB) {
	b.send(t, b.client, keptRequest)
	b.turn(b.down.link)
	b.read(t, b.server)
	b.send(t, b.server, keptReply)
	b.turn(b.up.link)
	b.read(t, b.client)
}

// answer is one that the node answers by itself.
func (b *between) answer(t testing.TB) {
	b.send(t, b.client, keptRequest)
	b.turn(b.down.link)
	b.read(t, b.client)
}

// TestARequestOnAKeptConnectionAllocatesNothing on its way through a loop.
func TestARequestOnAKeptConnectionAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	u := newUpstream("u", "127.0.0.1:9")
	forwards, answers := newBetween(t, u, forwardAll(u)), newBetween(t, newUpstream("v", "127.0.0.1:9"), respondAll())
	for name, one := range map[string]func(){
		"forwarded": func() { forwards.forward(t) },
		"answered":  func() { answers.answer(t) },
	} {
		for range 10 {
			one()
		}
		if n := testing.AllocsPerRun(200, one); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkForwarded(b *testing.B) {
	u := newUpstream("u", "127.0.0.1:9")
	w := newBetween(b, u, forwardAll(u))
	b.ReportAllocs()
	for b.Loop() {
		w.forward(b)
	}
}

func BenchmarkAnswered(b *testing.B) {
	w := newBetween(b, newUpstream("u", "127.0.0.1:9"), respondAll())
	b.ReportAllocs()
	for b.Loop() {
		w.answer(b)
	}
}
