//go:build linux

package evloop

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// guestbook is a server that knows when its connections came and went.
type guestbook struct {
	mu         sync.Mutex
	came, went int
	open       map[string]net.Conn
}

func (g *guestbook) count() (came, open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.came, len(g.open)
}

// end has the server end all its connections.
func (g *guestbook) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.open {
		c.Close()
	}
}

// note is a server's ConnState.
func (g *guestbook) note(c net.Conn, s http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := c.RemoteAddr().String()
	switch s {
	case http.StateNew:
		g.came++
		g.open[from] = c
	case http.StateClosed:
		g.went++
		delete(g.open, from)
	}
}

// startGuests serves answers that name the connection they came by.
func startGuests(t *testing.T, secured bool) (g *guestbook, address string) {
	g = &guestbook{open: map[string]net.Conn{}}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	}))
	s.Config.ConnState = g.note
	s.Config.ErrorLog = nil
	if secured {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return g, s.Listener.Addr().String()
}

// keepsWarm is an upstream with a least number of idle connections.
func keepsWarm(least int, address string) *table.Upstream {
	u := newUpstream("u", address)
	u.Pool.MinIdle = least
	u.Pool.IdleTimeout = time.Minute
	return u
}

func TestTheFirstRequestAfterAPushFindsAConnection(t *testing.T) {
	for _, secured := range []bool{false, true} {
		g, address := startGuests(t, secured)
		n := startNode(t, 2)
		u := keepsWarm(3, address)
		if secured {
			u.TLS = &table.UpstreamTLS{SkipVerify: true}
		}
		n.apply(nil, forwardAll(u))
		eventually(t, "three connections a loop", func() bool { _, open := g.count(); return open == 6 })
		if secured {
			eventually(t, "handshakes to end", func() bool {
				full := n.engine.stats.Handshakes(true, uint8(secure.ResultFull))
				return full+n.engine.stats.Handshakes(true, uint8(secure.ResultResumed)) == 6
			})
		}
		before := map[string]bool{}
		g.mu.Lock()
		for from := range g.open {
			before[from] = true
		}
		g.mu.Unlock()
		from, _ := io.ReadAll(n.get("/").Body)
		if !before[string(from)] {
			t.Errorf("TLS %t: the request opened %s", secured, from)
		}
		// The one that was taken is replaced, and comes back.
		eventually(t, "a fourth one", func() bool { came, _ := g.count(); return came == 7 })
	}
}

func TestAnHTTP2EndpointHasOneWarmConnection(t *testing.T) {
	u, conns := h2backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	u.Pool.MinIdle, u.Pool.IdleTimeout = 5, time.Minute
	n := startNode(t, 1)
	n.apply(nil, forwardAll(u))
	eventually(t, "a connection", func() bool { return conns.Load() == 1 })
	for i := range 3 {
		if got, _ := io.ReadAll(n.get("/").Body); string(got) != "ok" {
			t.Errorf("%q", got)
		}
		n.records.wait(t, i+1)
	}
	if got := conns.Load(); got != 1 {
		t.Errorf("%d connections", got)
	}
}

func TestWarmConnectionsAreReplacedWhileTheyAreWanted(t *testing.T) {
	g, address := startGuests(t, false)
	n := startNode(t, 1)
	u := keepsWarm(1, address)
	u.Pool.IdleTimeout = time.Second
	n.apply(nil, forwardAll(u))
	eventually(t, "one that ended, and another", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.went > 0 && len(g.open) > 0
	})
	// A node that takes no requests needs none.
	drain := func(drained bool) {
		t.Helper()
		if err := n.engine.SetDrained(context.Background(), drained); err != nil {
			t.Fatal(err)
		}
	}
	none := func() bool {
		_, open := g.count()
		_, theirs, _ := n.engine.EndpointLoad(0)
		return open == 0 && theirs == 0
	}
	drain(true)
	eventually(t, "the last to end", none)
	came, _ := g.count()
	u = keepsWarm(1, address) // from here on none ends by itself
	n.apply(nil, forwardAll(u))
	drain(false)
	eventually(t, "one after the drain", func() bool { now, open := g.count(); return now == came+1 && open == 1 })
	// Nor does one whose users do not want it any more.
	n.apply(nil, forwardAll(newUpstream("u", address)))
	g.end()
	eventually(t, "the last to end", none)
	n.stop()
	if p := n.engine.loops[0].pools.at(0); p.lacks() > 0 {
		t.Error("another one would be opened, if not at once")
	}
	if now, _ := g.count(); now != came+1 {
		t.Errorf("%d more were opened", now-came-1)
	}
}

