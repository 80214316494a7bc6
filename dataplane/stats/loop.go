package stats

// Counter is a number that a loop keeps for itself, not for a name.
type Counter uint8

// The counters of a loop. Those that end in Open go up and down.
const (
	// Requests finished, and those of them answered with 5xx. They outlive the
	// listeners that they came through.
	Requests Counter = iota
	Errors
	// ClientsOpen and ServersOpen are connections, to clients and to endpoints.
	ClientsOpen
	ServersOpen
	// ExchangesOpen is how many requests are under way.
	ExchangesOpen
	// Turns of the loop, and those that did not wait because work was ready.
	Turns
	BusyTurns
	// ClientsHandedOver counts connections given to a loop that had fewer.
	ClientsHandedOver
	// AcceptExhausted counts accepts that failed for want of descriptors.
	AcceptExhausted
	// ClientsOverLimit counts connections refused for the listener's limit,
	// ClientsOverCeiling those refused for the node's, ClientsOverShare those refused
	// since their client has as many as one may have, ClientsAtFault those refused since too
	// many of their client's had ended by its fault.
	ClientsOverLimit
	ClientsOverCeiling
	ClientsOverShare
	ClientsAtFault
	// PacketsDropped counts packets that the kernel dropped while clients at fault were kept off a
	// socket: those that begin connections of theirs, and in that time also what was beyond the
	// backlog or behind a reset.
	PacketsDropped
	// ClientsShed counts idle connections closed for want of memory or descriptors.
	ClientsShed
	// SplicedBytes counts bytes of bodies and relays that passed without a copy.
	SplicedBytes
	// Retries counts attempts after the first.
	Retries
	counterCount
)

// Class is the first digit of a status, less one.
type Class uint8

// Classes is how many there are; ClassName gives their names.
const Classes = 5

// ClassOf tells the class of a status; what is no status counts as 5xx.
func ClassOf(status uint16) Class {
	if status < 100 || status > 599 {
		return Classes - 1
	}
	return Class(status/100 - 1)
}

// String is "1xx" to "5xx".
func (c Class) String() string { return string([]byte{'1' + byte(c), 'x', 'x'}) }

// maxReasons bounds the two closed sets of reasons that are counted by number:
// why an exchange ended as it did, and why a codec refused a message.
const maxReasons = 128

// Row layouts. Every family begins with the five classes.
const (
	rowBytesIn  = Classes // of listener, route, upstream
	rowBytesOut = Classes + 1
	rowStopped  = Classes     // of endpoint, which has no bytes
	rowExtra    = Classes + 2 // listener: refused; route: retries; upstream: without an answer

	// Of a listener's and an endpoint's second family.
	rowOpened   = 0
	rowOpen     = 1
	rowFailed   = 2
	rowReused   = 3
	rowTimedOut = 4
)

// cacheLine is two lines of 64 bytes: processors fetch pairs.
const cacheLine = 128

// Loop holds the counters of one loop. Only that loop may call its methods.
type Loop struct {
	_ [cacheLine]byte // what lies before belongs to somebody else

	counters [counterCount]uint64
	reasons  [maxReasons]uint64
	refusals [maxReasons]uint64
	http2    [maxReasons]uint64    // refusals of its codec
	shakes   [2][maxReasons]uint64 // with clients, with endpoints
	late     Histogram
	acquire  Histogram

	listeners, routes, upstreams, endpoints family
	// Connections, apart from requests: they are counted at other times.
	clients, servers family

	_ [cacheLine]byte
}

// Add adds to a counter.
func (l *Loop) Add(c Counter, n uint64) { add(&l.counters[c], n) }

// Sub takes from a counter that goes up and down.
func (l *Loop) Sub(c Counter, n uint64) { add(&l.counters[c], -n) }

// Get reads a counter.
func (l *Loop) Get(c Counter) uint64 { return l.counters[c] }

// Late counts by how much the loop came back later than it should have.
func (l *Loop) Late(nanoseconds int64) { l.late.Observe(nanoseconds) }

// Refused counts a message that a codec refused, by the codec's reason.
func (l *Loop) Refused(listener Slot, reason uint8) {
	add(&l.refusals[reason%maxReasons], 1)
	add(&l.listeners.at(listener).row[rowExtra], 1)
}

// RefusedHTTP2 is Refused for the codec of HTTP/2, whose reasons are others.
func (l *Loop) RefusedHTTP2(listener Slot, reason uint8) {
	add(&l.http2[reason%maxReasons], 1)
	add(&l.listeners.at(listener).row[rowExtra], 1)
}

