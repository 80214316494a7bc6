package table

import (
	"net/netip"
	"regexp"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// PathKind is how a route's path is matched, in order of precedence.
type PathKind uint8

// The kinds.
const (
	PathExact  PathKind = iota // the whole path
	PathPrefix                 // the path or its beginning up to a segment border
	PathRegex                  // RE2 over the whole path
	PathAny                    // the route says nothing about the path
)

// PathMatch is a route's path, in normal form.
type PathMatch struct {
	Kind  PathKind
	Text  string         // the path, the prefix, or the pattern as written
	Regex *regexp.Regexp // of PathRegex, anchored at both ends
}

// TextKind is how a header's or a query's value is matched.
type TextKind uint8

// The kinds.
const (
	TextPresent TextKind = iota
	TextExact
	TextPrefix
	TextRegex
)

// ValueMatch is a condition on a header or a query parameter. It holds if any
// value of that name fits; Invert turns the answer round, so an inverted one
// holds where the name is absent.
type ValueMatch struct {
	Name   string          // of a header: in lower case
	ID     message.FieldID // of a header's name
	Kind   TextKind
	Invert bool
	Text   string
	Regex  *regexp.Regexp // of TextRegex, anchored at both ends
}

// Conditions are what a route asks for besides host and path. All lists are
// sorted and without repeats, so equal conditions are equal values.
type Conditions struct {
	// Methods is a set of known methods by number; Others are the other tokens.
	Methods uint64
	Others  []string
	Headers []ValueMatch   // all of them
	Query   []ValueMatch   // all of them
	Clients []netip.Prefix // any of them; empty: any address
}
