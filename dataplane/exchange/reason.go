package exchange

// Reason says why an answer is what it is. It stands in the access log, in the
// metrics and in Proxy-Status (RFC 9209); info is the one table of what each
// means.
type Reason uint8

// The reasons of answers.
const (
	ReasonNone Reason = iota // the upstream's or the route's own answer
	ReasonMalformedRequest
	ReasonBodyTooLarge
	ReasonRequestHeadTimeout
	ReasonRequestBodyTimeout
	ReasonClientGone
	ReasonNoRoute
	ReasonConnectDenied
	ReasonNoEndpoint
	ReasonPoolOverflow
	ReasonPoolTimeout
	ReasonConnectFailure
	ReasonConnectTimeout
	ReasonUpstreamTLS
	ReasonUpstreamClosed
	ReasonUpstreamReset
	ReasonUpstreamMalformed
	ReasonUpstreamTruncated
	ReasonRequestTimeout
	ReasonPerTryTimeout
	ReasonStreamIdleTimeout
	ReasonOverload
	ReasonShutdown
	ReasonProxyUntrusted
	ReasonProxyMissing
	ReasonProxyMalformed
	ReasonHelloMalformed
	ReasonUpgradeFailed
	ReasonMaxForwards
	reasonCount
)

// Source says whose fault a failure is.
type Source uint8

// The sources of failures.
const (
	SourceNone Source = iota
	SourceDownstream
	SourceUpstream
	SourceInternal
)

type reasonInfo struct {
	code   string // in logs and metrics
	status uint16 // answered, or logged where no answer can be given
	source Source
	proxy  string // error type of RFC 9209 section 2.3; empty: none
	text   string // for people
}

// 499 is never sent: it is logged for a client that left, as nginx does.
const statusClientGone = 499

