package compile

import (
	"fmt"
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// indexConnections makes the index of a listener that passes connections on: of
// the routes that name it. It is made anew when one of them changed, which also
// holds each against the listener's protocol, whichever of the two changed.
func (c *compiler) indexConnections(l *table.Listener) {
	named, _ := c.built.byListener.Get(l.Name)
	here := func(r *table.Route) bool { return slices.Contains(r.Listeners, l.Name) }
	old := c.prev.Table.Listener(l.Name)
	if old != nil && old.Protocol == l.Protocol && !slices.ContainsFunc(c.removed, here) &&
		!slices.ContainsFunc(c.added, here) && !slices.ContainsFunc(c.replaced, here) {
		l.Routes = old.Routes
		return
	}
	e := new(table.Index).Edit()
	for name := range named.All() {
		r, ok := c.built.routes.Get(name)
		if !ok {
			continue
		}
		if field, got := c.unfit(r, l.Protocol); field != "" {
			c.tell(tree.Key{Kind: resource.Route, Name: name}, field, got,
				fmt.Sprintf("to be left out: listener %s has protocol %s", l.Name, l.Protocol))
			continue
		}
		c.add(e, r, l.Name)
	}
	l.Routes = e.Index()
}

// unfit names what a route asks of requests, or does to them, which a connection
// that is passed on does not have.
func (c *compiler) unfit(r *table.Route, p table.Protocol) (field, got string) {
	conditions, tunnel := r.Conditions, r.Tunnel
	switch {
	case r.Action != table.ActionForward:
		return "spec", "a route that does not forward"
	case len(r.Hosts) > 0 && p != table.ProtocolTLSPassthrough:
		return "spec.hosts", quote(r.Hosts[0])
	case r.Path.Kind != table.PathAny:
		return "spec.match.path", quote(r.Path.Text)
	case conditions != nil && (conditions.Methods != 0 || len(conditions.Others) > 0):
		return "spec.match.methods", "methods"
	case conditions != nil && len(conditions.Headers) > 0:
		return "spec.match.headers", "headers"
	case conditions != nil && len(conditions.Query) > 0:
		return "spec.match.query", "query parameters"
	case r.Rewrite != nil:
		return "spec.rewrite", "a rewrite"
	case r.RequestHeaders != nil:
		return "spec.requestHeaders", "changes of headers"
	case r.ResponseHeaders != nil:
		return "spec.responseHeaders", "changes of headers"
	case r.ForwardRawPath:
		return "spec.forwardRawPath", "true"
	case r.Timeout != c.defaults.timeout:
		return "spec.timeouts.request", r.Timeout.String()
	case len(tunnel.Connect) > 0:
		return "spec.connect", "targets"
	case !slices.Equal(tunnel.Upgrades, c.defaults.tunnel.Upgrades):
		return "spec.upgrades", "protocols"
	}
	for i := range r.Targets { // who speaks HTTP/2 there is the client, and no connection is shared
		if u := r.Targets[i].Upstream; u != nil && u.HTTP2 {
			return "spec.forward", fmt.Sprintf("upstream %s of protocol HTTP2", u.Name)
		}
	}
	return "", ""
}
