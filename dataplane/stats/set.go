package stats

import (
	"iter"
	"sync/atomic"
)

// Limits bound how many names have series of their own; zero fields take the
// default. A loop allocates 128 or 256 bytes for a name that was counted for and
// 3.4 KiB for its histogram (listeners, routes and upstreams have one).
type Limits struct {
	Listeners int // 256
	Routes    int // 4096: 14 MiB a loop when every one of them has traffic
	Upstreams int // 1024
	Endpoints int // 4096
}

func (l Limits) withDefaults() Limits {
	set := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&l.Listeners, 256)
	set(&l.Routes, 4096)
	set(&l.Upstreams, 1024)
	set(&l.Endpoints, 4096)
	return l
}

// Set holds the counters of all loops of a node.
type Set struct {
	// Listeners, Routes, Upstreams and Endpoints give the slots.
	Listeners, Routes, Upstreams, Endpoints *Interner

	loops []*Loop // immutable
}

// New returns the counters of a node with so many loops.
func New(loops int, limits Limits) *Set {
	limits = limits.withDefaults()
	s := &Set{
		Listeners: newInterner(limits.Listeners),
		Routes:    newInterner(limits.Routes),
		Upstreams: newInterner(limits.Upstreams),
		Endpoints: newInterner(limits.Endpoints),
		loops:     make([]*Loop, loops),
	}
	for i := range s.loops {
		s.loops[i] = &Loop{
			listeners: newFamily(s.Listeners.limit),
			routes:    newFamily(s.Routes.limit),
			upstreams: newFamily(s.Upstreams.limit),
			endpoints: newFamily(s.Endpoints.limit),
			clients:   newFamily(s.Listeners.limit),
			servers:   newFamily(s.Endpoints.limit),
		}
	}
	return s
}

// Loop returns the counters of a loop, for that loop.
func (s *Set) Loop(i int) *Loop { return s.loops[i] }

// Loops is the number of loops.
func (s *Set) Loops() int { return len(s.loops) }

// LoopCounter is one loop's counter.
func (s *Set) LoopCounter(loop int, c Counter) uint64 {
	return atomic.LoadUint64(&s.loops[loop].counters[c])
}

// Counter is the sum of a counter over the loops.
func (s *Set) Counter(c Counter) uint64 {
	var sum uint64
	for _, l := range s.loops {
		sum += atomic.LoadUint64(&l.counters[c])
	}
	return sum
}

// Reason is how many exchanges ended for a reason.
func (s *Set) Reason(reason uint8) uint64 {
	var sum uint64
	for _, l := range s.loops {
		sum += atomic.LoadUint64(&l.reasons[reason%maxReasons])
	}
	return sum
}

// Refusal is how many messages a codec refused for a reason.
func (s *Set) Refusal(reason uint8) uint64 {
	var sum uint64
	for _, l := range s.loops {
		sum += atomic.LoadUint64(&l.refusals[reason%maxReasons])
	}
	return sum
}

// RefusalHTTP2 is Refusal for HTTP/2: requests, streams and connections.
func (s *Set) RefusalHTTP2(reason uint8) uint64 {
	var sum uint64
	for _, l := range s.loops {
		sum += atomic.LoadUint64(&l.http2[reason%maxReasons])
	}
	return sum
}

// Handshakes is how many TLS handshakes with clients, or with endpoints, ended
// with a result.
func (s *Set) Handshakes(endpoint bool, result uint8) uint64 {
	side := 0
	if endpoint {
		side = 1
	}
	var sum uint64
	for _, l := range s.loops {
		sum += atomic.LoadUint64(&l.shakes[side][result%maxReasons])
	}
	return sum
}

// Late is how late the loops came back.
func (s *Set) Late() Distribution {
	var d Distribution
	for _, l := range s.loops {
		d.add(&l.late.sum, &l.late.buckets)
	}
	return d
}

// Acquire is how long exchanges waited for a connection to an endpoint.
func (s *Set) Acquire() Distribution {
	var d Distribution
	for _, l := range s.loops {
		d.add(&l.acquire.sum, &l.acquire.buckets)
	}
	return d
}

