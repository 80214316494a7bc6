package exchange

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// fine is an answer with a body of five bytes.
func fine() Event {
	return Event{Kind: EventResponseHead, Head: &message.Head{Status: 200, Minor: 1, Framing: message.FramingLength, Length: 5, KeepAlive: true, Arena: []byte{}}}
}

func TestABodyOfTheLimitPassesAndOneByteMoreDoesNot(t *testing.T) {
	for _, limit := range []int64{0, 10} {
		for _, more := range []int64{0, 1} {
			env := testEnv(t, func(l *table.Listener, _ *table.Route) { l.Limits.BodyBytes = limit })
			refused := func(what string, x *Exchange, got Actions) {
				var r Record
				if x.Record(20, &r); (got&ActReply != 0 && r.Reason == ReasonBodyTooLarge && r.Status == 413) != (more > 0) {
					t.Errorf("%s %d of %d: actions %b, %s", what, limit+more, limit, got, r.Reason)
				}
			}
			h := request("POST", "/")
			h.Framing, h.Length = message.FramingLength, limit+more
			x, got := begin(env, h)
			refused("a length of", x, got)

			h = request("POST", "/")
			h.Framing = message.FramingChunked
			x, _ = begin(env, h)
			x.Step(env, 20, gotNew)
			if limit > 0 {
				x.Step(env, 20, Event{Kind: EventRequestData, N: int(limit)})
			}
			got = x.Step(env, 20, Event{Kind: EventRequestData, N: int(more)})
			refused("chunks of", x, got)
		}
	}
}

func TestAnIDIsTakenIfItNeedsNoQuotingAnywhere(t *testing.T) {
	env := testEnv(t, func(l *table.Listener, _ *table.Route) {
		l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	idOf := func(env *Env, fields ...string) string {
		x, _ := begin(env, request("GET", "/", fields...))
		var r Record
		x.Record(20, &r)
		return string(r.RequestID)
	}
	for id, taken := range map[string]bool{
		"azAZ09-_.": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "": false, "a b": false, `a"b`: false, "a/b": false,
		"a:": false, "a@": false, "a[": false, "a`": false, "a{": false, "a\xe9": false, "a,b": false, "a\n": false,
	} {
		got := idOf(env, "X-Request-Id: "+id)
		if (got == id) != taken || !taken && len(got) != 32 {
			t.Errorf("%q: the id is %q", id, got)
		}
	}
	if got := idOf(testEnv(t, nil), "X-Request-Id: abc"); len(got) != 32 {
		t.Errorf("of a peer that is not trusted: %q", got)
	}
}

func TestAnAttemptAfterOneThatMayHaveBeenSeenWantsANewConnection(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []Event
		fresh  bool
	}{
		{"refused", []Event{refused}, false},
		{"a kept connection ended", []Event{gotKept, died}, true},
		{"reset", []Event{gotNew, died}, true},
		{"a stream that was refused", []Event{gotNew, {Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamReset, Retry: RetryRefused}}}, false},
		{"an answer", []Event{gotNew, unwell}, false},
		{"late", []Event{gotNew, {Kind: EventDeadline}}, true},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) {
			status503(r.Retry)
			r.Retry.On |= table.RetryOnTimeout
			r.Retry.PerTry = time.Second
		})
		x, _ := begin(env, request("GET", "/"))
		if x.Fresh() {
			t.Fatal("the first attempt wants a new connection")
		}
		for _, ev := range c.events {
			now := int64(20)
			if ev.Kind == EventDeadline {
				now = x.NextDeadline()
			}
			x.Step(env, now, ev)
		}
		pass(x, env)
		if x.State() != StateAcquire || x.Fresh() != c.fresh {
			t.Errorf("%s: in state %d wants a new connection: %t", c.name, x.State(), x.Fresh())
		}
	}
}

