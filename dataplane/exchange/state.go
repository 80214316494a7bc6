package exchange

import (
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// All transitions of an exchange that has begun live in this file.

// Step tells the exchange what happened and returns what is to be done.
func (x *Exchange) Step(env *Env, now int64, ev Event) Actions {
	switch ev.Kind {
	case EventClientGone:
		return x.clientGone()
	case EventCut:
		return x.fail(env, now, ev.Failure)
	case EventDeadline:
		return x.deadline(env, now, ev.Queued, ev.Stuck)
	}
	if x.state == StateTunnel {
		return x.inTunnel(now, ev)
	}
	switch ev.Kind {
	case EventRequestData:
		return x.requestData(env, now, ev.N)
	case EventRequestEnd:
		x.requestDone, x.touched = true, now
		x.spent = x.spent || ev.N > 0 // trailers are not kept
		if x.state == StateAcquire && x.bytesIn == 0 && ev.N == 0 && x.ChunkedUp() {
			x.head.Framing, x.head.Declared, x.keep = message.FramingNone, message.FramingNone, false // it has none
		}
		if x.state == StateSend || x.state == StateStream {
			return ActEndRequest
		}
		return 0
	case EventRequestFailed:
		x.close = true
		return x.fail(env, now, ev.Failure)
	}
	switch x.state {
	case StateAcquire:
		return x.inAcquire(env, now, ev)
	case StateSend:
		return x.inSend(env, now, ev)
	case StateStream:
		return x.inStream(now, ev)
	}
	return 0
}

func (x *Exchange) inAcquire(env *Env, now int64, ev Event) Actions {
	switch ev.Kind {
	case EventAcquired:
		x.state = StateSend
		x.reused, x.served = ev.Reused, ev.Served
		x.acquired, x.touched = now, now
		switch x.tunnel {
		case tunnelConnect:
			x.openTunnel(now)
			x.status = 200
			return ActReply | ActJoin
		case tunnelConnection:
			x.openTunnel(now)
			x.status = 200
			x.route, x.upstream = nil, nil
			return ActJoin
		}
		actions := ActSendHead
		if x.attempts > 1 {
			actions = x.resend()
		} else if !x.requestDone {
			actions |= ActReadRequest
		}
		if actions&ActReadRequest != 0 && x.mustContinue() {
			actions |= ActContinue
		}
		return actions
	case EventAcquireFailed:
		return x.fail(env, now, ev.Failure)
	}
	return 0
}

// resend begins the request again, with what is kept of its body.
func (x *Exchange) resend() Actions {
	actions := ActSendHead
	if x.head.Framing != message.FramingNone && x.tunnel == tunnelNone { // an empty body's end would be the tunnel's
		actions |= ActResend
	}
	if !x.requestDone {
		return actions | ActReadRequest
	}
	if actions&ActResend != 0 {
		actions |= ActEndRequest
	}
	return actions
}

func (x *Exchange) inSend(env *Env, now int64, ev Event) Actions {
	switch ev.Kind {
	case EventInterim:
		x.touched = now
		// RFC 9110 section 15.2: an HTTP/1.0 client must not get a 1xx.
		if x.head.Minor == 0 {
			return 0
		}
		x.interim = true
		return ActForwardInterim
	case EventResponseHead:
		if yes, problem := x.agrees(ev.Head); problem != "" {
			return x.fail(env, now, Failure{Reason: ReasonUpstreamMalformed, Detail: problem})
		} else if yes {
			x.openTunnel(now)
			if x.status = 101; x.extended() {
				x.status = 200
			}
			return ActForwardHead | ActJoin
		}
		if x.extended() && ev.Head.Status < 300 { // RFC 8441 section 5: its client would take it for the tunnel
			return x.fail(env, now, Failure{Reason: ReasonUpgradeFailed})
		}
		if ev.Head.Status >= 400 {
			if retry, ok := x.retry(env, now, x.refusal(now, ev.Head)); ok {
				return retry
			}
		}
		x.state = StateStream
		x.headSent, x.keep = true, false
		x.tryDeadline = math.MaxInt64
		x.endRetry()
		x.close = x.close || env.Draining
		x.status = ev.Head.Status
		x.answered, x.touched = now, now
		x.frameDown(ev.Head)
		return ActForwardHead
	case EventUpstreamFailed:
		return x.fail(env, now, ev.Failure)
	}
	return 0
}

func (x *Exchange) inStream(now int64, ev Event) Actions {
	switch ev.Kind {
	case EventResponseData:
		x.bytesOut += uint64(ev.N)
		x.touched = now
		return ActForwardResponse
	case EventResponseEnd:
		x.state = StateDone
		actions := ActEndResponse | ActFinish
		if ev.Reusable && x.requestDone {
			actions |= ActReleaseUpstream
		} else {
			actions |= ActAbortUpstream
		}
		// An answer that came before the request was complete ends the
		// connection: what is left of the body has nowhere to go.
		if x.close || !x.requestDone || x.asksTunnel() {
			actions |= ActCloseClient
		}
		return actions
	case EventUpstreamFailed:
		x.state = StateDone
		x.reason, x.detail = ReasonUpstreamTruncated, ev.Failure.Detail
		return ActAbortUpstream | ActAbortClient | ActFinish
	}
	return 0
}

// inTunnel passes on what comes, and the end of each side to the other. An end
// is told when everything before it has gone, so nothing is lost when both have
// ended.
func (x *Exchange) inTunnel(now int64, ev Event) Actions {
	x.touched = now
	switch ev.Kind {
	case EventRequestData:
		x.bytesIn += uint64(ev.N)
		return ActForwardRequest
	case EventResponseData:
		x.bytesOut += uint64(ev.N)
		return ActForwardResponse
	case EventRequestEnd:
		x.clientEnded, x.detail = true, ev.Failure.Detail
		if !x.upstreamEnded {
			return ActShutUpstream
		}
		x.state = StateDone
		return ActShutUpstream | ActAbortUpstream | ActCloseClient | ActFinish
	case EventResponseEnd:
		x.upstreamEnded = true
		if !x.clientEnded {
			return ActShutClient
		}
		x.state = StateDone
		return ActShutClient | ActAbortUpstream | ActCloseClient | ActFinish
	case EventUpstreamFailed, EventRequestFailed:
		x.state = StateDone
		x.reason, x.detail = ev.Failure.Reason, ev.Failure.Detail
		return ActAbortUpstream | ActAbortClient | ActFinish
	}
	return 0
}

func (x *Exchange) requestData(env *Env, now int64, n int) Actions {
	x.bytesIn += uint64(n)
	x.touched = now
	if x.maxBody >= 0 && x.bytesIn > uint64(x.maxBody) {
		return x.fail(env, now, Failure{Reason: ReasonBodyTooLarge})
	}
	if x.state == StateSend || x.state == StateStream {
		x.keep = x.keep && x.bytesIn <= uint64(x.route.Retry.Buffer)
		x.spent = x.spent || !x.keep
		return ActForwardRequest
	}
	return 0
}

// clientGone ends the exchange without an answer.
func (x *Exchange) clientGone() Actions {
	if x.state == StateDone {
		return 0
	}
	undo := x.letGo()
	x.state = StateDone
	x.endRetry()
	if x.reason == ReasonNone {
		x.reason = ReasonClientGone
	}
	if !x.headSent {
		x.status = statusClientGone
	}
	return undo | ActAbortClient | ActFinish
}

func (x *Exchange) deadline(env *Env, now int64, queued, stuck bool) Actions {
	if x.state == StateDone || now < x.NextDeadline() {
		return 0
	}
	f := Failure{Reason: ReasonStreamIdleTimeout}
	switch {
	case now >= x.requestDeadline:
		f.Reason = ReasonRequestTimeout
	case x.state == StateBackoff:
		return x.nextAttempt(env, now)
	case now >= x.tryDeadline:
		f = Failure{Reason: ReasonPerTryTimeout, Retry: RetryTimedOut}
		if x.state == StateAcquire {
			f.Retry = RetryNothingSent
			x.timedOut = !queued
		}
	case x.state == StateAcquire && queued:
		f = Failure{Reason: ReasonPoolTimeout, Retry: RetryNothingSent}
	case x.state == StateAcquire:
		f = Failure{Reason: ReasonConnectTimeout, Retry: RetryNothingSent}
		x.timedOut = true
	case !x.requestDone && !x.headSent && !stuck:
		f.Reason = ReasonRequestBodyTimeout
	}
	return x.fail(env, now, f)
}

// fail ends the attempt: with another one, with an error answer, or by cutting
// an answer that had begun.
func (x *Exchange) fail(env *Env, now int64, f Failure) Actions {
	if x.state == StateDone {
		return 0
	}
	if !x.headSent {
		if retry, ok := x.retry(env, now, f); ok {
			return retry
		}
	}
	undo := x.letGo()
	if x.headSent || f.Canceled && isGRPC(x.head) {
		x.state = StateDone
		x.endRetry()
		x.reason, x.detail = f.Reason, f.Detail
		if !x.headSent {
			x.status = f.Reason.Status()
		}
		return undo | ActAbortClient | ActFinish
	}
	return undo | x.refuse(f)
}

// letGo gives up what the attempt holds.
func (x *Exchange) letGo() Actions {
	switch x.state {
	case StateAcquire:
		return ActLeaveQueue
	case StateSend, StateStream, StateTunnel:
		return ActAbortUpstream
	}
	return 0
}

// retry makes another attempt, at once or after a wait, if there may be one. The
// failed one is given up; an answer that it has begun is not read.
func (x *Exchange) retry(env *Env, now int64, f Failure) (Actions, bool) {
	if f.leftTable() && x.gone < mostGone {
		x.gone++
	}
	anew := !x.anew && x.keptEnded(now, f)
	if !x.mayRetry(f, anew) {
		return 0, false
	}
	until, ok := x.mayWait(env, now, f, anew)
	if !ok {
		return 0, false
	}
	undo := x.letGo()
	if until > now {
		x.state = StateBackoff
		x.retryAt = until
		return undo | ActWait, true
	}
	return undo | x.nextAttempt(env, now), true
}

// nextAttempt makes another attempt. It avoids the endpoint of the one before.
func (x *Exchange) nextAttempt(env *Env, now int64) Actions {
	u, except := x.nextUpstream(env), x.endpoint
	if u == nil {
		return x.refuse(Failure{Reason: ReasonNoEndpoint})
	}
	if u != x.upstream {
		x.upstream, except = u, -1
	}
	return x.attempt(env, now, except)
}

// attempt picks an endpoint and asks for a connection.
func (x *Exchange) attempt(env *Env, now int64, except int) Actions {
	if x.upstream.HTTP2 && x.tunnel == tunnelUpgrade && x.lacksKey() { // an endpoint would not see it
		return x.refuse(Failure{Reason: ReasonMalformedRequest, Detail: "websocket_key"})
	}
	endpoint, ok := env.Picker.Pick(x.upstream, except)
	x.upName = x.upstream.Name
	if !ok {
		return x.refuse(Failure{Reason: ReasonNoEndpoint})
	}
	x.endpoint, x.viaHTTP2 = endpoint, x.upstream.HTTP2
	x.epName = x.upstream.Endpoints[endpoint].Address
	x.state = StateAcquire
	x.timedOut = false
	x.attempts++
	x.acquireStart, x.acquired = now, 0
	x.connectDeadline = now + int64(x.upstream.ConnectTimeout)
	if r := x.route.Retry; r != nil && r.PerTry > 0 {
		x.tryDeadline = now + int64(r.PerTry)
		x.connectDeadline = min(x.connectDeadline, x.tryDeadline)
	}
	return ActAcquire
}

// refuse answers with an error of our own.
func (x *Exchange) refuse(f Failure) Actions {
	x.reason, x.detail, x.status = f.Reason, f.Detail, f.Status
	return x.reply()
}

// reply answers from the node itself. A request whose body is still to come ends
// its connection.
func (x *Exchange) reply() Actions {
	x.state = StateDone
	x.headSent = true
	x.endRetry()
	if x.status == 0 {
		x.status = x.reason.Status()
	}
	if x.raw { // what would be an answer is not known
		return ActAbortClient | ActFinish
	}
	if !x.requestDone || x.asksTunnel() || (x.reason != ReasonNone && x.reason.Source() == SourceDownstream) {
		x.close = true
	}
	if x.close {
		return ActReply | ActCloseClient | ActFinish
	}
	return ActReply | ActFinish
}