// Totals are the requests of one name.
type Totals struct {
	Key
	// Requests by class. Those of an upstream and an endpoint have the status
	// that the endpoint gave.
	Requests          [Classes]uint64
	BytesIn, BytesOut uint64 // of bodies; not of an endpoint
	// Refused is what a listener's codec refused; Retries are a route's;
	// Unanswered are requests to an upstream or endpoint that got no head; Stopped
	// are attempts at an endpoint that no retry followed because of the budget.
	Refused, Retries, Unanswered, Stopped uint64
	// Duration is that of exchanges (listener, route), or the time to the
	// response's head (upstream).
	Duration Distribution
}

// Sum is the number of requests of all classes.
func (t *Totals) Sum() uint64 {
	var sum uint64
	for _, n := range t.Requests {
		sum += n
	}
	return sum
}

// ConnectionTotals are the connections of one listener or endpoint.
type ConnectionTotals struct {
	Key
	Opened, Open uint64
	// Of an endpoint: requests that found a kept connection, connections that
	// failed, and those of them that timed out.
	Reused, Failed, TimedOut uint64
}

// totals walks a family, and skips slot 0 while it is empty.
func (s *Set) totals(in *Interner, of func(*Loop) *family) iter.Seq2[Totals, uint64] {
	return func(yield func(Totals, uint64) bool) {
		for _, name := range in.all() {
			var r row
			t := Totals{Key: name.key}
			for _, l := range s.loops {
				of(l).read(name.slot, &r, &t.Duration)
			}
			if name.slot == 0 && r == (row{}) {
				continue
			}
			copy(t.Requests[:], r[:Classes])
			t.BytesIn, t.BytesOut = r[rowBytesIn], r[rowBytesOut]
			if !yield(t, r[rowExtra]) {
				return
			}
		}
	}
}

// ByListener gives the totals of each listener, in order of names.
func (s *Set) ByListener() iter.Seq[Totals] {
	return each(s.totals(s.Listeners, func(l *Loop) *family { return &l.listeners }),
		func(t *Totals, extra uint64) { t.Refused = extra })
}

// ByRoute gives the totals of each route, in order of names.
func (s *Set) ByRoute() iter.Seq[Totals] {
	return each(s.totals(s.Routes, func(l *Loop) *family { return &l.routes }),
		func(t *Totals, extra uint64) { t.Retries = extra })
}

// ByUpstream gives the totals of each upstream, in order of names.
func (s *Set) ByUpstream() iter.Seq[Totals] {
	return each(s.totals(s.Upstreams, func(l *Loop) *family { return &l.upstreams }),
		func(t *Totals, extra uint64) { t.Unanswered = extra })
}

// ByEndpoint gives the totals of each endpoint, in order of names.
func (s *Set) ByEndpoint() iter.Seq[Totals] {
	return each(s.totals(s.Endpoints, func(l *Loop) *family { return &l.endpoints }),
		func(t *Totals, extra uint64) {
			t.Unanswered = extra
			t.Stopped, t.BytesIn = t.BytesIn, 0 // the same word: see rowStopped
		})
}

func each(totals iter.Seq2[Totals, uint64], set func(*Totals, uint64)) iter.Seq[Totals] {
	return func(yield func(Totals) bool) {
		for t, extra := range totals {
			set(&t, extra)
			if !yield(t) {
				return
			}
		}
	}
}

// ClientConnections gives the connections of each listener, in order of names.
func (s *Set) ClientConnections() iter.Seq[ConnectionTotals] {
	return s.connections(s.Listeners, func(l *Loop) *family { return &l.clients })
}

// ServerConnections gives the connections to each endpoint, in order of names.
func (s *Set) ServerConnections() iter.Seq[ConnectionTotals] {
	return s.connections(s.Endpoints, func(l *Loop) *family { return &l.servers })
}

func (s *Set) connections(in *Interner, of func(*Loop) *family) iter.Seq[ConnectionTotals] {
	return func(yield func(ConnectionTotals) bool) {
		for t := range s.totals(in, of) {
			// The same words under other names.
			c := ConnectionTotals{
				Key:      t.Key,
				Opened:   t.Requests[rowOpened],
				Open:     t.Requests[rowOpen],
				Failed:   t.Requests[rowFailed],
				Reused:   t.Requests[rowReused],
				TimedOut: t.Requests[rowTimedOut],
			}
			if !yield(c) {
				return
			}
		}
	}
}
