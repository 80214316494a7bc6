package resource

import (
	"time"

	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// The defaults of the schema, as its comments say. Most are those that users of
// Envoy, HAProxy and nginx expect; idleTimeout is under the 5 s after which many
// servers close their side.
const (
	defaultBacklog           = 4096
	defaultHeaderBytes       = 64 << 10
	defaultHeaderFields      = 100
	defaultRequestHead       = 10 * time.Second
	defaultIdle              = 60 * time.Second
	defaultStreamIdle        = 5 * time.Minute
	defaultKeepAliveIdle     = 60 * time.Second
	defaultKeepAliveInterval = 10 * time.Second
	defaultKeepAliveProbes   = 3
	// defaultPingTimeout is that of Go's HTTP/2 client.
	defaultPingTimeout    = 15 * time.Second
	defaultRequest        = 15 * time.Second
	defaultTunnelIdle     = time.Hour
	defaultAttempts       = 2
	defaultBackoff        = 25 * time.Millisecond
	defaultRetryBudget    = 20.0
	defaultRetryBuffer    = 64 << 10
	defaultConnect        = 5 * time.Second
	defaultMaxConnections = 1024
	defaultMaxIdle        = 256
	defaultPoolIdle       = 4 * time.Second
	defaultRedirect       = 302
)

// WithDefaults is a copy of r in which every field that has a default is set.
// Fields whose default is "none", "any" or "all" stay unset: so do the addresses of
// a listener, the hosts and listeners of a route, the body limit of a listener, the number of requests of
// a pooled connection. Only compile uses it: defaults never reach the hash.
func WithDefaults(r *fleetv1.Resource) *fleetv1.Resource {
	r = proto.CloneOf(r)
	ApplyDefaults(r)
	return r
}

// ApplyDefaults is WithDefaults in place, for whoever owns r and needs it no more as
// the user wrote it. It costs a tenth.
func ApplyDefaults(r *fleetv1.Resource) {
	switch s := r.GetSpec().(type) {
	case *fleetv1.Resource_Listener:
		listenerDefaults(ensure(&s.Listener))
	case *fleetv1.Resource_Route:
		routeDefaults(ensure(&s.Route))
	case *fleetv1.Resource_Upstream:
		upstreamDefaults(ensure(&s.Upstream))
	case *fleetv1.Resource_Node:
		n := ensure(&s.Node)
		setDefault(&n.Cordoned, false)
		setDefault(&n.Drained, false)
		setDefault(&n.Expected, true)
	}
}

func setDefault[T any](field **T, value T) {
	if *field == nil {
		v := value // so that only what is set is allocated
		*field = &v
	}
}

// durationDefault sets a field of nanoseconds.
func durationDefault(field **int64, d time.Duration) { setDefault(field, int64(d)) }

// ensure gives a message that is there, for the defaults in it.
func ensure[T any](field **T) *T {
	if *field == nil {
		*field = new(T)
	}
	return *field
}

func listenerDefaults(l *fleetv1.Listener) {
	setDefault(&l.Backlog, defaultBacklog)
	setDefault(&l.ProxyProtocol, fleetv1.Listener_OFF)
	setDefault(&l.ErrorFormat, fleetv1.Listener_TEXT)
	setDefault(&l.MergeSlashes, false)
	setDefault(&l.EscapedSlashes, fleetv1.Listener_KEEP)
	if l.Tls != nil {
		setDefault(&l.Tls.MinVersion, fleetv1.ListenerTLS_TLS1_2)
		if a := l.Tls.ClientAuth; a != nil {
			setDefault(&a.Required, false)
			setDefault(&a.Forward, false)
		}
	}
	limits := ensure(&l.Limits)
	setDefault(&limits.Header, defaultHeaderBytes)
	setDefault(&limits.HeaderFields, defaultHeaderFields)
	timeouts := ensure(&l.Timeouts)
	durationDefault(&timeouts.RequestHead, defaultRequestHead)
	durationDefault(&timeouts.Idle, defaultIdle)
	durationDefault(&timeouts.StreamIdle, defaultStreamIdle)
	keepAliveDefaults(ensure(&l.TcpKeepAlive))
	pingDefaults(l.Ping)
}

func pingDefaults(p *fleetv1.Ping) {
	if p != nil {
		durationDefault(&p.Timeout, defaultPingTimeout)
	}
}

func keepAliveDefaults(k *fleetv1.KeepAlive) {
	durationDefault(&k.Idle, defaultKeepAliveIdle)
	durationDefault(&k.Interval, defaultKeepAliveInterval)
	setDefault(&k.Probes, defaultKeepAliveProbes)
}

func routeDefaults(r *fleetv1.Route) {
	setDefault(&r.Priority, 0)
	setDefault(&r.ForwardRawPath, false)
	durationDefault(&ensure(&r.Timeouts).Request, defaultRequest)
	durationDefault(&r.Timeouts.TunnelIdle, defaultTunnelIdle)
	if len(r.Upgrades) == 0 && len(r.Forward) > 0 {
		r.Upgrades = []string{"websocket"}
	}
	if len(r.Forward) > 0 {
		retryDefaults(ensure(&r.Retry))
	}
	for _, f := range r.GetForward() {
		setDefault(&f.Weight, 1)
	}
	for _, h := range r.GetMatch().GetHeaders() {
		setDefault(&h.Invert, false)
		if h.Exact == nil && h.Prefix == nil && h.Regex == nil {
			setDefault(&h.Present, true)
		}
	}
	for _, q := range r.GetMatch().GetQuery() {
		setDefault(&q.Invert, false)
		if q.Exact == nil && q.Prefix == nil && q.Regex == nil {
			setDefault(&q.Present, true)
		}
	}
	if r.Redirect != nil {
		setDefault(&r.Redirect.Status, defaultRedirect)
		setDefault(&r.Redirect.KeepQuery, r.Redirect.Path == nil)
	}
}

func retryDefaults(r *fleetv1.Retry) {
	setDefault(&r.Attempts, defaultAttempts)
	if len(r.On) == 0 {
		r.On = []string{"CONNECT_FAILURE", "RESET", "REFUSED_STREAM"}
	}
	durationDefault(&r.Backoff, defaultBackoff)
	setDefault(&r.Budget, defaultRetryBudget)
	setDefault(&r.Buffer, defaultRetryBuffer)
	setDefault(&r.NonIdempotent, false)
}

func upstreamDefaults(u *fleetv1.Upstream) {
	setDefault(&u.Protocol, fleetv1.Upstream_HTTP1)
	setDefault(&ensure(&u.LoadBalancing).Algorithm, fleetv1.LoadBalancing_ROUND_ROBIN)
	durationDefault(&ensure(&u.Timeouts).Connect, defaultConnect)
	for _, e := range u.GetEndpoints() {
		setDefault(&e.Weight, 1)
	}
	if u.Tls != nil {
		setDefault(&u.Tls.SkipVerify, false)
	}
	pool := ensure(&u.Pool)
	setDefault(&pool.MaxConnections, defaultMaxConnections)
	setDefault(&pool.MaxIdle, defaultMaxIdle)
	durationDefault(&pool.IdleTimeout, defaultPoolIdle)
	keepAliveDefaults(ensure(&u.TcpKeepAlive))
	pingDefaults(u.Ping)
}
