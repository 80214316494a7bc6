package exchange

import (
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// This file is about exchanges that become tunnels: what is asked for, and
// whether the route and the endpoint agree. From then on bytes pass as they are,
// in both directions, until both have ended. The transitions are in state.go.

// tunnelKind is what an exchange becomes when the endpoint agrees.
type tunnelKind uint8

const (
	tunnelNone       tunnelKind = iota
	tunnelUpgrade               // another protocol, by 101 or by an extended CONNECT (upgrade.go)
	tunnelConnect               // CONNECT (RFC 9110 section 9.3.6)
	tunnelConnection            // all of a connection
)

var nameUpgrade = []byte("upgrade")

// seekUpgrade notes the protocol that a request asks for, if its route lets it
// pass: the first of those offered. A request with a body asks in vain, as it may:
// the server may ignore the field, and who would switch in the middle of a
// request gains nothing.
func (x *Exchange) seekUpgrade(t *table.Tunnel) {
	h := x.head
	if x.extended() {
		if protocol := h.Bytes(h.Protocol); t != nil && t.AllowsUpgrade(protocol) {
			x.tunnel, x.protocol, x.tunnelIdle = tunnelUpgrade, protocol, int64(t.Idle)
		}
		return
	}
	if !h.Upgrade || !x.requestDone || t == nil || x.tunnel != tunnelNone {
		return
	}
	for i := range h.Fields {
		if h.Fields[i].ID != message.FieldUpgrade {
			continue
		}
		for list := h.Bytes(h.Fields[i].Value); len(list) > 0; {
			var protocol []byte
			protocol, list = message.NextElement(list)
			if len(protocol) > 0 && t.AllowsUpgrade(protocol) {
				x.tunnel, x.protocol, x.tunnelIdle = tunnelUpgrade, protocol, int64(t.Idle)
				return
			}
		}
	}
}

// seekConnect tells whether the route opens a tunnel to the target of a CONNECT.
func (x *Exchange) seekConnect(t *table.Tunnel) bool {
	if t == nil || !t.AllowsConnect(x.local.host, port(x.head.Bytes(x.head.Authority))) {
		return false
	}
	x.tunnel, x.tunnelIdle = tunnelConnect, int64(t.Idle)
	return true
}

// asksTunnel says that a request is a CONNECT, of either kind. Where it opens no
// tunnel its client may have spoken into it already, which must not be read as a
// request (RFC 9931), and leaves its half of a stream of HTTP/2 open, which nobody
// needs (RFC 9113 section 8.1): both end with the answer.
func (x *Exchange) asksTunnel() bool { return x.head.Method == message.MethodConnect }

// port is that of an authority; 0 without a valid one.
func port(authority []byte) uint16 {
	n, digits := uint32(0), 0
	for i := len(authority) - 1; i >= 0 && authority[i] != ':'; i-- {
		digits++
	}
	if digits == 0 || digits > 5 || digits == len(authority) {
		return 0
	}
	for _, c := range authority[len(authority)-digits:] {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + uint32(c-'0')
	}
	if n > math.MaxUint16 {
		return 0
	}
	return uint16(n)
}

// agreed tells whether a 101 switches to the protocol that was asked for, and to
// nothing else.
func (x *Exchange) agreed(h *message.Head) bool {
	if x.tunnel != tunnelUpgrade || !h.Upgrade {
		return false
	}
	found := false
	for i := range h.Fields {
		if h.Fields[i].ID != message.FieldUpgrade {
			continue
		}
		if found || !message.EqualFoldBytes(h.Bytes(h.Fields[i].Value), x.protocol) {
			return false
		}
		found = true
	}
	return found
}

// openTunnel is what every way into StateTunnel does. The route's time for an
// answer is over; the tunnel's own time without a byte begins.
func (x *Exchange) openTunnel(now int64) {
	x.state, x.opened = StateTunnel, true
	x.headSent, x.keep = true, false
	x.tryDeadline = math.MaxInt64
	x.endRetry()
	x.answered, x.touched = now, now
	x.requestDeadline = noAnswer
	x.requestOps, x.responseOps = nil, nil
}

// tunnelReply is the answer to a CONNECT.
func (x *Exchange) tunnelReply(env *Env, out *message.Out) {
	out.Reset()
	out.Status, out.Minor = x.status, x.head.Minor
	out.Add(nameDate, env.Date)
	x.route, x.upstream = nil, nil
}
