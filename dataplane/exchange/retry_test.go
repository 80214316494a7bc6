package exchange

import (
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

var (
	refused = Event{Kind: EventAcquireFailed, Failure: Failure{Reason: ReasonConnectFailure, Retry: RetryNothingSent}}
	died    = Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamClosed, Retry: RetryUnanswered}}
	unwell  = Event{Kind: EventResponseHead, Head: &message.Head{Status: 503, Minor: 1, KeepAlive: true, Arena: []byte{}}}
	gotNew  = Event{Kind: EventAcquired}
	gotKept = Event{Kind: EventAcquired, Reused: true, Served: true}
	gotWarm = Event{Kind: EventAcquired, Reused: true} // it was opened before anybody asked for it
)

func status503(r *table.Retry) { r.Statuses.Add(503) }

func TestTheClassOfTheFailureDecidesWhetherAnAttemptIsFollowedByAnother(t *testing.T) {
	stream := Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamReset, Retry: RetryRefused}}
	givenUp := Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamReset, Retry: RetryGivenUp}}
	late := Event{Kind: EventResponseHead, Head: &message.Head{Status: 408, Minor: 1, Arena: []byte{}}}
	lateAndKept := Event{Kind: EventResponseHead, Head: &message.Head{Status: 408, Minor: 1, KeepAlive: true, Arena: []byte{}}}
	malformed := Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamMalformed}}
	interim := Event{Kind: EventInterim, Head: &message.Head{Status: 103}}
	data := func(n int) Event { return Event{Kind: EventRequestData, N: n} }
	none := func(r *table.Retry) { r.On = 0 }
	for _, c := range []struct {
		name    string
		method  string
		body    int64 // -1: chunked
		change  func(*table.Retry)
		events  []Event
		retried bool
	}{
		{"connect failure", "POST", 10, nil, []Event{refused}, true},
		{"connect failure, not asked for", "GET", 0, none, []Event{refused}, false},
		{"kept connection", "GET", 0, nil, []Event{gotKept, died}, true},
		{"kept connection, not asked for: nobody failed", "GET", 0, none, []Event{gotKept, died}, true},
		{"kept connection, one attempt", "GET", 0, func(r *table.Retry) { r.Attempts = 1 }, []Event{gotKept, died}, true},
		{"new connection, one attempt", "GET", 0, func(r *table.Retry) { r.Attempts = 1 }, []Event{gotNew, died}, false},
		{"reset", "GET", 0, nil, []Event{gotNew, died}, true},
		{"reset, not asked for", "GET", 0, none, []Event{gotNew, died}, false},
		{"reset, POST", "POST", 0, nil, []Event{gotKept, died}, false},
		{"reset, POST, told", "POST", 0, func(r *table.Retry) { r.NonIdempotent = true }, []Event{gotNew, died}, true},
		{"reset, kept body", "PUT", 10, nil, []Event{gotNew, data(10), died}, true},
		{"reset, the longest body that is kept", "PUT", 100, nil, []Event{gotNew, data(100), died}, true},
		{"reset, kept part of a body", "PUT", 10, nil, []Event{gotNew, data(4), died}, true},
		{"reset, body too long to keep, nothing sent of it", "PUT", 101, nil, []Event{gotNew, died}, true},
		{"reset, body too long to keep", "PUT", 101, nil, []Event{gotNew, data(1), died}, false},
		{"reset, chunked", "PUT", -1, nil, []Event{gotNew, data(100), died}, true},
		{"reset, chunked and too long", "PUT", -1, nil, []Event{gotNew, data(100), data(1), died}, false},
		{"reset, trailers", "PUT", -1, nil, []Event{gotNew, data(1), {Kind: EventRequestEnd, N: 9}, died}, false},
		{"reset after a 103", "GET", 0, nil, []Event{gotNew, interim, died}, false},
		{"refused stream, POST", "POST", 0, nil, []Event{gotNew, stream}, true},
		{"refused stream, POST with a body that is gone", "POST", 10, nil, []Event{gotNew, data(10), stream}, false},
		{"refused stream, not asked for", "GET", 0, none, []Event{gotNew, stream}, false},
		{"stream with an error", "GET", 0, nil, []Event{gotKept, givenUp}, true},
		{"stream with an error, not asked for", "GET", 0, none, []Event{gotKept, givenUp}, false},
		{"stream with an error, POST", "POST", 0, nil, []Event{gotNew, givenUp}, false},
		{"malformed answer", "GET", 0, status503, []Event{gotKept, malformed}, false},
		{"status", "GET", 0, status503, []Event{gotNew, unwell}, true},
		{"status, not asked for", "GET", 0, nil, []Event{gotNew, unwell}, false},
		{"status, POST", "POST", 0, status503, []Event{gotNew, unwell}, false},
		{"408 that crossed with the request", "GET", 0, none, []Event{gotKept, late}, true},
		{"408 that crossed with it on a warm connection", "GET", 0, none, []Event{gotWarm, late}, true},
		{"408 that crossed with a kept body", "PUT", 10, nil, []Event{gotKept, data(10), {Kind: EventRequestEnd}, late}, true},
		{"408 in the middle of a body", "PUT", 10, nil, []Event{gotKept, data(4), late}, false},
		{"408 and POST", "POST", 0, nil, []Event{gotKept, late}, false},
		{"408 on a new connection", "GET", 0, nil, []Event{gotNew, late}, false},
		{"408 on a connection that stays", "GET", 0, nil, []Event{gotKept, lateAndKept}, false},
		{"no policy", "GET", 0, func(r *table.Retry) { *r = table.Retry{} }, []Event{refused}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := testEnv(t, func(_ *table.Listener, r *table.Route) {
				if c.change != nil {
					c.change(r.Retry)
				}
			})
			h := request(c.method, "/")
			switch {
			case c.body > 0:
				h.Framing, h.Length = message.FramingLength, c.body
			case c.body < 0:
				h.Framing = message.FramingChunked
			}
			x, _ := begin(env, h)
			var last Actions
			for _, ev := range c.events {
				last = x.Step(env, 20, ev)
			}
			if retried := last&(ActAcquire|ActWait) != 0; retried != c.retried {
				t.Fatalf("actions %b", last)
			}
			if !c.retried {
				if last&(ActReply|ActForwardHead) == 0 {
					t.Errorf("no answer: %b", last)
				}
				return
			}
			last |= pass(x, env)
			if last&ActAcquire == 0 || x.endpoint != 1 {
				t.Errorf("actions %b, endpoint %d", last, x.endpoint)
			}
			// More failures end it, in the end.
			x.route.Retry.On |= table.RetryOnConnectFailure
			most := x.route.Retry.Attempts
			if x.anew {
				most++
			}
			for again := ActAcquire; again&ActFinish == 0 && x.attempts <= most; {
				again = x.Step(env, x.NextDeadline()-1, refused) | pass(x, env)
			}
			if x.attempts != most {
				t.Errorf("%d attempts, want %d", x.attempts, most)
			}
		})
	}
}

