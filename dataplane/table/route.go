package table

import (
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// ActionKind is what a route does with a request. Exactly one.
type ActionKind uint8

// The actions.
const (
	ActionForward  ActionKind = iota // Route.Pick
	ActionRedirect                   // Route.Redirect
	ActionRespond                    // Route.Respond
)

// Route is a compiled route. Immutable, and shared between tables while its
// resource and what it refers to stay.
type Route struct {
	// First what a request reads, so that a cold route costs it few cache lines.

	// What it matches; see Index.
	Path       PathMatch
	Conditions *Conditions // nil: none
	Priority   int32

	// What it does.
	Action  ActionKind
	Targets []Target // of ActionForward; at least one, weights not all 0
	Split   balance.Split

	// What it changes. nil: nothing.
	Rewrite         *Rewrite
	RequestHeaders  *HeaderOps
	ResponseHeaders *HeaderOps

	// Tunnel is what the route lets pass as it is; nil: nothing.
	Tunnel *Tunnel
	// Retry is of ActionForward; nil: one attempt, without a limit of its own.
	Retry *Retry
	// Timeout is from the end of the request's head to the end of the answer.
	Timeout time.Duration
	// ForwardRawPath sends the path as the client wrote it.
	ForwardRawPath bool

	// Series is the route's slot in the node's metrics. It is found by the first
	// request, since most routes of a large table have no traffic.
	Series Series

	Name     string
	Redirect *Redirect // of ActionRedirect
	Respond  *Respond  // of ActionRespond

	// Where it lives.
	Listeners []string // sorted; empty: every HTTP and HTTPS listener
	Hosts     []string // normal form, sorted; "*.shop.test" is a wildcard; empty: any host
}

// Series is a slot that is found late, by any loop. The zero value is unknown.
type Series struct{ v atomic.Uint64 }

// Load returns the slot once it is known.
func (s *Series) Load() (slot uint32, known bool) {
	v := s.v.Load()
	return uint32(v), v>>32 != 0
}

// Store makes the slot known.
func (s *Series) Store(slot uint32) { s.v.Store(1<<32 | uint64(slot)) }

// Target is an upstream with its share of a route's requests.
type Target struct {
	Upstream *Upstream
	Weight   uint32
}

// Pick chooses the upstream of one request with 64 random bits. Never nil for
// ActionForward.
func (r *Route) Pick(rnd uint64) *Upstream {
	i := r.Split.Pick(rnd)
	if i < 0 {
		return nil
	}
	return r.Targets[i].Upstream
}

// WithTargets is a copy of r that forwards to other objects of the same upstreams:
// what becomes of a route when only its upstreams changed.
func (r *Route) WithTargets(targets []Target) *Route {
	n := &Route{
		Name: r.Name, Listeners: r.Listeners, Hosts: r.Hosts, Path: r.Path, Priority: r.Priority, Conditions: r.Conditions,
		Action: r.Action, Targets: targets, Split: r.Split, Redirect: r.Redirect, Respond: r.Respond,
		Rewrite: r.Rewrite, RequestHeaders: r.RequestHeaders, ResponseHeaders: r.ResponseHeaders,
		Tunnel: r.Tunnel, Retry: r.Retry, Timeout: r.Timeout, ForwardRawPath: r.ForwardRawPath,
	}
	if slot, known := r.Series.Load(); known {
		n.Series.Store(slot)
	}
	return n
}

// HeaderName is a field name in lower case, with its id if it has one.
type HeaderName struct {
	Name []byte
	ID   message.FieldID
}

// HeaderField is a field line, its name in lower case.
type HeaderField struct {
	Name, Value []byte
	ID          message.FieldID
}

// HeaderOps change a head: remove, then set, then add. Every name is one that a
// route may touch; framing and hop-by-hop fields are not among them. A nil
// *HeaderOps changes nothing.
//
// To apply: leave out each field for which Drops is true, then append Set, then
// Add.
type HeaderOps struct {
	Remove []HeaderName
	Set    []HeaderField
	Add    []HeaderField
}

// Respond is an answer from the node itself.
type Respond struct {
	Status uint16
	Body   []byte
	Fields []HeaderField
}