func TestWarmConnectionsStayBelowTheLimit(t *testing.T) {
	g, address := startGuests(t, false)
	n := startNode(t, 2)
	u := keepsWarm(3, address)
	u.Pool.MaxConnections = 4
	n.apply(nil, forwardAll(u))
	eventually(t, "as many as may be", func() bool { _, open := g.count(); return open == 4 })
	if came, _ := g.count(); came != 4 {
		t.Errorf("%d connections", came)
	}
}

func TestAnEndpointThatEndsWarmConnectionsIsNotAskedAtFullSpeed(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var came []time.Time
			address := rawServer(t, func(net.Conn) {
				mu.Lock()
				defer mu.Unlock()
				came = append(came, time.Now())
			})
			n := startNode(t, 1)
			u := keepsWarm(1, address)
			u.HTTP2 = version == "HTTP/2"
			begun := time.Now() // when the first came may be noted late
			n.apply(nil, forwardAll(u))
			eventually(t, "four attempts", func() bool { mu.Lock(); defer mu.Unlock(); return len(came) >= 4 })
			mu.Lock()
			defer mu.Unlock()
			// Half of 250 ms at least, then of 500 ms, then of a second.
			if took := came[3].Sub(begun); took < 800*time.Millisecond {
				t.Errorf("four attempts in %s", took)
			}
		})
	}
}

// TestAConnectionIsReplacedBeforeItsTimeIsOver goes by the clock of a loop that does
// not run.
func TestAConnectionIsReplacedBeforeItsTimeIsOver(t *testing.T) {
	u := keepsWarm(1, "127.0.0.1:9")
	u.Pool.IdleTimeout = 4 * time.Second
	l, p := poolOf(t, u)
	c, far := pairedUp(t, l, p)
	defer unix.Close(far)
	l.opened(c)
	if !c.idle || p.lacks() != 0 {
		t.Fatalf("idle %t, %d are lacking", c.idle, p.lacks())
	}
	l.now = c.idleUntil - p.lead(c.idleTime()) - 1
	if l.expireUp(c); p.lacks() != 0 {
		t.Error("replaced too early")
	}
	l.now++
	if l.expireUp(c); p.lacks() != 1 || !c.idle || len(l.warmer.lacking) != 1 {
		t.Errorf("%d are lacking, idle %t, %d lacking pools", p.lacks(), c.idle, len(l.warmer.lacking))
	}
	l.now = c.idleUntil
	if l.expireUp(c); c.idle || p.warm.aging != 0 || p.Idle() != 0 || p.lacks() != 1 {
		t.Errorf("after its time: idle %t, %d aging, %d lacking", c.idle, p.warm.aging, p.lacks())
	}
}

// poolOf is the pool of u's first endpoint, on a loop that does not run.
func poolOf(t *testing.T, u *table.Upstream) (*Loop, *endpointPool) {
	t.Helper()
	l := oneLoop(t)
	if _, err := l.engine.registry.Bind(&table.Table{Upstreams: []*table.Upstream{u}}); err != nil {
		t.Fatal(err)
	}
	l.wheel.start(l.now)
	return l, l.pool(u, &u.Endpoints[0])
}

// pairedUp is a connection of p, and the descriptor of its other end, which is the
// caller's to close.
func pairedUp(t *testing.T, l *Loop, p *endpointPool) (c *upstreamConn, far int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.TryOpen(1)
	return l.newUp(fds[0], p), fds[1]
}

