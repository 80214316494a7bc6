// Package explain says what the listeners of a table do with a request that somebody
// describes: which route it gets, and by what the others do not fit. A node's program does so
// for files, a control plane for what is wanted of its nodes.
//
// The request is read by the codec that reads those of clients, and its route is found by
// the code that finds theirs. The package is pure.
package explain

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// maxSteps bounds the steps that are told of one listener. Of a host with a thousand
// regexes each may be one, and so of each wildcard that has the host.
const maxSteps = 1000

// Listeners asks the listeners of t that speak HTTP or HTTPS, or the one that r names. An
// error is one of what r says.
func Listeners(t *table.Table, r api.ExplainRequest) ([]api.ExplainedListener, error) {
	head, peer, err := read(r)
	if err != nil {
		return nil, err
	}
	explained := []api.ExplainedListener{}
	for i := range t.Listeners {
		l := &t.Listeners[i]
		if l.Protocol.CarriesRoutes() && (r.Listener == "" || l.Name == r.Listener) {
			explained = append(explained, ask(l, head, peer))
		}
	}
	if len(explained) == 0 && r.Listener != "" {
		return nil, fmt.Errorf("listener %q: there is none of that name that speaks HTTP or HTTPS", r.Listener)
	}
	return explained, nil
}

// read reads the request as a node reads it from its connection.
func read(r api.ExplainRequest) (head *message.Head, peer netip.Addr, err error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, peer, err
	}
	if u.Host == "" {
		return nil, peer, fmt.Errorf("%q: expected a URL with a host, as http://shop.test/cart", r.URL)
	}
	if r.Client != "" {
		if peer, err = netip.ParseAddr(r.Client); err != nil {
			return nil, peer, fmt.Errorf("client %q: expected an IP address", r.Client)
		}
	}
	method := r.Method
	if method == "" {
		method = "GET"
	}
	lines := append([]string{method + " " + u.RequestURI() + " HTTP/1.1", "Host: " + u.Host}, r.Headers...)
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n") {
			return nil, peer, fmt.Errorf("%q is more than one line", line)
		}
	}
	var reader http1.Reader
	reader.Init(http1.Server, http1.Limits{})
	head = &message.Head{}
	if ev := reader.Next([]byte(strings.Join(lines, "\r\n")+"\r\n\r\n"), head); ev.Kind != http1.Head {
		return nil, peer, fmt.Errorf("a node refuses such a request: %s", ev.Reason)
	}
	return head, peer, nil
}

// ask is what one listener does with the request.
func ask(l *table.Listener, head *message.Head, peer netip.Addr) api.ExplainedListener {
	e := api.ExplainedListener{Name: l.Name, Steps: []api.ExplainedStep{}}
	e.Refused = exchange.Explain(l, head, peer, func(s table.Step) {
		switch {
		case s.Route != nil && s.Failed == table.ClauseNone:
			e.Route, e.Hosts, e.Action = s.Route.Name, s.Class, action(s.Route)
		case len(e.Steps) == maxSteps:
			e.StepsCut++
		case s.Route == nil:
			e.Steps = append(e.Steps, api.ExplainedStep{Hosts: s.Class})
		default:
			e.Steps = append(e.Steps, api.ExplainedStep{Hosts: s.Class, Route: s.Route.Name, Failed: failed(s)})
		}
	})
	switch {
	case e.Refused != "":
		e.Status = 400
	case e.Route == "":
		e.Status = 404
	}
	return e
}

// failed is the field of a route that a request does not fit.
func failed(s table.Step) string {
	field := "match." + s.Failed.String()
	switch s.Failed { // At is of lists that are sorted
	case table.ClauseHeader:
		field += ": " + s.Route.Conditions.Headers[s.At].Name
	case table.ClauseQuery:
		field += ": " + s.Route.Conditions.Query[s.At].Name
	}
	return field
}

// action is what a route does with its requests.
func action(r *table.Route) string {
	switch r.Action {
	case table.ActionRedirect:
		return fmt.Sprintf("redirect %d", r.Redirect.Status)
	case table.ActionRespond:
		return fmt.Sprintf("respond %d", r.Respond.Status)
	default:
		targets := make([]string, len(r.Targets))
		for i, t := range r.Targets {
			targets[i] = t.Upstream.Name
			if len(r.Targets) > 1 {
				targets[i] += fmt.Sprintf("=%d", t.Weight)
			}
		}
		return "forward to " + strings.Join(targets, ", ")
	}
}
