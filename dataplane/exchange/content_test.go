package exchange

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestARequestWithoutContentSaysSoWhereItCouldHaveSome (RFC 9110 section 8.6): HTTP/2 says it by the
// end of the stream, and some servers of HTTP/1.1 answer 411 to a POST that says nothing.
func TestARequestWithoutContentSaysSoWhereItCouldHaveSome(t *testing.T) {
	for _, c := range []struct {
		method  string
		from2   bool
		to2     bool
		framing message.Framing
	}{
		{"POST", true, false, message.FramingLength},
		{"PUT", true, false, message.FramingLength},
		{"PATCH", true, false, message.FramingLength},
		{"POST", true, true, message.FramingNone},
		{"POST", false, false, message.FramingNone}, // as it came
		{"GET", true, false, message.FramingNone},
		{"DELETE", true, false, message.FramingNone},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Targets[0].Upstream.HTTP2 = c.to2 })
		h := request(c.method, "/")
		h.HTTP2 = c.from2
		x, _ := begin(env, h)
		x.Step(env, 20, gotNew)
		var out message.Out
		if x.RequestHead(env, &out); out.Framing != c.framing || out.Length != 0 {
			t.Errorf("%+v: framing %d, length %d", c, out.Framing, out.Length)
		}
	}
}