func TestWhatTheEndOfAnAnswerDoesToBothConnections(t *testing.T) {
	const kept, cut = ActReleaseUpstream, ActAbortUpstream
	for _, c := range []struct {
		name      string
		body      bool // of the request, which is not complete
		reusable  bool
		keepAlive bool
		first     bool // the node drains when the request comes
		then      bool // when the answer does
		want      Actions
	}{
		{"all is well", false, true, true, false, false, kept},
		{"the endpoint ends", false, false, true, false, false, cut},
		{"the request is not complete", true, true, true, false, false, cut | ActCloseClient},
		{"the client ends", false, true, false, false, false, kept | ActCloseClient},
		{"the node drains", false, true, true, true, false, kept | ActCloseClient},
		{"the node drains by now", false, true, true, false, true, kept | ActCloseClient},
	} {
		env := testEnv(t, nil)
		env.Draining = c.first
		h := request("POST", "/")
		if h.KeepAlive = c.keepAlive; c.body {
			h.Framing = message.FramingChunked
		}
		x, _ := begin(env, h)
		x.Step(env, 20, gotNew)
		env.Draining = c.then
		answer := fine()
		x.Step(env, 20, answer)
		var out message.Out
		if x.ResponseHead(env, answer.Head, &out); out.Close != (!c.keepAlive || c.first || c.then) {
			t.Errorf("%s: the answer says close: %t", c.name, out.Close)
		}
		if got := x.Step(env, 20, Event{Kind: EventResponseEnd, Reusable: c.reusable}); got != c.want|ActEndResponse|ActFinish {
			t.Errorf("%s: actions %b", c.name, got)
		}
	}
}

func TestAnAnswerThatBreaksOffIsCut(t *testing.T) {
	env := testEnv(t, nil)
	for _, ev := range []Event{
		{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamClosed, Retry: RetryUnanswered, Detail: "x"}},
		{Kind: EventDeadline},
		{Kind: EventClientGone},
		{Kind: EventCut, Failure: Failure{Reason: ReasonOverload}},
	} {
		x, _ := begin(env, request("GET", "/"))
		x.Step(env, 20, gotNew)
		answer := fine()
		x.Step(env, 30, answer)
		x.Step(env, 40, Event{Kind: EventResponseData, N: 3})
		got := x.Step(env, x.NextDeadline(), ev)
		if got&(ActAbortUpstream|ActAbortClient|ActFinish) != ActAbortUpstream|ActAbortClient|ActFinish || got&(ActReply|ActAcquire|ActWait) != 0 {
			t.Errorf("%+v: actions %b", ev, got)
		}
		var r Record
		want := map[EventKind]Reason{
			EventUpstreamFailed: ReasonUpstreamTruncated, EventDeadline: ReasonRequestTimeout, EventClientGone: ReasonClientGone, EventCut: ReasonOverload,
		}[ev.Kind]
		if x.Record(50, &r); r.Status != 200 || r.BytesOut != 3 || r.Reason != want {
			t.Errorf("%+v: the record says %d, %d bytes, %s", ev, r.Status, r.BytesOut, r.Reason)
		}
	}
}

// TestTheTargetThatGoesUp is the normal form, unless the route says otherwise.
func TestTheTargetThatGoesUp(t *testing.T) {
	prefix := &table.Rewrite{Change: table.PathReplacePrefix, Path: "/new", Matched: "/a"}
	for _, c := range []struct {
		came    string
		raw     bool
		rewrite *table.Rewrite
		want    string
	}{
		{"/a?b=%20c", false, nil, "/a?b=%20c"},
		{"/a", false, nil, "/a"},
		{"/a?", false, nil, "/a?"},
		{"/a/../b?x", false, nil, "/b?x"},
		{"/a/../b?x", true, nil, "/a/../b?x"},
		{"/%3a?x", false, nil, "/%3A?x"}, // as long as it was
		{"/%3a", true, nil, "/%3a"},
		{"/a/b?x", false, prefix, "/new/b?x"},
		{"/a/b", true, prefix, "/new/b"},
		{"/a/%3a?x", true, prefix, "/new/%3A?x"},
		{"/a?x", false, &table.Rewrite{Host: []byte("b.test")}, "/a?x"},
		{"/%3a?x", true, &table.Rewrite{Host: []byte("b.test")}, "/%3a?x"},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.ForwardRawPath, r.Rewrite = c.raw, c.rewrite })
		x, _ := begin(env, request("GET", c.came))
		x.Step(env, 20, gotNew)
		var out message.Out
		x.RequestHead(env, &out)
		host := "Shop.Test:8080"
		if c.rewrite != nil && c.rewrite.Host != nil {
			host = "b.test"
		}
		if string(out.Target) != c.want || string(out.Authority) != host {
			t.Errorf("%+v: %s at %s", c, out.Target, out.Authority)
		}
	}
}

