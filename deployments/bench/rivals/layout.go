package rivals

import (
	"fmt"
	"strings"
)

// Layout is the shape of a configuration: how many hosts it has and how many
// routes each of them.
type Layout struct {
	// Hosts 0: one set of routes for any host.
	Hosts int
	// RoutesPerHost 0: one route for every path.
	RoutesPerHost int
}

// Route is one route of a layout.
type Route struct {
	Name string
	Host string // empty: any
	Path string // a prefix
}

// Count is how many routes there are.
func (l Layout) Count() int { return max(l.Hosts, 1) * max(l.RoutesPerHost, 1) }

// HostName is host i of a layout. All have the same length, so that requests
// cost the same to send and to read whatever the layout.
func (l Layout) HostName(i int) string {
	if l.Hosts == 0 {
		return ""
	}
	return fmt.Sprintf("host-%06d.test", i)
}

func (l Layout) path(i int) string {
	if l.RoutesPerHost == 0 {
		return "/"
	}
	return fmt.Sprintf("/route-%06d", i)
}

// Routes are all routes, host after host.
func (l Layout) Routes() []Route {
	routes := make([]Route, 0, l.Count())
	for h := range max(l.Hosts, 1) {
		for p := range max(l.RoutesPerHost, 1) {
			routes = append(routes, Route{Name: fmt.Sprintf("route-%06d", len(routes)), Host: l.HostName(h), Path: l.path(p)})
		}
	}
	return routes
}

// Request is what asks for one route of a layout.
type Request struct{ Host, Path string }

// Requests ask for each route once. A layout without hosts is asked by a host
// name as long as those of the others.
func (l Layout) Requests() []Request {
	requests := make([]Request, 0, l.Count())
	for _, r := range l.Routes() {
		q := Request{Host: r.Host, Path: strings.TrimSuffix(r.Path, "/") + "/item"}
		if q.Host == "" {
			q.Host = "host-000000.test"
		}
		requests = append(requests, q)
	}
	return requests
}