// Handshake counts how a TLS handshake ended, with a client or with an endpoint.
func (l *Loop) Handshake(endpoint bool, result uint8) {
	side := 0
	if endpoint {
		side = 1
	}
	add(&l.shakes[side][result%maxReasons], 1)
}

// ClientOpened counts an accepted connection, and says for which slot: that of the
// others, where the listener's has a newer name already. ClientClosed wants that one.
func (l *Loop) ClientOpened(listener Slot) Slot {
	add(&l.counters[ClientsOpen], 1)
	return l.clients.opened(listener)
}

// ClientClosed counts the end of a connection. It may be on another loop than
// its beginning: the loops' numbers are added up.
func (l *Loop) ClientClosed(listener Slot) {
	l.Sub(ClientsOpen, 1)
	l.clients.closed(listener)
}

// EndpointOpened counts a connection to an endpoint that was established, and says for
// which slot, as ClientOpened does.
func (l *Loop) EndpointOpened(endpoint Slot) Slot {
	add(&l.counters[ServersOpen], 1)
	return l.servers.opened(endpoint)
}

// EndpointClosed counts the end of a connection to an endpoint.
func (l *Loop) EndpointClosed(endpoint Slot) {
	l.Sub(ServersOpen, 1)
	l.servers.closed(endpoint)
}

// EndpointReused counts a request that found a kept connection.
func (l *Loop) EndpointReused(endpoint Slot) {
	add(&l.servers.at(endpoint).row[rowReused], 1)
}

// ConnectFailed counts a connection that an endpoint did not accept, or not in
// time.
func (l *Loop) ConnectFailed(endpoint Slot, timeout bool) {
	p := l.servers.at(endpoint)
	add(&p.row[rowFailed], 1)
	if timeout {
		add(&p.row[rowTimedOut], 1)
	}
}

// Finish is what is counted of a finished exchange.
type Finish struct {
	Listener, Route, Upstream, Endpoint Slot
	// NoRoute: there is none, whatever Route says. Forwarded: Upstream and Endpoint
	// are meant, even if they are slot 0.
	NoRoute, Forwarded bool
	// Answered: the endpoint sent a response head.
	Answered bool
	Status   uint16
	Reason   uint8 // 0: none
	Retries  uint8
	// Stopped: the retry budget allowed no further attempt.
	Stopped bool

	// Nanoseconds. Duration is that of the whole exchange, Acquire the wait for a
	// connection, FirstByte that for the response's head; 0: not reached.
	Duration, Acquire, FirstByte int64

	BytesIn, BytesOut uint64
}

// Finished counts an exchange.
func (l *Loop) Finished(f *Finish) {
	class := ClassOf(f.Status)
	add(&l.counters[Requests], 1)
	if class == Classes-1 {
		add(&l.counters[Errors], 1)
	}
	if f.Reason != 0 {
		add(&l.reasons[f.Reason%maxReasons], 1)
	}
	if f.Retries != 0 {
		add(&l.counters[Retries], uint64(f.Retries))
	}

	p := l.listeners.at(f.Listener)
	add(&p.row[class], 1)
	add(&p.row[rowBytesIn], f.BytesIn)
	add(&p.row[rowBytesOut], f.BytesOut)
	p.observe(f.Duration)

	if !f.NoRoute {
		p = l.routes.at(f.Route)
		add(&p.row[class], 1)
		add(&p.row[rowBytesIn], f.BytesIn)
		add(&p.row[rowBytesOut], f.BytesOut)
		add(&p.row[rowExtra], uint64(f.Retries))
		p.observe(f.Duration)
	}
	if f.Forwarded {
		l.forwarded(f, class)
	}
}

func (l *Loop) forwarded(f *Finish, class Class) {
	u, e := l.upstreams.at(f.Upstream), l.endpoints.at(f.Endpoint)
	add(&u.row[rowBytesIn], f.BytesIn)
	add(&u.row[rowBytesOut], f.BytesOut)
	if f.Stopped {
		add(&e.row[rowStopped], 1)
	}
	if !f.Answered {
		// The status is ours and not the upstream's.
		add(&u.row[rowExtra], 1)
		add(&e.row[rowExtra], 1)
		return
	}
	add(&u.row[class], 1)
	add(&e.row[class], 1)
	u.observe(f.FirstByte)
	l.acquire.Observe(f.Acquire)
}
