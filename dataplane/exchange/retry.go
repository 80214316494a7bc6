package exchange

import (
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// This file decides about retries; state.go makes them.

// RetryBudget bounds the retries of a whole node.
type RetryBudget interface {
	// TryRetry begins a retry at an upstream of this turn's table, unless share, in
	// hundredths of a percent, does not allow it. Who got one calls EndRetry once.
	TryRetry(u *table.Upstream, share uint32) (retry interface{ EndRetry() }, ok bool)
}

// maxBackoff is how many times the first wait a later one may be.
const maxBackoff = 10

// keepsBody tells whether the body, which there is, may have to be sent again, and could be.
// That may be where the route allows one attempt only, too: see keptEnded.
func (x *Exchange) keepsBody() bool {
	r, h := x.route.Retry, x.head
	// An endpoint of HTTP/2 may say, when it leaves, that it did nothing (RFC 9113
	// section 6.8): then any request can be sent again.
	return r != nil && (x.repeatable(r) || x.upstream.HTTP2) &&
		(h.Framing != message.FramingLength || h.Length <= int64(r.Buffer))
}

// repeatable tells whether the request may be sent twice, although an endpoint
// may have acted on it (RFC 9110 section 9.2.2).
func (x *Exchange) repeatable(r *table.Retry) bool {
	return r.NonIdempotent || x.Method().Idempotent()
}

// mayRetry tells whether the route lets a failed attempt be followed by another, by the class of
// the failure. Nothing of an answer has gone down. anew says that the attempt is made anew, and
// does not count.
func (x *Exchange) mayRetry(f Failure, anew bool) bool {
	r := x.route.Retry
	if r == nil || x.interim || x.spent || !anew && x.counted() >= r.Attempts {
		return false
	}
	switch f.Retry {
	case RetryNothingSent:
		switch {
		case f.leftTable():
			return true
		case f.Reason == ReasonPerTryTimeout:
			return r.On&(table.RetryOnConnectFailure|table.RetryOnTimeout) != 0
		}
		return r.On&table.RetryOnConnectFailure != 0
	case RetryRefused:
		return r.On&table.RetryOnRefusedStream != 0
	case RetryDeparted:
		return anew || r.On&table.RetryOnRefusedStream != 0
	case RetryUnanswered:
		return (anew || r.On&table.RetryOnReset != 0) && x.repeatable(r)
	case RetryGivenUp:
		return r.On&table.RetryOnReset != 0 && x.repeatable(r)
	case RetryTimedOut:
		return r.On&table.RetryOnTimeout != 0 && x.repeatable(r)
	case RetryAnswered:
		return r.Statuses.Has(f.Status) && x.repeatable(r)
	}
	return false
}

// mayWait tells whether the node's budget allows the retry and the request's time
// the wait before it. From there on the exchange holds its part of the budget.
func (x *Exchange) mayWait(env *Env, now int64, f Failure, anew bool) (until int64, ok bool) {
	u := x.nextUpstream(env)
	if u == nil {
		return 0, false
	}
	r := x.route.Retry
	until = now
	if !anew {
		until += x.wait(env, r, f)
	}
	if until >= x.requestDeadline {
		return 0, false
	}
	if x.budgeted == nil && !x.costsNothing(f, anew) {
		if x.budgeted, ok = env.Budget.TryRetry(u, r.Budget); !ok {
			x.budgeted, x.overBudget = nil, true
			return 0, false
		}
	}
	x.fresh = f.Retry == RetryUnanswered || f.Retry == RetryTimedOut
	x.anew = x.anew || anew
	return until, true
}

// nextUpstream looks the upstream up again: the slots of an earlier table may serve others by now.
// Where a push has taken it away, the request goes where its route leads by now; nil: nowhere. A
// tunnel was allowed, and asked for, by what the route said then.
func (x *Exchange) nextUpstream(env *Env) *table.Upstream {
	if u := env.Table.Upstream(x.upstream.Name); u != nil {
		return u
	}
	l := env.Table.Listener(x.listener)
	if l == nil || x.tunnel != tunnelNone {
		return nil
	}
	r := l.Match(x.asks(env))
	env.query.Head = nil // it belongs to the stream
	if r == nil || r.Name != x.routeName || r.Action != table.ActionForward || r.Retry == nil {
		return nil
	}
	x.route = r
	x.requestOps, x.responseOps = r.RequestHeaders, r.ResponseHeaders
	return r.Pick(env.Random.Uint64())
}

// costsNothing says that a retry takes no part of the budget. An attempt that sent nothing has cost
// the upstream no work, and with one of two endpoints down every second request needs another.
// Nor has one that met a kept connection which had ended: an endpoint that restarts ends hundreds
// of them at a time, whose requests would get 502 for it. Such retries make no storm: each costs
// a connection that has served a request before, so that an upstream which answers nothing has
// none left. Where it has served none, as a warm one, the endpoint may be like that.
func (x *Exchange) costsNothing(f Failure, anew bool) bool {
	return f.Retry == RetryNothingSent || anew && (x.served || f.Retry == RetryDeparted)
}

// keptEnd is how soon the end of a kept connection comes that was on its way when it was used
// again: within a round trip. What ends later may have worked on the request.
const keptEnd = int64(time.Second)

// refusal is what an answer with a status of an error says about another attempt.
func (x *Exchange) refusal(now int64, h *message.Head) Failure {
	if x.crossed(now, h) {
		return Failure{Reason: ReasonUpstreamClosed, Retry: RetryUnanswered}
	}
	return Failure{Retry: RetryAnswered, Status: h.Status}
}

// crossed says that an answer was none to this request, but on its way before it came: of a kept
// connection some endpoints say by 408 that they end it, since no request came in time (RFC 9110
// section 15.5.9). To one that was sent whole it can hardly be an answer, so soon. HTTP/2 has
// GOAWAY for that.
func (x *Exchange) crossed(now int64, h *message.Head) bool {
	return h.Status == 408 && !h.KeepAlive && x.reused && x.requestDone && !x.viaHTTP2 && now-x.acquired <= keptEnd
}

// keptEnded says that the attempt met a kept connection which had ended, as any may at any time
// (RFC 9112 section 9.3.1). Nobody failed, nor did any work: the request is sent anew on another
// connection, which is no attempt that the route counts. That happens once: it has a connection of
// its own then. HTTP/2 says by GOAWAY what was not worked on (RFC 9113 section 6.8); an end without
// it is that of an idle connection only where no other request was on its way.
func (x *Exchange) keptEnded(now int64, f Failure) bool {
	switch f.Retry {
	case RetryDeparted:
		return x.reused
	case RetryUnanswered:
		return x.reused && (x.served || !x.viaHTTP2) && now-x.acquired <= keptEnd
	}
	return false
}

// leftTable says that an attempt waited for an endpoint that a push has taken away, or that is met
// in another way by now. Nobody failed and nothing was tried: the route counts no attempt.
func (f *Failure) leftTable() bool {
	return f.Retry == RetryNothingSent && f.Reason == ReasonNoEndpoint
}

// mostGone is how often that happens to one request before it counts: more often than endpoints are
// taken away, one push after another, while a request waits.
const mostGone = 8

// counted is how many attempts there were that the route counts.
func (x *Exchange) counted() uint8 {
	n := x.attempts - x.gone
	if x.anew {
		n--
	}
	return n
}

// wait is how long the next attempt waits: random from 0, so that clients that
// failed together do not come back together.
func (x *Exchange) wait(env *Env, r *table.Retry, f Failure) int64 {
	made := max(x.counted(), 1)
	if made == 1 && f.Retry == RetryNothingSent && len(x.upstream.Endpoints) > 1 {
		return 0 // waiting would do no good: it goes elsewhere
	}
	most := min(int64(r.Backoff)<<(made-1), int64(r.Backoff)*maxBackoff)
	return int64(env.Random.Uint64() % uint64(max(most, 1)))
}

// endRetry gives back the exchange's part of the budget.
func (x *Exchange) endRetry() {
	if x.budgeted != nil {
		x.budgeted.EndRetry()
		x.budgeted = nil
	}
}
