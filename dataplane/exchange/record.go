package exchange

import "net/netip"

// Record is what the log and the metrics learn of one finished exchange. Its
// byte slices are borrowed from the stream: they die when the sink returns.
type Record struct {
	StartUnixNano int64 // wall clock, when the first byte of the head was seen

	// Phases in nanoseconds; 0: not reached.
	Duration  int64 // first byte of the head to last byte of the answer queued
	HeadTime  int64 // first byte to end of the request's head
	Acquire   int64 // to get a connection of the last attempt
	FirstByte int64 // request head queued to head of the answer, or to ours for a CONNECT; at least 1

	RequestID []byte
	TraceID   []byte // 32 hex digits of a valid traceparent; else empty
	SpanID    []byte

	Method    []byte
	Host      []byte // normal form
	Path      []byte // normal form
	Query     []byte // as received
	UserAgent []byte
	HTTP2     bool
	Minor     uint8 // of HTTP/1.x
	Raw       bool  // a connection without requests: no method, path or version

	Client   netip.AddrPort // the peer, or what a trusted peer said
	Status   uint16
	Reason   Reason
	Detail   string
	Attempts uint8
	// OverBudget: there was no further attempt because of the retry budget.
	OverBudget bool

	Listener string
	Route    string
	Upstream string
	Endpoint string

	BytesIn  uint64 // body bytes from the client
	BytesOut uint64 // body bytes to the client

	Epoch    uint64
	Revision uint64
}
