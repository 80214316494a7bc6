package exchange

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestARequestWithoutAHostIsSentToNoneOfThatName: "https:///evil.test" is evil.test to a
// browser. Where the route names the host, or the path alone changes, none is needed.
func TestARequestWithoutAHostIsSentToNoneOfThatName(t *testing.T) {
	for _, c := range []struct {
		redirect table.Redirect
		host     bool
		want     string // Location; empty: 400
	}{
		{table.Redirect{Scheme: "https"}, true, "https://Shop.Test/evil.test"},
		{table.Redirect{Scheme: "https"}, false, ""},
		{table.Redirect{Port: 81}, false, ""},
		{table.Redirect{Scheme: "https", Host: "shop.test"}, false, "https://shop.test/evil.test"},
		{table.Redirect{Change: table.PathReplace, Path: "/new"}, false, "/new"},
	} {
		c.redirect.Status = 301
		env := testEnv(t, func(_ *table.Listener, r *table.Route) {
			r.Action, r.Redirect, r.Targets = table.ActionRedirect, &c.redirect, nil
		})
		h := request("GET", "/evil.test")
		if h.Minor = 0; !c.host {
			h.Authority = message.Span{}
		}
		x, actions := begin(env, h)
		if actions&ActReply == 0 {
			t.Fatalf("actions %b", actions)
		}
		var out message.Out
		x.Reply(env, &out)
		got := ""
		for _, f := range out.Fields {
			if string(f.Name) == "location" {
				got = string(f.Value)
			}
		}
		if status := map[bool]uint16{true: 400, false: 301}[c.want == ""]; out.Status != status || got != c.want {
			t.Errorf("%+v, host %t: %d %q, want %d %q", c.redirect, c.host, out.Status, got, status, c.want)
		}
	}
}
