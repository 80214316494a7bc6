package exchange

import (
	"bytes"
	"strconv"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// This file says in the form of gRPC what went wrong. A gRPC client that gets an
// answer without grpc-status reports the status of HTTP and nothing else, so an
// error of our own is a trailers-only answer: one field section that ends the
// stream, with the status and what would have been the body ("gRPC over HTTP2",
// Responses, in grpc's doc/PROTOCOL-HTTP2.md).
//
// A call that the endpoint cancels is not such an error. Servers cancel what has
// passed its deadline, often a moment before the client sees that it has: the
// client gets the same CANCEL and makes DEADLINE_EXCEEDED or CANCELLED of it ("Errors",
// there), while UNAVAILABLE would tell it to try again.

var (
	typeGRPC        = []byte("application/grpc")
	nameGRPCStatus  = []byte("grpc-status")
	nameGRPCMessage = []byte("grpc-message")
)

// isGRPC tells whether a request is a gRPC call, of any message format. gRPC-Web
// is something else: its clients read HTTP statuses.
func isGRPC(h *message.Head) bool {
	if !h.HTTP2 {
		return false
	}
	value, _ := h.Value(message.FieldContentType)
	rest, ok := bytes.CutPrefix(value, typeGRPC)
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}

// grpcStatus is the status of gRPC for one of HTTP, by grpc's
// doc/http-grpc-status-mapping.md, which clients go by too.
func grpcStatus(status uint16) uint64 {
	switch status {
	case 400:
		return 13 // INTERNAL
	case 401:
		return 16 // UNAUTHENTICATED
	case 403:
		return 7 // PERMISSION_DENIED
	case 404:
		return 12 // UNIMPLEMENTED
	case 429, 502, 503, 504:
		return 14 // UNAVAILABLE
	}
	return 2 // UNKNOWN
}

// grpcReply is errorReply for a gRPC call. The record keeps the status that an
// HTTP client would have got.
func (x *Exchange) grpcReply(env *Env, out *message.Out) {
	info := x.reason.info()
	out.Add(nameContentType, typeGRPC)
	if info.proxy != "" {
		start := len(env.scratch)
		env.scratch = append(append(env.scratch, "proxyfleet; error="...), info.proxy...)
		out.Add(nameProxyStatus, env.scratch[start:])
	}
	id := x.local.requestID[:x.local.idLen]
	out.Add(nameRequestID, id)
	start := len(env.scratch)
	env.scratch = strconv.AppendUint(env.scratch, grpcStatus(x.status), 10)
	out.Add(nameGRPCStatus, env.scratch[start:])
	// The texts are ASCII without "%", so nothing is to be encoded.
	start = len(env.scratch)
	env.scratch = append(append(append(append(env.scratch, info.text...), " (request "...), id...), ')')
	out.Add(nameGRPCMessage, env.scratch[start:])
	out.Status = 200
}
