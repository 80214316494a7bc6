// Package accesslog writes one JSON line for each finished exchange.
//
// A Sink belongs to one loop. It appends lines to a buffer without allocating
// and hands full buffers to the Log's writer over a bounded queue. The loop never
// waits: when the queue is full, because the destination is slow or stuck, lines
// are dropped and counted. The writer is one goroutine; it alone touches the
// destination. What a destination refuses, as a full disk does, is dropped and
// counted too, and tried again with the next buffer.
//
// # The line
//
// Keys are fixed and in this order; those in brackets are left out when empty or
// zero. Times are microseconds unless the name says otherwise.
//
//	time          when the first byte of the request was seen, RFC 3339 in UTC
//	request_id
//	[trace_id]    of a valid traceparent
//	[span_id]
//	client        address and port of the peer, or what a trusted peer said
//	method, host, path, [query], protocol   empty where not even that was understood
//	status
//	[reason]      why the answer is not the upstream's: see exchange.Reason
//	[detail]      more of it, constant texts
//	listener, [route], [upstream], [endpoint]
//	[attempts]    connections tried, when more than one
//	[over_budget] true: the retry budget allowed no further attempt
//	bytes_in      of the request's body
//	bytes_out     of the answer's body
//	duration_us   first byte of the request until the last byte of the answer was handed
//	              to the connection; how long a slow client takes to read it is not in it
//	[head_us]     first to last byte of the request's head
//	[acquire_us]  wait for a connection to the endpoint
//	[first_byte_us] head of the request handed to the endpoint's connection, to head of the answer
//	[user_agent]
//	epoch, revision   of the configuration that answered
//
// Host and path are in the normal form that routes and policies see, the query
// is as received. Texts from clients are cut at MaxField bytes. Bytes that are
// not UTF-8 are shown as U+FFFD; control characters, C1 ones included, are
// escaped, so that a line is safe to print on a terminal.
package accesslog
