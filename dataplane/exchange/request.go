package exchange

import (
	"bytes"
	"encoding/hex"
	"net/netip"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// This file reads the request's head and builds the one that goes up.

var (
	slash              = []byte("/")
	asterisk           = []byte("*")
	nameForwardedHost  = []byte("x-forwarded-host")
	nameForwardedFor   = []byte("x-forwarded-for")
	nameForwardedProto = []byte("x-forwarded-proto")
	nameRequestID      = []byte("x-request-id")
	nameClientCert     = []byte("client-cert")
	schemeHTTP         = []byte("http")
	schemeHTTPS        = []byte("https")
)

// normalise brings path and host into the one form that matching, logging and
// forwarding share. It returns what is wrong, or nothing.
func (x *Exchange) normalise(env *Env) string {
	h, names := x.head, &x.local
	raw := h.Bytes(h.Path)
	switch {
	case h.Form == message.FormAsterisk || h.Form == message.FormAuthority:
		names.path = nil
	case len(raw) == 0: // RFC 9112 section 3.2.1: an empty path is sent as "/"
		names.path = slash
	default:
		path, buf, problem := message.NormalPath(raw, names.pathBuf[:0], env.Listener.Path)
		if problem != message.PathOK {
			return problem.String()
		}
		names.path, names.pathBuf = path, buf
		names.pathRaw = &path[0] == &raw[0] && len(path) == len(raw)
	}
	authority := h.Bytes(h.Authority)
	if len(authority) == 0 {
		return "" // HTTP/1.0 without Host: routes of any host
	}
	host, buf, ok := message.NormalHost(authority, names.hostBuf[:0])
	if !ok {
		return "host"
	}
	names.host, names.hostBuf = host, buf
	return ""
}

// match finds the route in the table of this turn.
func (x *Exchange) match(env *Env) *table.Route {
	route := env.Listener.Match(x.asks(env))
	env.query.Head = nil // it belongs to the stream
	return route
}

// asks is what routes are chosen by.
func (x *Exchange) asks(env *Env) *table.Query {
	h, q := x.head, &env.query
	q.Method, q.MethodName = h.Method, h.Bytes(h.MethodName)
	if x.extended() { // a route sees what it would have been in HTTP/1.1
		q.Method, q.MethodName = message.MethodGet, methodGet
	}
	q.Host, q.Path = x.local.host, x.local.path
	q.RawQuery, q.HasQuery = nil, h.HasQuery
	if h.HasQuery {
		q.RawQuery = h.Bytes(h.Query)
	}
	q.Head, q.Client, q.Untrusted = h, x.client.Addr(), !x.trusted
	return q
}

// identify finds out who asks, and gives the request an id: the client's words
// count only if the peer is a trusted proxy.
func (x *Exchange) identify(env *Env) {
	if x.meet(env.Listener); !x.trusted {
		x.makeID(env)
		return
	}
	h := x.head
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == message.FieldXRequestID {
			x.takeID(h.Bytes(f.Value))
		}
	}
	if x.local.idLen == 0 {
		x.makeID(env)
	}
}

// meet finds out whether the peer's word counts, and who the client is by it.
func (x *Exchange) meet(l *table.Listener) {
	if x.trusted = l.Trusts(x.peer.Addr()); !x.trusted {
		return
	}
	if client, ok := forwardedClient(x.head, l); ok {
		x.client = netip.AddrPortFrom(client, 0)
	}
}

// mostForwarded is how much of X-Forwarded-For is believed, from the right: no chain of
// proxies is longer.
const mostForwarded = 16

// forwardedClient is the rightmost address of X-Forwarded-For, whose lines are one list
// (RFC 9110 section 5.3), that is not a trusted proxy's; where all are, the leftmost. An
// element that is no address ends the walk: what stands left of it is hearsay.
func forwardedClient(h *message.Head, l *table.Listener) (client netip.Addr, ok bool) {
	left := mostForwarded
	for i := len(h.Fields) - 1; i >= 0; i-- {
		if h.Fields[i].ID != message.FieldXForwardedFor {
			continue
		}
		for list := h.Bytes(h.Fields[i].Value); len(list) > 0 && left > 0; left-- {
			var element []byte
			if element, list = message.LastElement(list); len(element) == 0 {
				continue
			}
			a, valid := message.ParseAddr(element)
			if !valid {
				return client, ok
			}
			client, ok = a.Unmap(), true
			if !l.Trusts(client) {
				return client, true
			}
		}
	}
	return client, ok
}