// TestAConnectionThatEndedOnItsWayIsNotKept: the edge that tells of it tells of its end.
func TestAConnectionThatEndedOnItsWayIsNotKept(t *testing.T) {
	u := keepsWarm(1, "127.0.0.1:9")
	l, p := poolOf(t, u)
	c, far := pairedUp(t, l, p)
	unix.Close(far)
	c.link.readHup, c.link.readable = true, true
	if l.opened(c); c.idle || p.Idle() != 0 || p.warm.pause == 0 {
		t.Errorf("idle %t, %d in the pool, pause %d", c.idle, p.Idle(), p.warm.pause)
	}
}

// TestPausesGrowAndEnd goes by the clock of a loop that does not run.
func TestPausesGrowAndEnd(t *testing.T) {
	u := keepsWarm(1, refusing(t).String())
	l, p := poolOf(t, u)
	last := int64(0)
	for i := range 12 {
		l.warmer.failed(p, l.now, l.random)
		pause := p.warm.at - l.now
		if pause < min(warmFirst<<i, warmMost)/2 || pause > min(warmFirst<<i, warmMost) {
			t.Errorf("pause %d is %s", i, time.Duration(pause))
		}
		last = pause
	}
	if last > warmMost || !p.warm.listed || len(l.warmer.lacking) != 1 || l.warmer.at == 0 {
		t.Errorf("%s, %d lacking pools, next at %d", time.Duration(last), len(l.warmer.lacking), l.warmer.at)
	}
	l.now = p.warm.at - 1
	if l.warm(); p.Open() != 0 {
		t.Error("asked before its time")
	}
	l.warmer.fine(p, l.now)
	if p.warm.at != 0 || l.warmer.at > l.now+1 {
		t.Error("an endpoint that is there waits")
	}
	p.retired = true
	if l.warm(); len(l.warmer.lacking) != 0 || p.warm.listed {
		t.Error("a pool that is gone stays on the list")
	}
}

func TestAnEndpointWithoutWeightAndOneWithAHeaderAreNotWarmed(t *testing.T) {
	p := &endpointPool{to: &table.Endpoint{Weight: 1}, config: table.Pool{MinIdle: 4, MaxIdle: 8}}
	if p.lacks() != 4 {
		t.Errorf("%d", p.lacks())
	}
	for name, change := range map[string]func(*endpointPool){
		"no weight": func(p *endpointPool) { p.to = &table.Endpoint{} },
		"a header":  func(p *endpointPool) { p.header = table.ProxyHeaderV2 },
		"retired":   func(p *endpointPool) { p.retired = true },
		"none kept": func(p *endpointPool) { p.config.MaxIdle = 0 },
	} {
		q := *p
		if change(&q); q.lacks() > 0 {
			t.Errorf("%s: %d", name, q.lacks())
		}
	}
}

// TestAConnectionOnItsWayEndsWhenItsEndpointWantsAHeader: nobody asked for it, so the
// header could name nobody.
func TestAConnectionOnItsWayEndsWhenItsEndpointWantsAHeader(t *testing.T) {
	u := keepsWarm(1, "127.0.0.1:9")
	l, p := poolOf(t, u)
	c, far := pairedUp(t, l, p)
	defer unix.Close(far)
	c.warming = true
	p.warm.opening++
	changed := *u
	changed.Endpoints = slices.Clone(u.Endpoints)
	changed.Pool.MinIdle, changed.ProxyProtocol = 0, table.ProxyHeaderV2
	l.pool(&changed, &changed.Endpoints[0])
	if l.connectDone(c); !c.link.closed || p.Open() != 0 || p.Idle() != 0 || p.warm.opening != 0 {
		t.Errorf("closed %t, %d open, %d idle, %d on their way", c.link.closed, p.Open(), p.Idle(), p.warm.opening)
	}
}