// TestARouteIsChosenByMethodAndQueryToo: what asks for a tunnel by HTTP/2 is what it would
// have been in HTTP/1.1.
func TestARouteIsChosenByMethodAndQueryToo(t *testing.T) {
	for _, c := range []struct {
		conditions table.Conditions
		head       *message.Head
		chosen     bool
	}{
		{table.Conditions{Methods: 1 << message.MethodGet}, request("GET", "/"), true},
		{table.Conditions{Methods: 1 << message.MethodGet}, request("POST", "/"), false},
		{table.Conditions{Methods: 1 << message.MethodGet}, extended("websocket"), true},
		{table.Conditions{Methods: 1 << message.MethodConnect}, extended("websocket"), false},
		{table.Conditions{Others: []string{"BREW"}}, request("BREW", "/"), true},
		{table.Conditions{Others: []string{"BREW"}}, request("MEND", "/"), false},
		{table.Conditions{Query: []table.ValueMatch{{Name: "k", Kind: table.TextExact, Text: "2"}}}, request("GET", "/?k=2"), true},
		{table.Conditions{Query: []table.ValueMatch{{Name: "k", Kind: table.TextExact, Text: "2"}}}, request("GET", "/?k=3"), false},
		{table.Conditions{Query: []table.ValueMatch{{Name: "k", Kind: table.TextPresent}}}, request("GET", "/"), false},
		{table.Conditions{Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, request("GET", "/"), true},
		{table.Conditions{Clients: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}, request("GET", "/"), false},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Conditions = &c.conditions })
		begin(env, request("POST", "/?k=2")) // leaves nothing behind
		if x, _ := begin(env, c.head); (x.Route() != nil) != c.chosen {
			t.Errorf("%+v: chosen %t", c.conditions, x.Route() != nil)
		}
	}
}

func TestAStatusIsTriedAgainFrom400On(t *testing.T) {
	for status, retried := range map[uint16]bool{200: false, 399: false, 400: true, 503: true} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Retry.Statuses.Add(status) })
		x, _ := begin(env, request("GET", "/"))
		x.Step(env, 20, gotNew)
		got := x.Step(env, 20, Event{Kind: EventResponseHead, Head: &message.Head{Status: status, Minor: 1, KeepAlive: true, Arena: []byte{}}})
		if (got&(ActWait|ActAcquire) != 0) != retried {
			t.Errorf("%d: actions %b", status, got)
		}
	}
}

// TestOnlyAConnectionThatWasTriedForTimesOut: an endpoint is not slow to connect because
// others had all its places.
func TestOnlyAConnectionThatWasTriedForTimesOut(t *testing.T) {
	for _, perTry := range []time.Duration{0, time.Second} {
		for _, queued := range []bool{false, true} {
			env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Retry.Attempts, r.Retry.PerTry = 1, perTry })
			x, _ := begin(env, request("GET", "/"))
			at := x.NextDeadline()
			if x.Step(env, at, Event{Kind: EventDeadline, Queued: queued}); x.State() != StateDone || x.TimedOut() == queued {
				t.Errorf("%s for one attempt, queued %t: state %d, timed out %t", perTry, queued, x.State(), x.TimedOut())
			}
			var r Record
			if x.Record(at, &r); r.HeadTime != 5 || r.Duration != at-5 {
				t.Errorf("its head took %d, all %d", r.HeadTime, r.Duration)
			}
		}
	}
}

