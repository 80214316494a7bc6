package exchange

import (
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestARequestWhoseUpstreamIsGoneGoesWhereItsRouteLeadsNow with what the route says now, and nowhere if
// the route is gone too, or another one has its place.
func TestARequestWhoseUpstreamIsGoneGoesWhereItsRouteLeadsNow(t *testing.T) {
	gone := Event{Kind: EventAcquireFailed, Failure: Failure{Reason: ReasonNoEndpoint, Retry: RetryNothingSent}}
	agent := table.HeaderField{Name: []byte("x-team"), Value: []byte("storefront")}
	for _, c := range []struct {
		name   string
		fields []string
		change func(*table.Listener, *table.Route)
		events []Event
		goes   bool
	}{
		{"it waits", nil, nil, []Event{gone}, true},
		{"it is tried again", nil, nil, []Event{gotNew, died}, true},
		{"another route", nil, func(_ *table.Listener, r *table.Route) { r.Name = "s" }, []Event{gone}, false},
		{"another path", nil, func(_ *table.Listener, r *table.Route) { r.Path.Text = "/b" }, []Event{gone}, false},
		{"another listener", nil, func(l *table.Listener, _ *table.Route) { l.Name = "other" }, []Event{gone}, false},
		{"it answers by itself", nil, func(_ *table.Listener, r *table.Route) {
			r.Action, r.Respond = table.ActionRespond, &table.Respond{Status: 200}
		}, []Event{gone}, false},
		{"without retries", nil, func(_ *table.Listener, r *table.Route) { r.Retry = nil }, []Event{gone}, false},
		{"a WebSocket", []string{"Upgrade: websocket", "Connection: Upgrade"}, nil, []Event{gone}, false},
	} {
		tunnel := func(r *table.Route) { r.Tunnel = &table.Tunnel{Upgrades: []string{websocket}, Idle: time.Minute} }
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { tunnel(r) })
		now := testEnv(t, func(l *table.Listener, r *table.Route) {
			r.Targets[0].Upstream.Name = "v"
			r.RequestHeaders = &table.HeaderOps{Set: []table.HeaderField{agent}}
			tunnel(r)
			if c.change != nil {
				c.change(l, r)
			}
		})
		h := request("GET", "/a", c.fields...)
		h.Upgrade = len(c.fields) > 0
		x, _ := begin(env, h)
		env.Table = &table.Table{Upstreams: now.Table.Upstreams, Listeners: []table.Listener{*now.Listener}}
		for _, ev := range c.events {
			x.Step(env, 20, ev)
		}
		if pass(x, env); (x.State() == StateAcquire) != c.goes {
			t.Errorf("%s: state %d", c.name, x.State())
			continue
		} else if !c.goes {
			continue
		}
		if u, _ := x.Upstream(); u != now.Table.Upstreams[0] {
			t.Errorf("%s: upstream %q", c.name, u.Name)
		}
		x.Step(env, 30, gotNew)
		var out message.Out
		if x.RequestHead(env, &out); !strings.Contains(outText(&out), "x-team: storefront") {
			t.Errorf("%s: the route before says what the request has", c.name)
		}
		var r Record
		if x.Record(40, &r); r.Upstream != "v" || r.Route != "r" {
			t.Errorf("%s: the record says route %q, upstream %q", c.name, r.Route, r.Upstream)
		}
	}
}
