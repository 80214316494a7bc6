package exchange

import (
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// This file begins the exchanges of requests. Those of connections begin in connection.go.

// Begin starts the exchange of a request whose head is complete.
func (x *Exchange) Begin(env *Env, head *message.Head, in Arrival) Actions {
	x.arrive(env, head, &in)
	l := env.Listener
	x.maxBody = l.Limits.BodyBytes
	x.streamIdle = int64(l.Timeouts.StreamIdle)
	x.requestDeadline = in.Now + int64(l.Timeouts.StreamIdle)
	x.tryDeadline = math.MaxInt64
	x.requestDone = head.Framing == message.FramingNone || (head.Framing == message.FramingLength && head.Length == 0)
	x.close = !head.KeepAlive || env.Draining
	x.identify(env)

	if problem := x.normalise(env); problem != "" {
		return x.refuse(Failure{Reason: ReasonMalformedRequest, Detail: problem})
	}
	if x.maxBody >= 0 && head.Framing == message.FramingLength && head.Length > x.maxBody {
		return x.refuse(Failure{Reason: ReasonBodyTooLarge})
	}
	route := x.match(env)
	if route == nil {
		return x.refuse(Failure{Reason: ReasonNoRoute})
	}
	x.route, x.routeName = route, route.Name
	x.requestOps, x.responseOps = route.RequestHeaders, route.ResponseHeaders
	x.requestDeadline = in.Now + int64(route.Timeout)
	if head.Method == message.MethodConnect && !x.extended() && !x.seekConnect(route.Tunnel) {
		return x.refuse(Failure{Reason: ReasonConnectDenied})
	}
	if route.Action != table.ActionForward {
		if x.asksTunnel() && route.Action == table.ActionRespond && route.Respond.Status/100 == 2 {
			// Its client would take it for the tunnel (RFC 9110 section 9.3.6, RFC 8441 section 5).
			return x.refuse(Failure{Reason: ReasonConnectDenied, Detail: "route_answers"})
		}
		if route.Action == table.ActionRedirect && route.Redirect.NeedsHost() && head.Authority.Len() == 0 {
			// HTTP/1.0 without Host: a URI without one is invalid (RFC 9110 section 4.2.2), and
			// browsers take the beginning of the path for it.
			return x.refuse(Failure{Reason: ReasonMalformedRequest, Detail: "missing_host"})
		}
		return x.reply()
	}
	if f, may := x.countForwards(); !may {
		return x.refuse(f)
	}
	x.seekUpgrade(route.Tunnel)
	if x.extended() && x.tunnel == tunnelNone { // nothing else could be made of it
		return x.refuse(Failure{Reason: ReasonConnectDenied, Detail: "protocol"})
	}
	return x.forward(env, in.Now)
}

// BeginFailed starts, and ends, the exchange of a request whose head could not be
// understood or did not come. The head may be empty.
func (x *Exchange) BeginFailed(env *Env, head *message.Head, in Arrival, f Failure) Actions {
	x.arrive(env, head, &in)
	x.makeID(env)
	return x.refuse(f)
}

// arrive notes what came, and when, on which listener of which table.
func (x *Exchange) arrive(env *Env, head *message.Head, in *Arrival) {
	x.head = head
	x.peer, x.client = in.Peer, in.Peer
	x.secure, x.cert = in.Secure, in.Certificate
	x.start, x.startWall = in.Start, in.WallTime
	x.begun, x.touched = in.Now, in.Now
	x.listener, x.format = env.Listener.Name, env.Listener.ErrorFormat
	x.version = env.Table.Version
}

// forward makes the first attempt at an endpoint of the route.
func (x *Exchange) forward(env *Env, now int64) Actions {
	x.upstream = x.route.Pick(env.Random.Uint64())
	if env.Stale {
		if x.upstream = env.Table.Upstream(x.upstream.Name); x.upstream == nil {
			return x.refuse(Failure{Reason: ReasonNoEndpoint})
		}
	}
	x.keep = x.head.Framing != message.FramingNone && x.keepsBody()
	return x.attempt(env, now, -1)
}