// pass lets the time pass for which an exchange waits.
func pass(x *Exchange, env *Env) Actions {
	if x.State() != StateBackoff {
		return 0
	}
	return x.Step(env, x.NextDeadline(), Event{Kind: EventDeadline})
}

func TestAWaitIsRandomAndBounded(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) { status503(r.Retry); r.Retry.Attempts = 10 })
	for before, most := range []time.Duration{25, 50, 100, 200, 250, 250} {
		most *= time.Millisecond
		var longest time.Duration
		for range 300 {
			x, _ := begin(env, request("GET", "/"))
			for range before {
				x.Step(env, 20, gotNew)
				x.Step(env, 20, unwell)
				pass(x, env)
			}
			x.Step(env, 20, gotNew)
			x.Step(env, 20, unwell)
			longest = max(longest, time.Duration(x.retryAt-20))
		}
		if longest > most || longest < most*8/10 {
			t.Errorf("after %d retries 300 waits are up to %v, bound %v", before, longest, most)
		}
	}
}

func TestARetryAtOnceIsForWhatNeedsNoWait(t *testing.T) {
	for _, c := range []struct {
		name   string
		alone  bool // the endpoint is
		events []Event
		waits  bool
	}{
		{"another endpoint, nothing sent", false, []Event{refused}, false},
		{"no other endpoint, nothing sent", true, []Event{refused}, true},
		{"a kept connection ended", true, []Event{gotKept, died}, false},
		{"a kept connection ended, behind a failure", true, []Event{refused, {Kind: EventDeadline}, gotKept, died}, false},
		{"a new connection ended", false, []Event{gotNew, died}, true},
		{"the second failure", false, []Event{refused, refused}, true},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) {
			r.Retry.Attempts, r.Retry.Backoff = 3, time.Second
			if u := r.Targets[0].Upstream; c.alone {
				u.Endpoints = u.Endpoints[:1]
			}
		})
		x, _ := begin(env, request("GET", "/"))
		var last Actions
		now := int64(20)
		for _, ev := range c.events {
			if ev.Kind == EventDeadline {
				now = x.NextDeadline()
			}
			last = x.Step(env, now, ev)
		}
		if last&ActWait != 0 != c.waits || last&ActAcquire != 0 == c.waits {
			t.Errorf("%s: actions %b", c.name, last)
		}
	}
}

