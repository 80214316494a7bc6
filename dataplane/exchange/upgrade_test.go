package exchange

import (
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