// TestWhatATableDoesNotHaveAnyMoreIsNoFailureOfAnEndpoint: a push took it away meanwhile.
func TestWhatATableDoesNotHaveAnyMoreIsNoFailureOfAnEndpoint(t *testing.T) {
	gone := Event{Kind: EventAcquireFailed, Failure: Failure{Reason: ReasonNoEndpoint, Retry: RetryNothingSent}}
	reasonOf := func(x *Exchange) Reason {
		var r Record
		x.Record(30, &r)
		return r.Reason
	}
	// The endpoint is gone: another attempt, whatever the route tries again, and how often; but
	// not for ever.
	env := testEnv(t, func(_ *table.Listener, r *table.Route) {
		r.Retry.On, r.Retry.Attempts, r.Retry.Backoff = 0, 1, time.Hour
	})
	x, _ := begin(env, request("POST", "/"))
	for i := range mostGone {
		if got := x.Step(env, 20, gone); got&ActAcquire == 0 {
			t.Fatalf("time %d: actions %b, %s", i+1, got, reasonOf(x))
		}
	}
	if got := x.Step(env, 20, gone); got&ActReply == 0 || reasonOf(x) != ReasonNoEndpoint {
		t.Errorf("for ever: actions %b, %s", got, reasonOf(x))
	}
	// It takes no attempt from those that the route has.
	env = testEnv(t, func(_ *table.Listener, r *table.Route) { r.Retry.Backoff = time.Second })
	x, _ = begin(env, request("GET", "/"))
	x.Step(env, 20, gone)
	x.Step(env, 20, gotNew)
	if got := x.Step(env, 30, died); got&ActWait == 0 {
		t.Errorf("the second attempt is missing: actions %b", got)
	}
	none := &table.Table{Version: table.Version{Epoch: 1, Revision: 8}}
	// The upstream is gone when an attempt has failed, or after the wait before the next.
	env = testEnv(t, func(_ *table.Listener, r *table.Route) { r.Retry.Backoff = time.Second })
	had := env.Table
	x, _ = begin(env, request("GET", "/"))
	x.Step(env, 20, gotNew)
	env.Table = none
	if got := x.Step(env, 30, died); got&ActReply == 0 || reasonOf(x) != ReasonUpstreamClosed {
		t.Errorf("actions %b, %s", got, reasonOf(x))
	}
	env.Table = had
	x, _ = begin(env, request("GET", "/"))
	x.Step(env, 20, gotNew)
	if got := x.Step(env, 30, died); got&ActWait == 0 {
		t.Fatalf("actions %b", got)
	}
	env.Table = none
	if got := pass(x, env); got&ActReply == 0 || reasonOf(x) != ReasonNoEndpoint {
		t.Errorf("after the wait: actions %b, %s", got, reasonOf(x))
	}
	// A listener of an earlier table: its routes' upstreams are looked up in the one of now.
	env = testEnv(t, nil)
	other := *env.Table.Upstreams[0]
	env.Stale, env.Table = true, &table.Table{Upstreams: []*table.Upstream{&other}}
	if x, _ = begin(env, request("GET", "/")); x.State() != StateAcquire {
		t.Errorf("state %d", x.State())
	}
	if u, _ := x.Upstream(); u != &other {
		t.Error("the upstream of an earlier table is used")
	}
	env.Table = none
	if x, _ = begin(env, request("GET", "/")); x.State() != StateDone || reasonOf(x) != ReasonNoEndpoint {
		t.Errorf("state %d, %s", x.State(), reasonOf(x))
	}
}
