package compile

import (
	"slices"
	"testing"
	"time"
)

func TestTunnelsAreAsSaid(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t, ground+`
---
{kind: Route, name: more, spec: {hosts: [more.test], upgrades: [websocket, spdy], timeouts: {tunnelIdle: 5s}, forward: [{upstream: api-v1}]}}
---
{kind: Route, name: none, spec: {hosts: [none.test], upgrades: [NONE], forward: [{upstream: api-v1}]}}
---
{kind: Route, name: connect, spec: {hosts: [db.test], connect: {targets: ["db.test:5432", "*.shop.test:443"]}, forward: [{upstream: api-v1}]}}
---
{kind: Route, name: redirect, spec: {hosts: [r.test], redirect: {host: b.test}}}
`))
	base := r.Route("base").Tunnel
	if !slices.Equal(base.Upgrades, []string{"websocket"}) || base.Idle != time.Hour || base.Connect != nil {
		t.Errorf("by default %+v", base)
	}
	if more := r.Route("more").Tunnel; !slices.Equal(more.Upgrades, []string{"websocket", "spdy"}) || more.Idle != 5*time.Second {
		t.Errorf("more: %+v", more)
	}
	if none := r.Route("none").Tunnel; len(none.Upgrades) != 0 || none.Idle != time.Hour {
		t.Errorf("none: %+v", none)
	}
	if r.Route("redirect").Tunnel != nil {
		t.Error("a redirect opens a tunnel")
	}
	connect := r.Route("connect").Tunnel
	for target, want := range map[string]bool{
		"db.test:5432": true, "db.test:443": false, "a.shop.test:443": true, "a.b.shop.test:443": true,
		"shop.test:443": false, "xshop.test:443": false, ".shop.test:443": false,
	} {
		c, ok := connectTarget(target)
		if !ok && target[0] != '.' {
			t.Fatal(target)
		}
		if got := ok && connect.AllowsConnect([]byte(c.Host), c.Port); got != want {
			t.Errorf("CONNECT %s: %v", target, got)
		}
	}
}
