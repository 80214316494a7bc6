package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/certificate"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// Warning is about something that is allowed and was hardly meant.
type Warning struct {
	Kind, Name string
	Field      string
	Text       string
}

// String is the warning in one line.
func (w Warning) String() string {
	return fmt.Sprintf("%s/%s: %s: %s", w.Kind, w.Name, w.Field, w.Text)
}

// maxWarnings bounds what one Lint says.
const maxWarnings = 1000

// Lint tells which routes can never get a request (the cases that cost little to
// find), which pairs of routes are told apart by their names alone, which hosts no
// certificate of an HTTPS listener has, which certificates are not good now or end soon,
// and which upstreams get no requests. It looks at everything, so it belongs behind a
// command rather than into the way of a change.
func Lint(r *Result, now time.Time) []Warning {
	l := linter{said: map[string]bool{}}
	for i := range r.Table.Listeners {
		listener := &r.Table.Listeners[i]
		for class, routes := range listener.Routes.All() {
			where := table.HostText(class) + " of listener " + listener.Name
			l.unreachable(class, where, routes)
			l.ties(class, where, routes)
			l.uncovered(class, listener, routes)
			if listener.Path.MergeSlashes {
				l.doubleSlashes(listener.Name, routes)
			}
		}
	}
	for name, pair := range r.certificates.All() {
		if doubt := certificate.Doubt(pair.Leaf, now); doubt != "" {
			l.say(resource.Certificate, name, "spec.chain", "time", doubt)
		}
	}
	for _, u := range r.Table.Upstreams {
		if !slices.ContainsFunc(u.Endpoints, func(e table.Endpoint) bool { return e.Weight > 0 }) {
			l.say(resource.Upstream, u.Name, "spec.endpoints", "weights", "all weights are 0: every request is answered with 503")
		}
	}
	slices.SortFunc(l.warnings, func(a, b Warning) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name), strings.Compare(a.Text, b.Text))
	})
	return l.warnings[:min(len(l.warnings), maxWarnings)]
}

type linter struct {
	warnings []Warning
	said     map[string]bool
}

// say adds a warning, unless one about the same (of another listener, say) was
// added.
func (l *linter) say(kind, name, field, about, text string) {
	if key := kind + "/" + name + "/" + about; !l.said[key] && len(l.warnings) <= 10*maxWarnings {
		l.said[key] = true
		l.warnings = append(l.warnings, Warning{Kind: kind, Name: name, Field: field, Text: text})
	}
}

// unreachable finds the routes of a host class whose every request goes to an
// earlier one that asks for nothing but a path.
func (l *linter) unreachable(class, where string, routes []*table.Route) {
	exact, prefix := map[string]*table.Route{}, map[string]*table.Route{}
	var all *table.Route
	for _, r := range routes {
		by := all
		if by == nil {
			by = prefix["/"]
		}
		if by == nil && r.Path.Kind == table.PathExact {
			by = exact[r.Path.Text]
		}
		if by == nil && r.Path.Kind <= table.PathPrefix {
			by = covering(prefix, r.Path.Text)
		}
		if by != nil {
			l.say(resource.Route, r.Name, "spec.match", "unreachable "+class,
				fmt.Sprintf("never gets a request on %s: Route/%s comes before it and takes them all", where, by.Name))
			continue
		}
		if r.Conditions != nil {
			continue
		}
		switch r.Path.Kind {
		case table.PathExact:
			exact[r.Path.Text] = r
		case table.PathPrefix:
			prefix[r.Path.Text] = r
		case table.PathAny:
			all = r
		}
	}
}

// covering is a route among prefixes that takes path and all below it.
func covering(prefixes map[string]*table.Route, path string) *table.Route {
	for at := len(path); at > 0; at-- {
		if at < len(path) && path[at] != '/' && path[at-1] != '/' {
			continue
		}
		if r := prefixes[path[:at]]; r != nil {
			return r
		}
	}
	return nil
}

// ties finds neighbours that only their names put in order. Equal rank makes one
// run of routes; each is held against the next few.
func (l *linter) ties(class, where string, routes []*table.Route) {
	const window = 8
	for i, a := range routes {
		for _, b := range routes[i+1 : min(i+1+window, len(routes))] {
			if !table.SameRank(a, b) {
				break
			}
			if a.Path.Kind != b.Path.Kind || a.Path.Kind <= table.PathPrefix && a.Path.Text != b.Path.Text || apart(a.Conditions, b.Conditions) {
				continue
			}
			l.say(resource.Route, b.Name, "spec.match", "tie "+class+" "+a.Name, fmt.Sprintf(
				"may fit the same requests on %s as Route/%s, which comes first by its name alone: a priority says what is meant",
				where, a.Name))
		}
	}
}

// apart tells, in the cases that are easy to see, that no request meets both.
func apart(a, b *table.Conditions) bool {
	if a == nil || b == nil {
		return false
	}
	methods := func(c *table.Conditions) bool { return c.Methods != 0 || len(c.Others) > 0 }
	if methods(a) && methods(b) && a.Methods&b.Methods == 0 &&
		!slices.ContainsFunc(a.Others, func(m string) bool { return slices.Contains(b.Others, m) }) {
		return true
	}
	if len(a.Clients) > 0 && len(b.Clients) > 0 && !slices.ContainsFunc(a.Clients, func(p netip.Prefix) bool {
		return slices.ContainsFunc(b.Clients, p.Overlaps)
	}) {
		return true
	}
	return valuesApart(a.Headers, b.Headers) || valuesApart(a.Query, b.Query)
}

// valuesApart: one name must have two values, or be there and not.
func valuesApart(a, b []table.ValueMatch) bool {
	for _, x := range a {
		for _, y := range b {
			if x.Name != y.Name {
				continue
			}
			same := x.Kind == y.Kind && x.Text == y.Text
			if same && x.Invert != y.Invert || !x.Invert && !y.Invert && x.Kind == table.TextExact && y.Kind == table.TextExact && !same {
				return true
			}
		}
	}
	return false
}

// uncovered finds a host class whose clients are shown a certificate of other names.
func (l *linter) uncovered(class string, listener *table.Listener, routes []*table.Route) {
	if listener.TLS == nil || class == "" || listener.TLS.Covers(class) {
		return
	}
	first := listener.TLS.Certificates[0]
	names := slices.Clone(first.Names)
	if len(names) > maxNames {
		names = append(names[:maxNames], "…")
	}
	l.say(resource.Route, routes[0].Name, "spec.hosts", "certificate "+class+" "+listener.Name, fmt.Sprintf(
		"no certificate of listener %s is for %s: clients are shown Certificate/%s, which is for %s",
		listener.Name, table.HostText(class), first.Name, strings.Join(names, ", ")))
}

// maxNames bounds how many names of a certificate a warning has.
const maxNames = 3

func (l *linter) doubleSlashes(listener string, routes []*table.Route) {
	for _, r := range routes {
		if r.Path.Kind <= table.PathPrefix && strings.Contains(r.Path.Text, "//") {
			l.say(resource.Route, r.Name, "spec.match.path", "slashes "+listener,
				fmt.Sprintf("never gets a request on listener %s, which merges slashes", listener))
		}
	}
}