func TestTheBudgetDoesNotStopWhatSentNothing(t *testing.T) {
	env := testEnv(t, nil)
	env.Budget = &budget{}
	x, _ := begin(env, request("GET", "/"))
	if got := x.Step(env, 20, refused); got&(ActAcquire|ActWait) == 0 {
		t.Errorf("actions %b", got)
	}
}

// TestTheBudgetDoesNotStopTheRetryOfAKeptConnectionThatSimplyEnded, but that of one which may
// have worked on the request, and every other.
func TestTheBudgetDoesNotStopTheRetryOfAKeptConnectionThatSimplyEnded(t *testing.T) {
	const at = 20
	for _, c := range []struct {
		name     string
		http2    bool
		acquired Event
		after    int64
		retried  bool
	}{
		{"kept", false, gotKept, keptEnd, true},
		{"kept, and ended late", false, gotKept, keptEnd + 1, false},
		{"new", false, gotNew, 0, false},
		{"kept warm, and never used", false, gotWarm, 0, false},
		{"of HTTP/2, in use", true, Event{Kind: EventAcquired, Reused: true}, 0, false},
		{"of HTTP/2, and idle", true, gotKept, keptEnd, true},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) {
			r.Retry.Attempts, r.Targets[0].Upstream.HTTP2 = 3, c.http2
		})
		spare := &budget{}
		env.Budget = spare
		x, _ := begin(env, request("GET", "/"))
		x.Step(env, at, c.acquired)
		got := x.Step(env, at+c.after, died)
		var r Record
		x.Record(at, &r)
		if retried := got&(ActAcquire|ActWait) != 0; retried != c.retried || r.OverBudget == retried {
			t.Errorf("%s: actions %b, over budget: %v", c.name, got, r.OverBudget)
		}
		if !c.retried {
			continue
		}
		// The second attempt has a connection of its own, whose end is a failure.
		spare.left = 1
		x.Step(env, at+c.after, gotNew)
		if got := x.Step(env, at+c.after, died); got&ActWait == 0 || spare.left != 0 {
			t.Errorf("%s: the second failure: actions %b, %d left of the budget", c.name, got, spare.left)
		}
	}
}