// warmingUp is a connection of p that nobody asked for, on its way.
func warmingUp(t *testing.T, l *Loop, p *endpointPool) *upstreamConn {
	t.Helper()
	if !p.TryOpen(p.config.MaxConnections) {
		t.Fatal("no place for a connection")
	}
	l.connectWarm(p)
	for _, k := range l.links {
		if k.up != nil && !k.closed && k.up.warming {
			return k.up
		}
	}
	t.Fatal("no connection")
	return nil
}

// TestAWarmConnectionThatDoesNotComeAboutEndsInTime, is counted, and leaves its place to a request
// that waits.
func TestAWarmConnectionThatDoesNotComeAboutEndsInTime(t *testing.T) {
	u := keepsWarm(1, fullQueue(t))
	u.Pool.MaxConnections = 1
	l, p := poolOf(t, u)
	c := warmingUp(t, l, p)
	k, s := c.link, l.streams.take()
	if l.acquireFrom(s, p); p.Queued() != 1 {
		t.Fatalf("%d wait", p.Queued())
	}
	counted := countedOf(t, l, p)
	due := l.now + int64(u.ConnectTimeout)
	l.wheel.arm(k, l.now) // it may be looked at early
	for l.now += 2 * wheelTick; l.now < due; l.now += int64(u.ConnectTimeout) / 4 {
		if l.expire(); k.closed || !c.warming {
			t.Fatalf("ended %s before its time", time.Duration(due-l.now))
		}
	}
	l.now = due + 2*wheelTick
	if l.expire(); !k.closed || p.warm.opening != 0 || p.warm.pause == 0 {
		t.Errorf("closed %t, %d on their way, pause %d", k.closed, p.warm.opening, p.warm.pause)
	}
	if got := counted(); got.Failed != 1 || got.TimedOut != 1 {
		t.Errorf("%d failed, %d of them by time", got.Failed, got.TimedOut)
	}
	if s.up == nil {
		t.Error("the request waits on")
	}
}

// TestALoopWithOtherWorriesOpensNothingInAdvance, and looks again a while later.
func TestALoopWithOtherWorriesOpensNothingInAdvance(t *testing.T) {
	for name, worry := range map[string]func(*Loop, *endpointPool){
		"":                              func(*Loop, *endpointPool) {},
		"memory runs short":             func(l *Loop, _ *endpointPool) { l.engine.SetPressure(pressure.High) },
		"descriptors run short":         func(l *Loop, _ *endpointPool) { l.engine.ceilings.connections.Store(0) },
		"requests wait":                 func(l *Loop, p *endpointPool) { p.Wait(l.streams.take().id) },
		"the endpoint takes no more":    func(_ *Loop, p *endpointPool) { p.config.MaxConnections = 0 },
		"its time has not come":         func(l *Loop, p *endpointPool) { p.warm.at = l.now + warmBusy },
		"others took what there was":    func(l *Loop, p *endpointPool) { l.warmPool(p, 0) },
		"nobody wants one to be opened": func(_ *Loop, p *endpointPool) { p.config.MinIdle = 0 },
	} {
		l, p := poolOf(t, keepsWarm(1, fullQueue(t)))
		l.engine.ceilings.connections.Store(100)
		before := p.Open()
		left := warmBurst
		if worry(l, p); name == "others took what there was" {
			left = 0
		}
		got := l.warmPool(p, left)
		switch opened := p.Open() - before; {
		case name == "" && (opened != 1 || got != warmBurst-1):
			t.Errorf("without any, %d are opened, and %d may be", opened, got)
		case name != "" && (opened != 0 || got != left):
			t.Errorf("%s, and %d are opened, and %d may be", name, opened, got)
		}
		switch name {
		case "memory runs short", "descriptors run short", "requests wait", "the endpoint takes no more":
			if p.warm.at != l.now+warmBusy {
				t.Errorf("%s: it looks again after %s", name, time.Duration(p.warm.at-l.now))
			}
		}
	}
}

