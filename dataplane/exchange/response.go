package exchange

import (
	"strconv"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// This file builds the heads that go down: the endpoint's, and our own.

var (
	nameContentType = []byte("content-type")
	nameDate        = []byte("date")
	nameExpect      = []byte("expect")
	nameLocation    = []byte("location")
	nameProxyStatus = []byte("proxy-status")
	nameRetryAfter  = []byte("retry-after")
	retryAfter      = []byte("1")
	typeText        = []byte("text/plain; charset=utf-8")
	typeHTML        = []byte("text/html; charset=utf-8")
	typeProblem     = []byte("application/problem+json")
)

// frameDown decides how the body goes down. A body of unknown length goes in
// chunks to HTTP/1.1 and until close to HTTP/1.0 (RFC 9112 section 6).
func (x *Exchange) frameDown(h *message.Head) {
	switch h.Framing {
	case message.FramingChunked, message.FramingUntilClose:
		if x.head.Minor == 0 {
			x.close = true
		} else {
			x.chunkedDown = true
		}
	}
}

// ResponseHead builds the head that goes down from the endpoint's. It is the
// last use of the route. Valid until env is used again.
func (x *Exchange) ResponseHead(env *Env, h *message.Head, out *message.Out) {
	out.Reset()
	env.scratch = env.scratch[:0]
	out.Status = h.Status
	out.Minor = x.head.Minor
	out.Close = x.close
	out.Framing, out.Length = h.Framing, h.Length
	switch {
	case x.chunkedDown:
		out.Framing = message.FramingChunked
	case h.Framing == message.FramingChunked:
		out.Framing = message.FramingUntilClose
	case h.Framing == message.FramingNone && (h.Status == 304 || x.head.Method == message.MethodHead) && (h.Declared == message.FramingLength || x.head.Minor > 0):
		out.Framing = h.Declared // HEAD and 304: what the fields say, and no body
	}
	if x.state == StateTunnel {
		x.switched(env, out)
	}
	ops := x.route.ResponseHeaders
	dated := out.Status < 200
	for i := range h.Fields {
		f := &h.Fields[i]
		dated = dated || f.ID == message.FieldDate
		if dropsDown(f.ID) || x.dropsKey(f.ID) {
			continue
		}
		name := h.Bytes(f.Name)
		if h.Named && h.NamedByConnection(name) {
			continue
		}
		if ops != nil && ops.Drops(name, f.ID) {
			continue
		}
		out.Pass(h, f)
	}
	if !dated && !ops.Drops(nameDate, message.FieldDate) && !ops.Adds(message.FieldDate) { // RFC 9110 section 6.6.1
		out.Add(nameDate, env.Date)
	}
	addOps(ops, out)
	if h.Named { // of its trailers too
		x.local.options = h.AppendConnection(x.local.options[:0])
	}
	x.route, x.upstream = nil, nil
}

// mustContinue says, once, that the client waits for a 100 that no endpoint will send: the route
// does not let its expectation go up. Then we are as a proxy whose next server knows of none (RFC
// 9110 section 10.1.1). It says nothing about the answer, so that other attempts may follow.
func (x *Exchange) mustContinue() bool {
	ops := x.route.RequestHeaders
	if !x.head.Expect100 || x.continued || x.bytesIn > 0 || !ops.Drops(nameExpect, message.FieldExpect) || ops.Writes(message.FieldExpect) {
		return false
	}
	x.continued = true
	return true
}

// ContinueHead builds that 100.
func (x *Exchange) ContinueHead(out *message.Out) {
	out.Reset()
	out.Status, out.Minor = 100, x.head.Minor
}

// InterimHead builds a 1xx head that goes down. What the route removes from answers, or sets
// in them, does not stand in one, as in trailers; nothing is added.
func (x *Exchange) InterimHead(h *message.Head, out *message.Out) {
	out.Reset()
	out.Status = h.Status
	out.Minor = x.head.Minor
	for i := range h.Fields {
		f := &h.Fields[i]
		if name := h.Bytes(f.Name); !dropsDown(f.ID) && !h.NamedByConnection(name) && !x.responseOps.Drops(name, f.ID) {
			out.Pass(h, f)
		}
	}
}

// dropsDown says which fields of an answer never go down as they came: those of
// the hop, and those that the codec writes.
func dropsDown(id message.FieldID) bool { return id.HopByHop() || id == message.FieldContentLength }

// Reply builds the head of an answer of our own and returns its body. Valid
// until env is used again.
func (x *Exchange) Reply(env *Env, out *message.Out) (body []byte) {
	if x.state == StateTunnel {
		x.tunnelReply(env, out)
		return nil
	}
	out.Reset()
	env.scratch = env.scratch[:0]
	out.Minor, out.Close = x.head.Minor, x.close
	if !x.routeDates() {
		out.Add(nameDate, env.Date)
	}
	asGRPC := x.reason != ReasonNone && isGRPC(x.head)
	switch {
	case asGRPC:
		x.grpcReply(env, out)
	case x.reason != ReasonNone:
		body = x.errorReply(env, out)
	case x.route.Action == table.ActionRedirect:
		x.redirectReply(env, out)
	default:
		r := x.route.Respond
		x.status, body = r.Status, r.Body
		for i := range r.Fields {
			out.Add(r.Fields[i].Name, r.Fields[i].Value)
		}
	}
	if x.route != nil {
		applyOps(x.route.ResponseHeaders, out)
	}
	x.route, x.upstream = nil, nil
	if asGRPC {
		return nil
	}
	out.Status = x.status
	if x.status == 204 || x.status == 304 { // RFC 9110 section 6.4.1
		return nil
	}
	out.Framing, out.Length = message.FramingLength, int64(len(body))
	if x.head.Method == message.MethodHead {
		return nil
	}
	x.bytesOut = uint64(len(body))
	return body
}

// routeDates says that the route gives an answer of ours its Date. It has one: beside ours there
// would be two (RFC 9110 section 5.3).
func (x *Exchange) routeDates() bool {
	r := x.route
	switch {
	case r == nil:
		return false
	case r.ResponseHeaders.Adds(message.FieldDate):
		return true
	case x.reason != ReasonNone || r.Action != table.ActionRespond:
		return false
	}
	for i := range r.Respond.Fields {
		if r.Respond.Fields[i].ID == message.FieldDate {
			return true
		}
	}
	return false
}

func (x *Exchange) redirectReply(env *Env, out *message.Out) {
	h, r := x.head, x.route.Redirect
	x.status = r.Status
	var query []byte
	if h.HasQuery {
		query = h.Bytes(h.Query)
	}
	start := len(env.scratch)
	env.scratch = r.AppendLocation(env.scratch, x.scheme(), h.Bytes(h.Authority), x.local.path, query, h.HasQuery)
	out.Add(nameLocation, env.scratch[start:])
}

// errorReply says what went wrong in the listener's format, with the request's
// id, so that what a user sees can be found in the log.
func (x *Exchange) errorReply(env *Env, out *message.Out) []byte {
	info := x.reason.info()
	id := x.local.requestID[:x.local.idLen]
	b := env.scratch
	if info.proxy != "" {
		b = append(append(b, "proxyfleet; error="...), info.proxy...)
		out.Add(nameProxyStatus, b)
	}
	out.Add(nameRequestID, id)
	if x.reason == ReasonOverload {
		out.Add(nameRetryAfter, retryAfter)
	}
	start := len(b)
	switch x.format {
	case table.ErrorJSON:
		out.Add(nameContentType, typeProblem)
		b = append(b, `{"type":"about:blank","status":`...)
		b = strconv.AppendUint(b, uint64(x.status), 10)
		b = append(append(append(b, `,"title":"`...), info.code...), `","detail":"`...)
		b = append(append(append(b, info.text...), `","requestId":"`...), id...)
		b = append(b, "\"}\n"...)
	case table.ErrorHTML:
		out.Add(nameContentType, typeHTML)
		b = append(b, "<!doctype html><title>"...)
		b = strconv.AppendUint(b, uint64(x.status), 10)
		b = append(append(b, "</title><p>"...), info.text...)
		b = append(append(append(b, "</p><p>request "...), id...), "</p>\n"...)
	default:
		out.Add(nameContentType, typeText)
		b = strconv.AppendUint(b, uint64(x.status), 10)
		b = append(append(b, ' '), info.text...)
		b = append(append(append(b, "\nrequest "...), id...), '\n')
	}
	env.scratch = b
	return b[start:]
}
