package exchange

import (
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// A connection of a listener without requests is an exchange too: it has a route,
// attempts, a tunnel and one record. Its statuses, which are logged only, are those
// that nginx's stream module gives: 200 for one that was passed on.

// BeginConnection starts the exchange of a connection that carries no requests:
// all of it goes to an endpoint. name is the server that its client asks for, if
// that is known. The head is empty.
func (x *Exchange) BeginConnection(env *Env, head *message.Head, in Arrival, name []byte) Actions {
	x.connection(env, head, in)
	x.name(name)
	route := x.match(env)
	if route == nil || route.Action != table.ActionForward || route.Tunnel == nil {
		return x.refuse(Failure{Reason: ReasonNoRoute})
	}
	x.route, x.routeName = route, route.Name
	x.tunnel = tunnelConnection
	x.streamIdle, x.tunnelIdle = int64(env.Listener.Timeouts.StreamIdle), int64(route.Tunnel.Idle)
	return x.forward(env, in.Now)
}

// RefuseConnection starts, and ends, the exchange of a connection that is closed
// before it carried anything. Nothing is answered: what the client speaks is not
// known yet. The head is empty.
func (x *Exchange) RefuseConnection(env *Env, head *message.Head, in Arrival, f Failure) Actions {
	x.connection(env, head, in)
	x.state = StateDone
	x.reason, x.detail, x.status = f.Reason, f.Detail, f.Reason.Status()
	return ActAbortClient | ActFinish
}

// name notes the server that the client of a connection asks for. It is valid, and
// may have capital letters.
func (x *Exchange) name(name []byte) {
	if len(name) > 0 {
		x.local.hostBuf = message.AppendLower(x.local.hostBuf[:0], name)
		x.local.host = x.local.hostBuf
	}
}

// noAnswer is the time for an answer of what is never answered.
const noAnswer = math.MaxInt64

// connection fills x for a connection that carries no requests.
func (x *Exchange) connection(env *Env, head *message.Head, in Arrival) {
	x.arrive(env, head, &in)
	x.raw, x.requestDone = true, true
	x.requestDeadline, x.tryDeadline = noAnswer, math.MaxInt64
	x.makeID(env)
}
