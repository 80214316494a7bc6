package exchange

import (
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestAnEmptyBodyIsNoPartOfATunnelByHTTP2 at the first attempt and at the next: a
// length would be that of what the tunnel carries, and the body's end its end.
func TestAnEmptyBodyIsNoPartOfATunnelByHTTP2(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) {
		r.Tunnel = &table.Tunnel{Upgrades: []string{"websocket"}}
		r.Targets[0].Upstream.HTTP2 = true
	})
	h := request("GET", "/", "Upgrade: websocket", "Content-Length: 0", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
	h.Upgrade, h.Framing = true, message.FramingLength
	x, _ := begin(env, h)
	for range 2 {
		if got := x.Step(env, x.NextDeadline()-1, gotNew); got != ActSendHead {
			t.Errorf("actions %b", got)
		}
		var out message.Out
		if x.RequestHead(env, &out); string(out.Protocol) != "websocket" || out.Framing != message.FramingNone {
			t.Errorf("%s, framing %d", outText(&out), out.Framing)
		}
		x.Step(env, 20, died)
		pass(x, env)
	}
}

// TestATunnelIsAskedForAsTheEndpointOfEachAttemptHasIt: a push has the upstream speak the
// other version of HTTP before the second.
func TestATunnelIsAskedForAsTheEndpointOfEachAttemptHasIt(t *testing.T) {
	const key = "AAAAAAAAAAAAAAAAAAAAAA=="
	for _, c := range []struct {
		key   string
		first bool // HTTP/2 is spoken at the first attempt
		ok    bool
	}{{key, false, true}, {key, true, true}, {"short", false, false}} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) {
			r.Tunnel = &table.Tunnel{Upgrades: []string{"websocket"}}
			r.Targets[0].Upstream.HTTP2 = c.first
		})
		h := request("GET", "/", "Upgrade: websocket", "Sec-WebSocket-Key: "+c.key)
		h.Upgrade = true
		x, _ := begin(env, h)
		x.Step(env, 20, gotNew)
		u := *env.Table.Upstreams[0]
		u.HTTP2 = !c.first
		env.Table = &table.Table{Version: env.Table.Version, Upstreams: []*table.Upstream{&u}}
		got := x.Step(env, 20, died) | pass(x, env)
		if !c.ok {
			var r Record
			if x.Record(20, &r); got&ActReply == 0 || r.Status != 400 {
				t.Errorf("%+v: actions %b, status %d", c, got, r.Status)
			}
			continue
		}
		x.Step(env, x.NextDeadline()-1, gotNew)
		var out message.Out
		x.RequestHead(env, &out)
		method, text := "GET", "upgrade: websocket"
		if u.HTTP2 {
			method, text = "CONNECT", ""
		}
		if all := outText(&out); string(out.Method) != method || len(out.Protocol) > 0 != u.HTTP2 || out.Upgrade == u.HTTP2 ||
			!strings.Contains(all, text) || strings.Contains(all, key) == u.HTTP2 {
			t.Errorf("%+v: %s, protocol %q", c, all, out.Protocol)
		}
	}
}

// TestARouteThatAnswersOpensNoTunnel: a 2xx to a CONNECT of either kind would say that
// there is one (RFC 9110 section 9.3.6, RFC 8441 section 5). Other answers say that
// there is none, and all of them end the stream.
func TestARouteThatAnswersOpensNoTunnel(t *testing.T) {
	const connect = "CONNECT"
	for _, c := range []struct {
		method, protocol string
		respond          uint16 // 0: the route redirects
		status           uint16
		reason           Reason
		ends             bool
	}{
		{connect, "websocket", 200, 403, ReasonConnectDenied, true},
		{connect, "websocket", 204, 403, ReasonConnectDenied, true},
		{connect, "connect-udp", 299, 403, ReasonConnectDenied, true},
		{connect, "", 200, 403, ReasonConnectDenied, true},
		{connect, "websocket", 404, 404, ReasonNone, true},
		{connect, "websocket", 503, 503, ReasonNone, true},
		{connect, "websocket", 0, 308, ReasonNone, true},
		{"GET", "", 200, 200, ReasonNone, false},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) {
			r.Tunnel = &table.Tunnel{Upgrades: []string{"websocket"}, Connect: []table.ConnectTarget{{Host: "shop.test", Port: 8080}}}
			r.Action, r.Respond = table.ActionRespond, &table.Respond{Status: c.respond, Body: []byte("hello")}
			if c.respond == 0 {
				r.Action, r.Respond, r.Redirect = table.ActionRedirect, nil, &table.Redirect{Status: 308}
			}
		})
		h := request(c.method, "/")
		h.HTTP2 = true
		if c.protocol != "" {
			start := uint32(len(h.Arena))
			h.Arena = append(h.Arena, c.protocol...)
			h.Protocol = message.Span{Start: start, End: uint32(len(h.Arena))}
		}
		x, got := begin(env, h)
		if got&(ActReply|ActFinish) != ActReply|ActFinish || got&ActCloseClient != 0 != c.ends {
			t.Errorf("%+v: actions %b", c, got)
		}
		var out message.Out
		x.Reply(env, &out)
		var r Record
		if x.Record(20, &r); out.Status != c.status || r.Status != c.status || r.Reason != c.reason {
			t.Errorf("%+v: %d; the record says %d %s %s", c, out.Status, r.Status, r.Reason, r.Detail)
		}
	}
}