func (r Reason) info() reasonInfo {
	switch r {
	case ReasonNone:
		return reasonInfo{}
	case ReasonMalformedRequest:
		return reasonInfo{"malformed_request", 400, SourceDownstream, "http_request_error", "the request is malformed"}
	case ReasonBodyTooLarge:
		return reasonInfo{"body_too_large", 413, SourceDownstream, "http_request_denied", "the request's body is larger than this listener takes"}
	case ReasonRequestHeadTimeout:
		return reasonInfo{"request_head_timeout", 408, SourceDownstream, "http_request_error", "the request's head took too long"}
	case ReasonRequestBodyTimeout:
		return reasonInfo{"request_body_timeout", 408, SourceDownstream, "http_request_error", "the request's body took too long"}
	case ReasonClientGone:
		return reasonInfo{"client_gone", statusClientGone, SourceDownstream, "", "the client left"}
	case ReasonNoRoute:
		return reasonInfo{"no_route", 404, SourceNone, "", "no route takes this request"}
	case ReasonConnectDenied:
		return reasonInfo{"connect_denied", 403, SourceDownstream, "http_request_denied", "the route opens no tunnel to this target"}
	case ReasonNoEndpoint:
		return reasonInfo{"no_endpoint", 503, SourceUpstream, "destination_unavailable", "no endpoint of the upstream takes requests"}
	case ReasonPoolOverflow:
		return reasonInfo{"pool_overflow", 503, SourceUpstream, "connection_limit_reached", "all connections to the endpoint are in use"}
	case ReasonPoolTimeout:
		return reasonInfo{"pool_timeout", 503, SourceUpstream, "connection_limit_reached", "no connection to the endpoint came free in time"}
	case ReasonConnectFailure:
		return reasonInfo{"connect_failure", 502, SourceUpstream, "connection_refused", "the endpoint did not accept a connection"}
	case ReasonConnectTimeout:
		return reasonInfo{"connect_timeout", 504, SourceUpstream, "connection_timeout", "the endpoint did not answer a connection attempt in time"}
	case ReasonUpstreamTLS:
		return reasonInfo{"upstream_tls", 502, SourceUpstream, "tls_protocol_error", "the TLS handshake with the endpoint failed"}
	case ReasonUpstreamClosed:
		return reasonInfo{"upstream_closed", 502, SourceUpstream, "connection_terminated", "the endpoint closed the connection before it answered"}
	case ReasonUpstreamReset:
		return reasonInfo{"upstream_reset", 502, SourceUpstream, "connection_terminated", "the endpoint reset the connection before it answered"}
	case ReasonUpstreamMalformed:
		return reasonInfo{"upstream_malformed", 502, SourceUpstream, "http_protocol_error", "the endpoint's answer is malformed"}
	case ReasonUpstreamTruncated:
		return reasonInfo{"upstream_truncated", 502, SourceUpstream, "http_response_incomplete", "the endpoint's answer broke off"}
	case ReasonRequestTimeout:
		return reasonInfo{"request_timeout", 504, SourceUpstream, "http_response_timeout", "the answer took longer than the route allows"}
	case ReasonPerTryTimeout:
		return reasonInfo{"per_try_timeout", 504, SourceUpstream, "http_response_timeout", "the endpoint did not answer within the time of one attempt"}
	case ReasonStreamIdleTimeout:
		return reasonInfo{"stream_idle_timeout", 504, SourceUpstream, "http_response_timeout", "no byte moved for too long"}
	case ReasonOverload:
		return reasonInfo{"overload", 503, SourceInternal, "connection_limit_reached", "this node takes no more work at the moment"}
	case ReasonShutdown:
		return reasonInfo{"shutdown", 503, SourceInternal, "proxy_internal_response", "this node is shutting down"}
	case ReasonUpgradeFailed:
		return reasonInfo{"upgrade_failed", 502, SourceUpstream, "http_upgrade_failed", "the endpoint opens no tunnel"}
	case ReasonMaxForwards: // of TRACE another status
		return reasonInfo{"max_forwards", 200, SourceNone, "", "the request goes no further, as its Max-Forwards says"}
	// The statuses of these four stand in the log only: nothing is answered.
	case ReasonHelloMalformed:
		return reasonInfo{"client_hello_malformed", 400, SourceDownstream, "", "the client sent no ClientHello"}
	case ReasonProxyUntrusted:
		return reasonInfo{"proxy_header_untrusted", 403, SourceDownstream, "", "a PROXY header is not taken from this peer"}
	case ReasonProxyMissing:
		return reasonInfo{"proxy_header_missing", 400, SourceDownstream, "", "the peer sent no PROXY header"}
	case ReasonProxyMalformed:
		return reasonInfo{"proxy_header_malformed", 400, SourceDownstream, "", "the peer's PROXY header is malformed"}
	}
	return reasonInfo{"unknown", 500, SourceInternal, "proxy_internal_error", "an internal error"}
}

// String is the code in logs and metrics; empty for ReasonNone.
func (r Reason) String() string { return r.info().code }

// Status is the status that a local answer for r has.
func (r Reason) Status() uint16 { return r.info().status }

// Source says whose fault r is.
func (r Reason) Source() Source { return r.info().source }

// Reasons lists every reason that has a code, for metrics.
func Reasons() []Reason {
	out := make([]Reason, 0, int(reasonCount)-1)
	for r := ReasonNone + 1; r < reasonCount; r++ {
		out = append(out, r)
	}
	return out
}

// RetryClass says what is known of a failed attempt, for whoever decides whether it
// may be made again.
type RetryClass uint8

// The retry classes.
const (
	RetryNever       RetryClass = iota
	RetryNothingSent            // the endpoint saw no byte of the request
	RetryRefused                // the endpoint says that it did nothing (RFC 9113 section 8.7)
	RetryDeparted               // likewise, and it takes leave of the connection (RFC 9113 section 6.8)
	RetryUnanswered             // the connection ended before a byte of the answer
	RetryGivenUp                // so did the request's stream, by an error of the endpoint's; its connection goes on
	RetryTimedOut               // no answer in the time of one attempt
	RetryAnswered               // with a status, which Failure names
)

// Failure is a failed attempt, said where it happened.
type Failure struct {
	Reason Reason
	Retry  RetryClass
	// Status is answered instead of the reason's own; 0: that.
	Status uint16
	// Canceled says that the endpoint gave the stream up by CANCEL.
	Canceled bool
	// Detail is a constant text for the log: the codec's reason, an errno.
	Detail string
}
