package table

import (
	"net/netip"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// Query is a request as the matcher sees it. Host and Path are in normal form
// (message.NormalHost, message.NormalPath). Its slices are borrowed. A Query is
// meant to be kept by its loop and filled again: it owns the scratch memory in
// which values of the query string are decoded, so that Match does not allocate.
type Query struct {
	Method     message.Method
	MethodName []byte // read where Method is message.MethodOther
	Host       []byte
	Path       []byte // empty for CONNECT and "OPTIONS *"
	RawQuery   []byte // without the "?"
	HasQuery   bool
	Head       *message.Head // for header matches; nil: a request without fields
	Client     netip.Addr
	Untrusted  bool // hides fields that only a trusted proxy may send

	scratch []byte // owned by the Query; grows to the longest decoded value
}

// Clause is a part of what a route asks for.
type Clause uint8

// The clauses, in the order in which they are tried. ClauseNone says that none
// failed: the route matched.
const (
	ClauseNone Clause = iota
	ClausePath
	ClauseMethod
	ClauseHeader
	ClauseQuery
	ClauseClient
)

// String is the clause as the route's YAML names it.
func (c Clause) String() string {
	switch c {
	case ClauseNone:
		return "none"
	case ClausePath:
		return "path"
	case ClauseMethod:
		return "methods"
	case ClauseHeader:
		return "headers"
	case ClauseQuery:
		return "query"
	case ClauseClient:
		return "clientCIDRs"
	}
	return "unknown"
}

// Step is one thing that the matcher looked at.
type Step struct {
	// Class is the host class: "shop.test", "*.shop.test", or "" for the routes
	// of any host.
	Class string
	// Route is the candidate; nil says that no route has this class.
	Route *Route
	// Failed is the clause that the request does not fit; ClauseNone if the route
	// matched.
	Failed Clause
	// At is the index of the header or query match that failed.
	At int
}