func TestTheBudgetStopsRetriesAndTheRecordSaysSo(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) { status503(r.Retry); r.Retry.Attempts = 5 })
	spare := &budget{left: 1}
	env.Budget = spare
	first, _ := begin(env, request("GET", "/"))
	first.Step(env, 20, gotNew)
	if got := first.Step(env, 20, unwell); got&ActWait == 0 {
		t.Fatalf("actions %b", got)
	}
	// The second exchange finds nothing left. Its answer goes down as it is.
	second, _ := begin(env, request("GET", "/"))
	second.Step(env, 20, gotNew)
	if got := second.Step(env, 20, unwell); got != ActForwardHead {
		t.Fatalf("actions %b", got)
	}
	var r Record
	if second.Record(30, &r); !r.OverBudget || r.Status != 503 || r.Reason != ReasonNone {
		t.Errorf("record %+v", r)
	}
	// All attempts of the first one are one part of the budget, until its answer.
	pass(first, env)
	first.Step(env, first.NextDeadline()-1, refused)
	pass(first, env)
	if spare.left != 0 {
		t.Error("the budget was given back before the end")
	}
	first.Step(env, 20, gotNew)
	first.Step(env, 20, Event{Kind: EventResponseHead, Head: &message.Head{Status: 200, Minor: 1, Arena: []byte{}}})
	if spare.left != 1 {
		t.Error("the budget was not given back with the answer")
	}
	if first.Record(30, &r); r.OverBudget || r.Attempts != 3 {
		t.Errorf("record %+v", r)
	}
}

func TestEachAttemptMayHaveATimeOfItsOwn(t *testing.T) {
	second := int64(time.Second)
	for _, c := range []struct {
		name    string
		method  string
		on      table.RetryOn
		events  []Event
		retried bool
	}{
		{"no answer", "GET", table.RetryOnTimeout, []Event{gotNew}, true},
		{"no answer, POST", "POST", table.RetryOnTimeout, []Event{gotNew}, false},
		{"no answer, not asked for", "GET", table.RetryOnReset, []Event{gotNew}, false},
		{"no connection, POST", "POST", table.RetryOnTimeout, nil, true},
		{"no connection, not asked for", "GET", table.RetryOnReset, nil, false},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Retry.PerTry, r.Retry.On = 2*time.Second, c.on })
		x, _ := begin(env, request(c.method, "/"))
		for _, ev := range c.events {
			x.Step(env, 20, ev)
		}
		if due := x.NextDeadline(); due != 10+2*second {
			t.Errorf("%s: due at %d", c.name, due)
		}
		got := x.Step(env, 10+2*second, Event{Kind: EventDeadline})
		if retried := got&(ActWait|ActAcquire) != 0; retried != c.retried {
			t.Errorf("%s: actions %b", c.name, got)
		}
		var r Record
		if x.Record(0, &r); !c.retried && (r.Reason != ReasonPerTryTimeout || r.Status != 504) {
			t.Errorf("%s: record %+v", c.name, r)
		}
	}
	// An answer that has begun has the request's time.
	env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Retry.PerTry = 2 * time.Second })
	x, _ := begin(env, request("GET", "/"))
	x.Step(env, 20, gotNew)
	x.Step(env, 20, unwell)
	if due := x.NextDeadline(); due != 10+15*second {
		t.Errorf("an answer has until %d", due)
	}
}

func TestTheRequestsTimeBoundsAttemptsAndWaits(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) {
		status503(r.Retry)
		r.Timeout, r.Retry.Attempts, r.Retry.Backoff = time.Second, 10, 10*time.Second
	})
	ended := 0
	for range 100 {
		x, _ := begin(env, request("GET", "/"))
		now := int64(20)
		x.Step(env, now, gotNew)
		last := x.Step(env, now, unwell)
		for last&ActWait != 0 {
			if now = x.NextDeadline(); now >= int64(time.Second) {
				t.Fatal("waits for longer than the request may take")
			}
			pass(x, env)
			x.Step(env, now, gotNew)
			last = x.Step(env, now, unwell)
		}
		if last == ActForwardHead {
			ended++ // what came of the last attempt, rather than a timeout
		}
	}
	if ended != 100 {
		t.Errorf("%d of 100 gave the answer that they had", ended)
	}
}

