package exchange

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

type firstPick struct{}

func (firstPick) Pick(u *table.Upstream, except int) (int, bool) {
	for i := range u.Endpoints {
		if i != except || len(u.Endpoints) == 1 {
			return i, len(u.Endpoints) > 0
		}
	}
	return 0, false
}

// budget allows so many retries at a time.
type budget struct{ left int }

func (b *budget) TryRetry(*table.Upstream, uint32) (interface{ EndRetry() }, bool) {
	if b.left == 0 {
		return nil, false
	}
	b.left--
	return b, true
}

func (b *budget) EndRetry() { b.left++ }

func testEnv(t testing.TB, change func(*table.Listener, *table.Route)) *Env {
	t.Helper()
	u := &table.Upstream{Name: "u", ConnectTimeout: 5 * time.Second, Endpoints: []table.Endpoint{
		{Address: "10.0.0.1:80", AddrPort: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1},
		{Address: "10.0.0.2:80", AddrPort: netip.MustParseAddrPort("10.0.0.2:80"), Weight: 1},
	}}
	r := &table.Route{
		Name: "r", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionForward,
		Targets: []table.Target{{Upstream: u, Weight: 1}}, Split: balance.NewSplit([]uint32{1}), Timeout: 15 * time.Second,
		Retry: &table.Retry{
			Attempts: 2, On: table.RetryOnConnectFailure | table.RetryOnReset | table.RetryOnRefusedStream,
			Backoff: 25 * time.Millisecond, Budget: 20_00, Buffer: 100,
		},
	}
	l := table.Listener{
		Name: "web", Limits: table.Limits{BodyBytes: -1},
		Timeouts: table.ListenerTimeouts{RequestHead: 10 * time.Second, Idle: time.Minute, StreamIdle: 5 * time.Minute},
	}
	if change != nil {
		change(&l, r)
	}
	editor := l.Routes.Edit()
	if refused := editor.Add(r); len(refused) > 0 {
		t.Fatal(refused)
	}
	l.Routes = editor.Index()
	return &Env{
		Table:    &table.Table{Version: table.Version{Epoch: 1, Revision: 7}, Upstreams: []*table.Upstream{u}},
		Listener: &l, Picker: firstPick{}, Budget: &budget{left: 1 << 30}, Random: rand.NewPCG(1, 2), Date: []byte("now"),
	}
}

// request makes a head by hand: the codec stands on the same floor.
func request(method, path string, fields ...string) *message.Head {
	h := &message.Head{Minor: 1, KeepAlive: true}
	put := func(s string) message.Span {
		start := uint32(len(h.Arena))
		h.Arena = append(h.Arena, s...)
		return message.Span{Start: start, End: uint32(len(h.Arena))}
	}
	h.MethodName = put(method)
	h.Method = message.LookupMethod([]byte(method))
	if p, q, ok := strings.Cut(path, "?"); ok {
		h.Path = put(p)
		put("?")
		h.Query, h.HasQuery = put(q), true
	} else {
		h.Path = put(path)
	}
	h.Authority = put("Shop.Test:8080")
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		h.Fields = append(h.Fields, message.Field{Name: put(name), Value: put(value), ID: message.LookupField([]byte(name))})
	}
	return h
}

var peer = netip.MustParseAddrPort("192.0.2.7:1234")

func begin(env *Env, h *message.Head) (*Exchange, Actions) {
	x := new(Exchange)
	return x, x.Begin(env, h, Arrival{Peer: peer, Start: 5, WallTime: 1000, Now: 10})
}

func outText(o *message.Out) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %d|", o.Method, o.Target, o.Authority, o.Status)
	for _, f := range o.Fields {
		fmt.Fprintf(&b, "%s: %s|", f.Name, f.Value)
	}
	return b.String()
}

