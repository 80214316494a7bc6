package exchange

import (
	"net/netip"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// Exchange is one request and its answer. The zero value is ready for Begin;
// Reset makes it ready again and keeps its memory. It belongs to one stream.
type Exchange struct {
	state State

	// The request, from Begin on. The head belongs to the stream.
	head   *message.Head
	client netip.AddrPort // the peer, or what a trusted peer said
	peer   netip.AddrPort
	cert   []byte       // for Client-Cert
	local  requestNames // normal forms and ids, in memory of the exchange

	// The route, until the head of the response was sent.
	route    *table.Route
	upstream *table.Upstream
	endpoint int // index in upstream.Endpoints, while upstream is set

	// What remains of them when the answer's head was sent: for the record, for trailers and
	// for errors that come later.
	listener                string
	routeName               string
	upName                  string
	epName                  string
	version                 table.Version
	requestOps, responseOps *table.HeaderOps
	format                  table.ErrorFormat

	// Of Max-Forwards, where it counts; see forwards.go.
	forwards   uint32 // as it came
	forwardsAt int32  // the number of its field in the head, from 1; 0: there is none

	// The request's body.
	maxBody     int64 // -1: no limit
	requestDone bool  // the whole request came from the client
	keep        bool  // what goes up of the body is kept, to be sent again
	spent       bool  // something went up that is not kept

	// The client's connection.
	raw         bool // it carries no requests
	secure      bool // it came by TLS
	trusted     bool // the peer is a proxy whose word counts
	interim     bool // a 1xx of an endpoint went to the client
	continued   bool // so did a 100 of our own
	headSent    bool // the head of an answer went to the client
	chunkedDown bool // the answer goes down chunked
	close       bool // the client's connection ends after this answer

	// The attempt at hand, and those before it.
	attempts   uint8
	gone       uint8 // how many of them ended unbegun, since their endpoint had left the table
	anew       bool  // one of them was made anew, since a kept connection had ended
	reused     bool  // it runs on a connection that was kept
	served     bool  // which has served a request, and had none on its way
	fresh      bool  // the next one wants a new connection
	viaHTTP2   bool  // its endpoint speaks HTTP/2
	timedOut   bool  // it got no connection in time
	overBudget bool  // the node's budget stopped a retry
	// budgeted is the exchange's part of the node's retry budget; nil: none.
	budgeted interface{ EndRetry() }

	// A tunnel.
	tunnel        tunnelKind
	protocol      []byte // of tunnelUpgrade, as the client wrote it: in the head's arena
	opened        bool
	clientEnded   bool // the client sends no more
	upstreamEnded bool

	// How it ends.
	reason   Reason
	detail   string
	status   uint16
	bytesIn  uint64
	bytesOut uint64

	// Clocks, in nanoseconds of the loop's clock; 0: not set.
	startWall       int64
	start           int64 // first byte of the head
	begun           int64 // end of the head
	acquireStart    int64
	acquired        int64
	answered        int64 // response head
	touched         int64 // last byte moved
	requestDeadline int64
	connectDeadline int64
	tryDeadline     int64 // of an attempt, up to the answer's head
	retryAt         int64 // of StateBackoff
	streamIdle      int64 // duration
	tunnelIdle      int64 // duration
}

// requestNames is the memory of an exchange for what it derives from the head.
type requestNames struct {
	path, host []byte // normal forms: alias the head's arena or the scratch
	pathBuf    []byte
	hostBuf    []byte
	options    []byte // of the connection, of an answer that names fields by them
	pathRaw    bool   // path is the very bytes of the head
	requestID  [64]byte
	idLen      uint8
	socketKey  [keyLen]byte // that we asked an endpoint with
}

// Arrival is what the driver knows of a request besides its head.
type Arrival struct {
	Peer     netip.AddrPort
	Start    int64 // loop clock at the first byte
	WallTime int64 // unix nanoseconds at the first byte
	Now      int64 // loop clock at the end of the head
	Secure   bool  // it came by TLS
	// Certificate is the value of Client-Cert (RFC 9440 section 2.2) that goes up;
	// nil: none. It belongs to the connection.
	Certificate []byte
}

// Picker chooses the endpoint of an attempt. It may use state that outlives the
// table (cursors, loads). except is the index that failed in the attempt before,
// or -1; it is avoided where there is another. ok is false when no endpoint takes
// requests.
type Picker interface {
	Pick(u *table.Upstream, except int) (endpoint int, ok bool)
}

// Random gives 64 random bits.
type Random interface{ Uint64() uint64 }

// Env is what the loop lends an exchange for one step: the table of this turn
// and scratch memory. Slices of heads that are built with it are valid until the
// next use of Env.
type Env struct {
	Table    *table.Table
	Listener *table.Listener
	Picker   Picker
	Random   Random
	Budget   RetryBudget
	Draining bool   // kept connections end after the answer at hand
	Stale    bool   // Listener is of an earlier table than Table
	Date     []byte // of now, as RFC 9110 section 5.6.7 writes it

	query   table.Query
	scratch []byte
}

// keptName is what an exchange keeps of a long path's memory, or host's.
const keptName = 8 << 10

// Reset empties x and keeps its memory.
func (x *Exchange) Reset() {
	pathBuf, hostBuf, options := x.local.pathBuf, x.local.hostBuf, x.local.options
	*x = Exchange{}
	if cap(pathBuf) <= keptName {
		x.local.pathBuf = pathBuf[:0]
	}
	if cap(hostBuf) <= keptName {
		x.local.hostBuf = hostBuf[:0]
	}
	if cap(options) <= keptName {
		x.local.options = options[:0]
	}
}

// Upstream is the upstream and endpoint of the attempt at hand; nil where there
// is none or the answer's head was sent.
func (x *Exchange) Upstream() (*table.Upstream, *table.Endpoint) {
	if x.upstream == nil {
		return nil, nil
	}
	return x.upstream, &x.upstream.Endpoints[x.endpoint]
}

// Route is the route of the request, until the head of the answer was sent.
func (x *Exchange) Route() *table.Route { return x.route }

// Fresh says that the attempt at hand must not use a kept connection. A tunnel's never may, unless
// it is asked for by a request.
func (x *Exchange) Fresh() bool {
	return x.fresh || x.tunnel == tunnelConnect || x.tunnel == tunnelConnection
}

// Keeps says that what goes up of the body is to be kept for ActResend. Once it is
// false it stays so, and what was kept is of no use any more.
func (x *Exchange) Keeps() bool { return x.keep }

// TimedOut says that the attempt at hand got no connection in time.
func (x *Exchange) TimedOut() bool { return x.timedOut }

// State is where the exchange is.
func (x *Exchange) State() State { return x.state }

// RequestDone says that the whole request came from the client.
func (x *Exchange) RequestDone() bool { return x.requestDone }

// ChunkedUp and ChunkedDown say that a body goes on its way in chunks.
func (x *Exchange) ChunkedUp() bool { return x.head.Framing == message.FramingChunked }

// ChunkedDown says that the answer's body goes to the client in chunks.
func (x *Exchange) ChunkedDown() bool { return x.chunkedDown }

// Method is the method that an endpoint of HTTP/1.1 gets.
func (x *Exchange) Method() message.Method {
	if x.extended() {
		return message.MethodGet
	}
	return x.head.Method
}

// AwaitsTunnel says that a tunnel was asked for and is not open: what the client
// sends already is to be kept for it.
func (x *Exchange) AwaitsTunnel() bool { return x.tunnel != tunnelNone && x.state != StateTunnel }

// Tunnels says that a tunnel was asked for, or is open: its bytes are no body.
func (x *Exchange) Tunnels() bool { return x.tunnel != tunnelNone }

// Upgrades says that the attempt at hand asks for another protocol.
func (x *Exchange) Upgrades() bool { return x.tunnel == tunnelUpgrade }

// Suits says that the attempt at hand can be made by that version of HTTP. A tunnel is
// asked for in another way by each, and this one's was chosen with the endpoint.
func (x *Exchange) Suits(http2 bool) bool { return x.tunnel == tunnelNone || x.viaHTTP2 == http2 }

// CutTunnel says that the exchange was a tunnel, and one side had not ended when it
// was over.
func (x *Exchange) CutTunnel() bool {
	return x.state == StateDone && x.tunnel != tunnelNone && x.opened && (!x.clientEnded || !x.upstreamEnded)
}

// Touch notes that bytes moved.
func (x *Exchange) Touch(now int64) { x.touched = now }

// NextDeadline is when EventDeadline is due.
func (x *Exchange) NextDeadline() int64 {
	switch {
	case x.state == StateAcquire:
		return min(x.requestDeadline, x.connectDeadline)
	case x.state == StateBackoff:
		return min(x.requestDeadline, x.retryAt)
	case x.state == StateTunnel && !x.clientEnded && !x.upstreamEnded:
		return x.touched + x.tunnelIdle
	}
	return min(x.requestDeadline, x.touched+x.streamIdle, x.tryDeadline)
}

// Record fills r with what is known of the exchange. Its slices belong to x and
// to the head.
func (x *Exchange) Record(now int64, r *Record) {
	h := x.head
	*r = Record{
		StartUnixNano: x.startWall,
		Duration:      now - x.start,
		HeadTime:      x.begun - x.start,
		RequestID:     x.local.requestID[:x.local.idLen],
		Method:        h.Bytes(h.MethodName),
		Host:          x.local.host,
		Path:          x.local.path,
		HTTP2:         h.HTTP2,
		Minor:         h.Minor,
		Raw:           x.raw,
		Client:        x.client,
		Status:        x.status,
		Reason:        x.reason,
		Detail:        x.detail,
		Attempts:      x.attempts,
		OverBudget:    x.overBudget,
		Listener:      x.listener,
		Route:         x.routeName,
		Upstream:      x.upName,
		Endpoint:      x.epName,
		BytesIn:       x.bytesIn,
		BytesOut:      x.bytesOut,
		Epoch:         x.version.Epoch,
		Revision:      x.version.Revision,
	}
	if h.HasQuery {
		r.Query = h.Bytes(h.Query)
	}
	if x.acquired > 0 {
		r.Acquire = x.acquired - x.acquireStart
	}
	if x.answered > 0 && x.acquired > 0 {
		r.FirstByte = max(x.answered-x.acquired, 1)
	}
	for i := range h.Fields {
		switch h.Fields[i].ID {
		case message.FieldUserAgent:
			r.UserAgent = h.Bytes(h.Fields[i].Value)
		case message.FieldTraceparent:
			r.TraceID, r.SpanID = parseTraceparent(h.Bytes(h.Fields[i].Value))
		}
	}
}
