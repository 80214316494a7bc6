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

// TestARequestWhoseBodyTurnsOutToBeEmptyHasNone, if that is known before it is sent: by trailers, or
// when the head has gone, it is ended as it was begun.
func TestARequestWhoseBodyTurnsOutToBeEmptyHasNone(t *testing.T) {
	end := func(trailers int) Event { return Event{Kind: EventRequestEnd, N: trailers} }
	for _, c := range []struct {
		method  string
		events  []Event
		framing message.Framing
		last    Actions
	}{
		{"GET", []Event{end(0), gotNew}, message.FramingNone, ActSendHead},
		{"POST", []Event{end(0), gotNew}, message.FramingLength, ActSendHead},
		{"PUT", []Event{end(0), gotNew, died, gotNew}, message.FramingLength, ActSendHead},
		{"GET", []Event{gotNew, end(0)}, message.FramingChunked, ActEndRequest},
		{"GET", []Event{gotNew, {Kind: EventRequestData, N: 1}, end(0)}, message.FramingChunked, ActEndRequest},
	} {
		env := testEnv(t, nil)
		h := request(c.method, "/")
		h.HTTP2, h.Framing, h.Declared = true, message.FramingChunked, message.FramingChunked
		x, _ := begin(env, h)
		var last Actions
		for _, ev := range c.events {
			if last = x.Step(env, 20, ev); last&ActWait != 0 {
				pass(x, env)
			}
		}
		var out message.Out
		if x.RequestHead(env, &out); out.Framing != c.framing || last != c.last {
			t.Errorf("%s %+v: framing %d, actions %b, want %d, %b", c.method, c.events, out.Framing, last, c.framing, c.last)
		}
	}
}