// TestALoopBeginsSomeWarmConnectionsInOneGo and the others a moment later.
func TestALoopBeginsSomeWarmConnectionsInOneGo(t *testing.T) {
	const more = 3
	l, p := poolOf(t, keepsWarm(warmBurst+more, fullQueue(t)))
	l.sockets.add(socketOn("192.0.2.1:80")) // it listens
	l.engine.ceilings.connections.Store(100)
	l.warmer.list(p, l.now)
	for i, want := range []int{warmBurst, warmBurst + more} {
		if l.warm(); p.Open() != want {
			t.Errorf("go %d: %d are on their way, want %d", i, p.Open(), want)
		}
		if last := i == 1; !last && l.warmer.at != l.now+warmGap || last && (l.warmer.at != 0 || p.warm.listed) {
			t.Errorf("go %d: the next is at %d, %s from now", i, l.warmer.at, time.Duration(l.warmer.at-l.now))
		}
		l.now += warmGap
	}
}

// TestAWarmConnectionThatFailsAtOnceIsAFailure, which is counted and makes the pool wait.
func TestAWarmConnectionThatFailsAtOnceIsAFailure(t *testing.T) {
	for name, fail := range map[string]func(*Loop, *table.Endpoint){
		"nobody is there":          func(_ *Loop, to *table.Endpoint) { to.Unix = t.TempDir() + "/none" },
		"no edge would tell of it": func(l *Loop, _ *table.Endpoint) { l.poller.Close() },
	} {
		u := keepsWarm(1, fullQueue(t))
		l, p := poolOf(t, u)
		counted := countedOf(t, l, p)
		fail(l, &u.Endpoints[0])
		if p.TryOpen(1); p.Open() != 1 {
			t.Fatalf("%s: %d have a place", name, p.Open())
		}
		if l.connectWarm(p); p.Open() != 0 || p.warm.opening != 0 || p.warm.pause == 0 || !p.warm.listed {
			t.Errorf("%s: %d have a place, %d are on their way; pause %d, listed %t", name, p.Open(), p.warm.opening, p.warm.pause, p.warm.listed)
		}
		if got := counted(); got.Failed != 1 || got.TimedOut != 0 {
			t.Errorf("%s: %d failed, %d of them by time", name, got.Failed, got.TimedOut)
		}
	}
}

// TestAnEarlyEndOfAnUnusedConnectionIsAFailure, once; that of an old one, of one that was used, and
// where none are kept warm is none.
func TestAnEarlyEndOfAnUnusedConnectionIsAFailure(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*Loop, *endpointPool, *upstreamConn)
		failure bool
	}{
		{"young", func(*Loop, *endpointPool, *upstreamConn) {}, true},
		{"nearly old", func(l *Loop, _ *endpointPool, _ *upstreamConn) { l.now += warmYoung - 1 }, true},
		{"old", func(l *Loop, _ *endpointPool, _ *upstreamConn) { l.now += warmYoung }, false},
		{"used", func(_ *Loop, _ *endpointPool, c *upstreamConn) { c.served = 1 }, false},
		{"not kept warm", func(_ *Loop, p *endpointPool, _ *upstreamConn) { p.config.MinIdle = 0 }, false},
	} {
		l, p := poolOf(t, keepsWarm(1, "127.0.0.1:9"))
		up, far := pairedUp(t, l, p)
		l.opened(up)
		unix.Close(far)
		c.change(l, p, up)
		if l.endedIdle(up); (p.warm.pause > 0) != c.failure || !up.link.closed {
			t.Errorf("%s: pause %d, closed %t", c.name, p.warm.pause, up.link.closed)
		}

		l, p = poolOf(t, keepsWarm(1, "127.0.0.1:9"))
		up = &upstreamConn{pool: p, mux: &upMux{begun: l.now}}
		c.change(l, p, up)
		l.noteEarlyEnd(up)
		if once := p.warm.pause; (once > 0) != c.failure {
			t.Errorf("%s, in HTTP/2: pause %d", c.name, once)
		} else if l.noteEarlyEnd(up); p.warm.pause != once {
			t.Errorf("%s, in HTTP/2: GOAWAY and the end count twice", c.name)
		}
	}
}
