package exchange

import (
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// A connection of a listener without requests is an exchange too: it has a route,
// attempts, a tunnel and one record. Its statuses, which are logged only, are those
// that nginx's stream module gives: 200 for one that was passed on.

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