// takeID keeps an id that a trusted peer sent, if it is one: up to 64 visible
// characters that need no quoting anywhere.
func (x *Exchange) takeID(id []byte) {
	if len(id) == 0 || len(id) > len(x.local.requestID) {
		return
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return
		}
	}
	x.local.idLen = uint8(copy(x.local.requestID[:], id))
}

// makeID makes an id of 128 random bits.
func (x *Exchange) makeID(env *Env) {
	var raw [16]byte
	a, b := env.Random.Uint64(), env.Random.Uint64()
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	hex.Encode(x.local.requestID[:32], raw[:])
	x.local.idLen = 32
}

// RequestHead builds the head that goes up. Valid until env is used again.
func (x *Exchange) RequestHead(env *Env, out *message.Out) {
	out.Reset()
	env.scratch = env.scratch[:0]
	h := x.head
	out.Method = h.Bytes(h.MethodName)
	if x.extended() {
		out.Method = methodGet
	}
	out.Minor = 1
	out.Framing, out.Length = h.Framing, h.Length
	if h.HTTP2 && out.Framing == message.FramingNone && expectsContent(h.Method) && !x.viaHTTP2 {
		out.Framing, out.Length = message.FramingLength, 0
	}
	out.Target = x.target(env)
	out.Authority = h.Bytes(h.Authority)
	if rw := x.route.Rewrite; rw != nil && len(rw.Host) > 0 {
		out.Authority = rw.Host
	}
	if len(out.Authority) == 0 { // HTTP/1.0 without Host; upstream speaks 1.1
		_, endpoint := x.Upstream()
		start := len(env.scratch)
		if endpoint.Unix != "" {
			env.scratch = append(env.scratch, "localhost"...)
		} else {
			env.scratch = append(env.scratch, endpoint.Address...)
		}
		out.Authority = env.scratch[start:]
	}
	ops := x.route.RequestHeaders
	for i := range h.Fields {
		f := &h.Fields[i]
		if dropsUp(f.ID, x.trusted) || x.dropsKey(f.ID) {
			continue
		}
		if f.ID == message.FieldExpect && h.Minor == 0 { // RFC 9110 section 10.1.1: ignored in HTTP/1.0
			continue
		}
		name := h.Bytes(f.Name)
		if f.ID == message.Unnumbered && !x.trusted && readsAsOurs(name) {
			continue
		}
		if h.Named && h.NamedByConnection(name) {
			continue
		}
		if ops != nil && ops.Drops(name, f.ID) {
			continue
		}
		if i+1 == int(x.forwardsAt) {
			start := len(env.scratch)
			env.scratch = x.appendForwards(env.scratch)
			out.Add(name, env.scratch[start:])
			continue
		}
		out.Pass(h, f)
	}
	x.addForwarded(env, out, ops)
	if x.tunnel == tunnelUpgrade {
		x.addUpgrade(env, out)
	}
	addOps(ops, out)
}

// expectsContent tells whether a request of that method without a body says so in HTTP/1.1 (RFC 9110
// section 8.6), where some servers answer 411 else. HTTP/2 says it by the end of the stream.
func expectsContent(m message.Method) bool {
	return m == message.MethodPost || m == message.MethodPut || m == message.MethodPatch
}

// dropsUp says which fields of a request never go up as they came: those of the
// connection, those that the codec writes, those that we write, and what an
// untrusted peer says about where a request came from.
func dropsUp(id message.FieldID, trusted bool) bool {
	switch id {
	case message.Unnumbered:
		return false
	case message.FieldHost, message.FieldContentLength, message.FieldXRequestID, message.FieldXForwardedFor:
		return true
	}
	return id.HopByHop() || !trusted && id.Hearsay()
}

// readsAsOurs tells whether a name without a number is that of a field which an untrusted peer
// may not send, or an endpoint may take it for one.
func readsAsOurs(name []byte) bool {
	return message.Forwarded(name) || bytes.IndexByte(name, '_') >= 0 && dropsUp(message.LookupDashed(name), false)
}

