package table

import "slices"

// Index finds the route of a request among those of a listener. Immutable. The
// zero value has no routes.
type Index struct {
	routes []*Route
}

// Match returns the route that q gets, or nil. It does not allocate.
func (l *Listener) Match(q *Query) *Route { return l.Routes.match(q, nil) }

// Explain reports each step that Match takes for q.
func (l *Listener) Explain(q *Query, report func(Step)) { l.Routes.match(q, report) }

func (x *Index) match(q *Query, report func(Step)) *Route {
	for _, r := range x.routes {
		if len(r.Hosts) > 0 && !slices.Contains(r.Hosts, string(q.Host)) {
			continue
		}
		failed, at := r.fits(q)
		if report != nil {
			report(Step{Class: string(q.Host), Route: r, Failed: failed, At: at})
		}
		if failed == ClauseNone {
			return r
		}
	}
	return nil
}