func TestTheRequestThatGoesUpSaysWhereItCameFromAndHidesTheHop(t *testing.T) {
	env := testEnv(t, func(l *table.Listener, r *table.Route) {
		r.RequestHeaders = &table.HeaderOps{
			Remove: []table.HeaderName{{Name: []byte("x-secret")}},
			Set:    []table.HeaderField{{Name: []byte("x-team"), Value: []byte("orders")}},
		}
	})
	h := request("GET", "/a/./b?q=1", "Host: Shop.Test:8080", "Connection: keep-alive, x-hop", "X-Hop: 1", "X-Secret: s",
		"X-Team: evil", "X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "Forwarded: for=6.6.6.6", "TE: trailers", "Accept: */*")
	h.Named = true
	x, actions := begin(env, h)
	if actions != ActAcquire {
		t.Fatalf("actions %b", actions)
	}
	if got := x.Step(env, 20, Event{Kind: EventAcquired}); got != ActSendHead {
		t.Fatalf("actions %b", got)
	}
	var out message.Out
	x.RequestHead(env, &out)
	got := outText(&out)
	want := "GET /a/b?q=1 Shop.Test:8080 0|Accept: */*|x-forwarded-for: 192.0.2.7|x-forwarded-proto: http|x-forwarded-host: Shop.Test:8080|x-request-id: "
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "|x-team: orders|") {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestATrustedProxyIsBelievedAndContinued(t *testing.T) {
	env := testEnv(t, func(l *table.Listener, _ *table.Route) {
		l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	h := request("GET", "/", "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 192.0.2.1", "X-Forwarded-Proto: https", "X-Request-Id: abc-123")
	x, _ := begin(env, h)
	x.Step(env, 20, Event{Kind: EventAcquired})
	var out message.Out
	x.RequestHead(env, &out)
	want := "GET / Shop.Test:8080 0|X-Forwarded-Proto: https|x-forwarded-for: 6.6.6.6, 203.0.113.9, 192.0.2.1, 192.0.2.7|x-forwarded-host: Shop.Test:8080|x-request-id: abc-123|"
	if got := outText(&out); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var r Record
	x.Record(30, &r)
	if r.Client.Addr().String() != "203.0.113.9" {
		t.Errorf("client %s", r.Client)
	}
}

func TestDeadlinesSayWhatWasLate(t *testing.T) {
	second := int64(time.Second)
	for _, c := range []struct {
		name   string
		events []Event
		body   bool
		at     int64
		reason Reason
	}{
		{"request", []Event{{Kind: EventAcquired}}, false, 16 * second, ReasonRequestTimeout},
		{"body", []Event{{Kind: EventAcquired}}, true, 12 * second, ReasonRequestBodyTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := testEnv(t, func(l *table.Listener, _ *table.Route) { l.Timeouts.StreamIdle = 11 * time.Second })
			h := request("POST", "/")
			if c.body {
				h.Framing, h.Length = message.FramingLength, 10
			}
			if !c.body {
				env.Listener.Timeouts.StreamIdle = time.Hour
			}
			x, _ := begin(env, h)
			for _, ev := range c.events {
				x.Step(env, 20, ev)
			}
			if early := x.Step(env, x.NextDeadline()-1, Event{Kind: EventDeadline}); early != 0 {
				t.Fatalf("before the deadline: %b", early)
			}
			if got := x.Step(env, c.at, Event{Kind: EventDeadline}); got&ActReply == 0 {
				t.Fatalf("actions %b", got)
			}
			var r Record
			x.Record(c.at, &r)
			if r.Reason != c.reason {
				t.Errorf("reason %s", r.Reason)
			}
		})
	}
}

// TestInvariantsHoldForAnyOrderOfEvents runs exchanges with random events, as
// hostile peers and a driver could produce them.
func TestInvariantsHoldForAnyOrderOfEvents(t *testing.T) {
	spare := budget{left: 2}
	env := testEnv(t, func(_ *table.Listener, r *table.Route) {
		r.Retry.Attempts, r.Retry.On, r.Retry.PerTry = 4, r.Retry.On|table.RetryOnTimeout, 5*time.Second
		r.Retry.Statuses.Add(503)
	})
	env.Budget = &spare
	rnd := rand.New(rand.NewPCG(3, 4))
	heads := [2]*message.Head{}
	for i, status := range []uint16{200, 503} {
		heads[i] = &message.Head{Status: status, Minor: 1, Framing: message.FramingChunked, KeepAlive: true, Arena: []byte{}}
	}
	for seed := range 20000 {
		h := request([]string{"GET", "POST"}[rnd.IntN(2)], "/")
		if rnd.IntN(4) == 0 {
			h = request("POST", "/", "content-type: application/grpc")
			h.HTTP2 = true
		}
		if rnd.IntN(2) == 0 {
			h.Framing = message.FramingChunked
		}
		x, actions := begin(env, h)
		m := driverModel{t: t, seed: seed}
		m.check(x, actions)
		now := int64(10)
		for range 30 {
			now += rnd.Int64N(int64(4 * time.Second))
			ev := Event{
				Kind: EventKind(rnd.IntN(int(EventCut) + 1)), Reused: rnd.IntN(2) == 0, Reusable: rnd.IntN(2) == 0, N: rnd.IntN(60), Head: heads[rnd.IntN(2)],
				Failure: Failure{Reason: ReasonUpstreamReset, Retry: RetryClass(rnd.IntN(int(RetryAnswered))), Canceled: rnd.IntN(4) == 0},
			}
			if !m.possible(x, ev) {
				continue
			}
			m.check(x, x.Step(env, now, ev))
		}
		if x.State() != StateDone {
			m.check(x, x.Step(env, now, Event{Kind: EventClientGone}))
		}
		if m.finished != 1 || m.holds || m.queued {
			t.Fatalf("seed %d: finished %d, holds %v, queued %v", seed, m.finished, m.holds, m.queued)
		}
		if spare.left != 2 {
			t.Fatalf("seed %d: %d of 2 left of the budget", seed, spare.left)
		}
	}
}

// driverModel is what a driver would hold.
type driverModel struct {
	t        *testing.T
	seed     int
	queued   bool // asked for a connection
	holds    bool // has one
	answered bool // a byte of an answer went down
	interim  bool // a 1xx did
	finished int
}

// possible says that a driver could produce the event in this state.
func (m *driverModel) possible(x *Exchange, ev Event) bool {
	switch ev.Kind {
	case EventAcquired, EventAcquireFailed:
		return m.queued
	case EventInterim, EventResponseHead:
		return m.holds && x.State() == StateSend
	case EventResponseData, EventResponseEnd, EventUpstreamFailed:
		return m.holds
	case EventRequestEnd:
		return !x.RequestDone() && (m.holds || m.queued && x.bytesIn == 0 && ev.N == 0)
	case EventRequestData, EventRequestFailed:
		return !x.RequestDone() && m.holds
	}
	return true
}

func (m *driverModel) check(x *Exchange, a Actions) {
	m.t.Helper()
	fail := func(what string) {
		m.t.Helper()
		m.t.Fatalf("seed %d: %s, actions %b, state %d", m.seed, what, a, x.State())
	}
	if a != 0 && m.finished > 0 {
		fail("actions after the end")
	}
	if a&ActLeaveQueue != 0 {
		if m.holds {
			fail("leaves the queue with a connection")
		}
		m.queued = false
	}
	if a&(ActReleaseUpstream|ActAbortUpstream) != 0 {
		if !m.holds || a&ActReleaseUpstream != 0 && a&ActAbortUpstream != 0 {
			fail("gives back what it does not hold")
		}
		m.holds = false
	}
	if a&ActSendHead != 0 {
		if !m.queued {
			fail("sends without having asked")
		}
		m.queued, m.holds = false, true
	}
	if a&ActWait != 0 && (m.answered || m.interim || m.holds || m.queued || x.State() != StateBackoff) {
		fail("waits")
	}
	if a&ActAcquire != 0 {
		if m.answered || m.interim || m.holds || m.queued {
			fail("asks for a connection")
		}
		m.queued = true
	}
	m.interim = m.interim || a&ActForwardInterim != 0
	if a&(ActForwardHead|ActReply) != 0 {
		if m.answered {
			fail("a second answer")
		}
		m.answered = true
	}
	if a&ActFinish != 0 {
		m.finished++
	}
	if (x.State() == StateDone) != (m.finished > 0) {
		fail("done and finished differ")
	}
}

func TestAStepAllocatesNothing(t *testing.T) {
	env := testEnv(t, func(l *table.Listener, _ *table.Route) {
		l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	h := request("GET", "/a?q=1", "Host: Shop.Test:8080", "Accept: */*", "User-Agent: test", "X-Forwarded-For: 198.51.100.7, 2001:db8::7, 192.0.2.9")
	answer := &message.Head{Status: 200, Minor: 1, Framing: message.FramingLength, Length: 5, KeepAlive: true, Arena: []byte{}}
	x := new(Exchange)
	var out message.Out
	var r Record
	run := func() {
		x.Reset()
		x.Begin(env, h, Arrival{Peer: peer, Start: 5, WallTime: 1000, Now: 10})
		x.Step(env, 20, Event{Kind: EventAcquired, Reused: true})
		x.RequestHead(env, &out)
		x.Step(env, 30, Event{Kind: EventResponseHead, Head: answer})
		x.ResponseHead(env, answer, &out)
		x.Step(env, 30, Event{Kind: EventResponseData, N: 5})
		x.Step(env, 30, Event{Kind: EventResponseEnd, Reusable: true})
		x.Record(40, &r)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations an exchange", n)
	}
}

// BenchmarkExchange has a row for each thing that costs a request something here.
func BenchmarkExchange(b *testing.B) {
	agent := table.HeaderField{Name: []byte("x-team"), Value: []byte("storefront")}
	answer := &message.Head{Status: 200, Minor: 1, Framing: message.FramingLength, Length: 5, KeepAlive: true, Arena: []byte{}}
	for _, c := range []struct {
		name   string
		change func(*table.Listener, *table.Route)
		fields []string
	}{
		{"plain", nil, nil},
		{"request header set", func(_ *table.Listener, r *table.Route) {
			r.RequestHeaders = &table.HeaderOps{Set: []table.HeaderField{agent}}
		}, nil},
		{"response header set", func(_ *table.Listener, r *table.Route) {
			r.ResponseHeaders = &table.HeaderOps{Set: []table.HeaderField{agent}}
		}, nil},
		{"path rewritten", func(_ *table.Listener, r *table.Route) {
			r.Rewrite = &table.Rewrite{Change: table.PathReplacePrefix, Path: "/b", Matched: "/a"}
		}, nil},
		{"trusted proxies before us", func(l *table.Listener, _ *table.Route) {
			l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}, []string{"X-Forwarded-For: 198.51.100.7, 192.0.2.9, 192.0.2.8", "X-Request-Id: 0123456789abcdef"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			env := testEnv(b, c.change)
			h := request("GET", "/a?q=1", append([]string{"Host: Shop.Test:8080", "Accept: */*", "User-Agent: test"}, c.fields...)...)
			x := new(Exchange)
			var out message.Out
			b.ReportAllocs()
			for b.Loop() {
				x.Reset()
				x.Begin(env, h, Arrival{Peer: peer, Start: 5, WallTime: 1000, Now: 10})
				x.Step(env, 20, Event{Kind: EventAcquired, Reused: true})
				x.RequestHead(env, &out)
				x.Step(env, 30, Event{Kind: EventResponseHead, Head: answer})
				x.ResponseHead(env, answer, &out)
				x.Step(env, 30, Event{Kind: EventResponseEnd, Reusable: true})
			}
		})
	}
}

// TestAConnectionThatIsNotHadInTimeSaysWhy: it has no time of its own for one attempt.
func TestAConnectionThatIsNotHadInTimeSaysWhy(t *testing.T) {
	for queued, want := range map[bool]Reason{false: ReasonConnectTimeout, true: ReasonPoolTimeout} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Tunnel, r.Retry = &table.Tunnel{Idle: time.Hour}, nil })
		x := new(Exchange)
		if got := x.BeginConnection(env, new(message.Head), Arrival{Peer: peer, Start: 5, Now: 10}, nil); got != ActAcquire {
			t.Fatalf("actions %b", got)
		}
		x.Step(env, x.NextDeadline(), Event{Kind: EventDeadline, Queued: queued})
		var r Record
		if x.Record(0, &r); r.Reason != want || x.TimedOut() == queued {
			t.Errorf("queued %t: %s, timed out %t", queued, r.Reason, x.TimedOut())
		}
	}
}

func TestTheMemoryOfALargePathIsNotKept(t *testing.T) {
	env := testEnv(t, nil)
	x, _ := begin(env, request("GET", "/%41"+strings.Repeat("a", 60<<10)))
	if cap(x.local.pathBuf) < 60<<10 {
		t.Fatal("the path has no memory of its own")
	}
	if x.Reset(); cap(x.local.pathBuf) > keptName {
		t.Errorf("%d bytes are kept", cap(x.local.pathBuf))
	}
}