// addForwarded says where the request came from. What a trusted peer said of
// protocol and host stays; its X-Forwarded-For is continued.
func (x *Exchange) addForwarded(env *Env, out *message.Out, ops *table.HeaderOps) {
	h := x.head
	start := len(env.scratch)
	sawProto, sawHost := false, false
	if x.trusted {
		for i := range h.Fields {
			switch f := &h.Fields[i]; f.ID {
			case message.FieldXForwardedFor:
				env.scratch = append(append(env.scratch, h.Bytes(f.Value)...), ", "...)
			case message.FieldXForwardedProto:
				sawProto = true
			case message.FieldXForwardedHost:
				sawHost = true
			}
		}
	}
	env.scratch = x.peer.Addr().AppendTo(env.scratch)
	add := func(name []byte, id message.FieldID, value []byte) {
		if ops == nil || !ops.Drops(name, id) {
			out.Add(name, value)
		}
	}
	add(nameForwardedFor, message.FieldXForwardedFor, env.scratch[start:])
	if !sawProto {
		proto := schemeHTTP
		if x.secure {
			proto = schemeHTTPS
		}
		add(nameForwardedProto, message.FieldXForwardedProto, proto)
	}
	if authority := h.Bytes(h.Authority); !sawHost && len(authority) > 0 {
		add(nameForwardedHost, message.FieldXForwardedHost, authority)
	}
	if x.cert != nil && !x.trusted {
		add(nameClientCert, message.FieldClientCert, x.cert)
	}
	add(nameRequestID, message.FieldXRequestID, x.local.requestID[:x.local.idLen])
}

// scheme is that of the client's connection.
func (x *Exchange) scheme() string {
	if x.secure {
		return "https"
	}
	return "http"
}

// target is what stands in the request line: the normal form, unless the route
// says otherwise.
func (x *Exchange) target(env *Env) []byte {
	h, names, rw := x.head, &x.local, x.route.Rewrite
	if h.Form == message.FormAsterisk {
		return asterisk
	}
	rewritten := rw != nil && rw.Change != table.PathKeep
	raw := h.Bytes(h.Path)
	if !rewritten && len(raw) > 0 && (names.pathRaw || x.route.ForwardRawPath) {
		if h.HasQuery { // path, "?" and query stand in one piece
			return h.Arena[h.Path.Start:h.Query.End]
		}
		return raw
	}
	start := len(env.scratch)
	if rewritten {
		env.scratch = rw.AppendPath(env.scratch, names.path)
	} else {
		env.scratch = append(env.scratch, names.path...)
	}
	if h.HasQuery {
		env.scratch = append(append(env.scratch, '?'), h.Bytes(h.Query)...)
	}
	return env.scratch[start:]
}

// applyOps does all that a route says to a head that is complete otherwise.
func applyOps(ops *table.HeaderOps, out *message.Out) {
	if ops == nil {
		return
	}
	kept := out.Fields[:0]
	for _, f := range out.Fields {
		if !ops.Drops(f.Name, message.LookupField(f.Name)) {
			kept = append(kept, f)
		}
	}
	out.Fields = kept
	addOps(ops, out)
}

// addOps appends what a route sets and adds.
func addOps(ops *table.HeaderOps, out *message.Out) {
	if ops == nil {
		return
	}
	for i := range ops.Set {
		out.Add(ops.Set[i].Name, ops.Set[i].Value)
	}
	for i := range ops.Add {
		out.Add(ops.Add[i].Name, ops.Add[i].Value)
	}
}

// parseTraceparent returns the ids of a valid traceparent (W3C Trace Context
// section 3.2; section 4.3 says what a version to come may have more), else nothing.
func parseTraceparent(v []byte) (trace, span []byte) {
	if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || len(v) > 55 && v[55] != '-' {
		return nil, nil
	}
	trace, span = v[3:35], v[36:52]
	if !lowerHex(v[:2]) || !lowerHex(trace) || !lowerHex(span) || !lowerHex(v[53:55]) ||
		allZero(trace) || allZero(span) || string(v[:2]) == "ff" || (string(v[:2]) == "00" && len(v) != 55) {
		return nil, nil
	}
	return trace, span
}

func lowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}
