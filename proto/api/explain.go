package api

import (
	"cmp"
	"fmt"
)

// ExplainRequest describes a request that a client might send to a node.
type ExplainRequest struct {
	// URL must have a host. Its scheme and port are not looked at.
	URL string `json:"url"`
	// Method is GET if it is empty.
	Method string `json:"method,omitempty"`
	// Headers are field lines, "Name: value".
	Headers []string `json:"headers,omitempty"`
	// Client is the IP address that the request comes from: the client's, or a trusted
	// proxy's. Empty: one that no clientCIDRs has.
	Client string `json:"client,omitempty"`
	// Listener is the name of the one that is asked; empty: each that speaks HTTP or HTTPS.
	Listener string `json:"listener,omitempty"`
}

// Explanation says which route a request gets, and why it gets no other.
type Explanation struct {
	// Version is the one that is wanted of the nodes, by which this is said.
	Version
	// Listeners are those that were asked, by name; none: none speaks HTTP or HTTPS.
	Listeners []ExplainedListener `json:"listeners"`
}

// Found tells whether there are listeners, and each has a route for the request.
func (e Explanation) Found() bool {
	for _, l := range e.Listeners {
		if l.Route == "" {
			return false
		}
	}
	return len(e.Listeners) > 0
}

// ExplainedListener is what one listener does with a request.
type ExplainedListener struct {
	Name string `json:"name"`
	// Route is the one that is taken; empty: none is, and Status says what is answered.
	Route string `json:"route,omitempty"`
	// Hosts are those of the route by which the request fits; empty: it takes any host.
	Hosts string `json:"hosts,omitempty"`
	// Action is what the route does, for people.
	Action string `json:"action,omitempty"`
	// Status is 404 where there is no route, and 400 where the request is refused before one
	// is looked for, for the reason that Refused is.
	Status  int    `json:"status,omitempty"`
	Refused string `json:"refused,omitempty"`
	// Steps are what was tried before, in order; those beyond the bound are only counted.
	Steps    []ExplainedStep `json:"steps"`
	StepsCut int             `json:"stepsCut,omitempty"`
}

// ExplainedStep is a route that was tried and does not fit, or hosts that no route has.
type ExplainedStep struct {
	// Hosts are those of the routes that were looked at: "shop.test", "*.shop.test", or
	// empty for routes of any host.
	Hosts string `json:"hosts,omitempty"`
	// Route does not fit, by the field Failed; empty: no route has these hosts.
	Route  string `json:"route,omitempty"`
	Failed string `json:"failed,omitempty"`
}

// anyHost stands for the hosts of routes that name none.
const anyHost = "any host"

// Lines is what the listener does with the request, for people, the listener first.
func (l ExplainedListener) Lines() []string {
	lines := []string{"Listener/" + l.Name}
	tell := func(format string, args ...any) { lines = append(lines, "  "+fmt.Sprintf(format, args...)) }
	for _, s := range l.Steps {
		if s.Route == "" {
			tell("%s: no route", cmp.Or(s.Hosts, anyHost))
		} else {
			tell("%s: Route/%s does not fit by %s", cmp.Or(s.Hosts, anyHost), s.Route, s.Failed)
		}
	}
	if l.StepsCut > 0 {
		tell("… and %d more do not fit", l.StepsCut)
	}
	switch {
	case l.Route != "":
		tell("%s: Route/%s is taken: %s", cmp.Or(l.Hosts, anyHost), l.Route, l.Action)
	case l.Refused != "":
		tell("%d: %s", l.Status, l.Refused)
	default:
		tell("%d: no route is left", l.Status)
	}
	return lines
}