// chance gives the same bits each time.
type chance uint64

func (c chance) Uint64() uint64 { return uint64(c) }

func TestNothingWaitsUntilItsTimeIsOver(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) {
		status503(r.Retry)
		r.Timeout, r.Retry.Backoff = time.Second, 10*time.Second
	})
	for early, waits := range map[int64]bool{1: true, 0: false} {
		env.Random = chance(0)
		x, _ := begin(env, request("GET", "/"))
		x.Step(env, 20, gotNew)
		env.Random = chance(x.requestDeadline - 20 - early)
		if got := x.Step(env, 20, unwell); got&ActWait != 0 != waits || !waits && got != ActForwardHead {
			t.Errorf("until %d ns before: actions %b", early, got)
		}
	}
}

// TestAnUpstreamThatHasLeftIsNotTriedAgain: what came of the attempt is the answer.
func TestAnUpstreamThatHasLeftIsNotTriedAgain(t *testing.T) {
	for _, c := range []struct {
		got    Event
		want   Actions
		status uint16
		reason Reason
	}{
		{unwell, ActForwardHead, 503, ReasonNone},
		{died, ActAbortUpstream | ActReply | ActFinish, 502, ReasonUpstreamClosed},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { status503(r.Retry) })
		x, _ := begin(env, request("GET", "/"))
		x.Step(env, 20, gotNew)
		env.Table = &table.Table{}
		got := x.Step(env, 20, c.got)
		var r Record
		if x.Record(20, &r); got != c.want || r.Status != c.status || r.Reason != c.reason {
			t.Errorf("actions %b, the record says %d, %s", got, r.Status, r.Reason)
		}
	}
}

func TestARetrySendsTheBodyAgainAsFarAsItCame(t *testing.T) {
	for _, whole := range []bool{false, true} {
		env := testEnv(t, nil)
		h := request("PUT", "/")
		h.Framing = message.FramingChunked
		x, _ := begin(env, h)
		x.Step(env, 20, gotNew)
		if got := x.Step(env, 20, Event{Kind: EventRequestData, N: 7}); got != ActForwardRequest || !x.Keeps() {
			t.Fatalf("actions %b", got)
		}
		want := ActSendHead | ActResend | ActReadRequest
		if whole {
			x.Step(env, 20, Event{Kind: EventRequestEnd})
			want = ActSendHead | ActResend | ActEndRequest
		}
		x.Step(env, 20, died)
		pass(x, env)
		if got := x.Step(env, x.NextDeadline()-1, gotNew); got != want {
			t.Errorf("whole %v: actions %b, want %b", whole, got, want)
		}
		var r Record
		if x.Record(0, &r); r.BytesIn != 7 || r.Attempts != 2 {
			t.Errorf("record %+v", r)
		}
	}
}

func TestARetryAllocatesNothing(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) { status503(r.Retry) })
	h := request("GET", "/a", "Host: Shop.Test:8080")
	x := new(Exchange)
	var out message.Out
	run := func() {
		x.Reset()
		x.Begin(env, h, Arrival{Peer: peer, Start: 5, WallTime: 1000, Now: 10})
		x.Step(env, 20, gotNew)
		x.RequestHead(env, &out)
		x.Step(env, 30, unwell)
		pass(x, env)
		x.Step(env, x.NextDeadline()-1, gotNew)
		x.RequestHead(env, &out)
		x.Step(env, x.NextDeadline()-1, unwell)
		x.ResponseHead(env, unwell.Head, &out)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestARouteWithoutRetryKeepsNothing(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Retry = nil })
	h := request("PUT", "/")
	h.Framing, h.Length = message.FramingLength, 10
	x, _ := begin(env, h)
	x.Step(env, 20, gotKept)
	if x.Step(env, 20, Event{Kind: EventRequestData, N: 10}); x.Keeps() {
		t.Error("the body is kept")
	}
	if got := x.Step(env, 20, died); got&ActReply == 0 {
		t.Errorf("actions %b", got)
	}
}
