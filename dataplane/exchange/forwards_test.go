package exchange

import (
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestMaxForwardsOfOPTIONSAndTRACEIsCountedDown, and at 0 the node is the last recipient (RFC
// 9110 section 7.6.2).
func TestMaxForwardsOfOPTIONSAndTRACEIsCountedDown(t *testing.T) {
	const no = "-"
	for _, c := range []struct {
		method string
		fields []string
		up     string // the values that go up; no: it does not go up
		status uint16
		reason Reason
	}{
		{"OPTIONS", []string{"Max-Forwards: 1"}, "0", 0, ReasonNone},
		{"OPTIONS", []string{"max-forwards: 0070"}, "69", 0, ReasonNone},
		{"TRACE", []string{"Max-Forwards: 10"}, "9", 0, ReasonNone},
		{"TRACE", []string{"Max-Forwards: 99999999999999999999999"}, "65535", 0, ReasonNone},
		{"OPTIONS", nil, "", 0, ReasonNone},
		{"OPTIONS", []string{"Max-Forwards: 0"}, no, 200, ReasonMaxForwards},
		{"OPTIONS", []string{"X-Max-Forwards: 0"}, "", 0, ReasonNone},
		{"TRACE", []string{"Max-Forwards: 00"}, no, 501, ReasonMaxForwards},
		{"OPTIONS", []string{"Max-Forwards: -1"}, no, 400, ReasonMalformedRequest},
		{"OPTIONS", []string{"Max-Forwards: "}, no, 400, ReasonMalformedRequest},
		{"TRACE", []string{"Max-Forwards: 1, 2"}, no, 400, ReasonMalformedRequest},
		{"TRACE", []string{"Max-Forwards: 5", "Max-Forwards: 5"}, no, 400, ReasonMalformedRequest},
		{"GET", []string{"Max-Forwards: 0"}, "0", 0, ReasonNone},
		{"POST", []string{"Max-Forwards: x"}, "x", 0, ReasonNone},
		{"options", []string{"Max-Forwards: 0"}, "0", 0, ReasonNone}, // another method
	} {
		env := testEnv(t, nil)
		x, actions := begin(env, request(c.method, "/a", c.fields...))
		var out message.Out
		up, status, reason := no, uint16(0), ReasonNone
		if actions == ActAcquire {
			x.Step(env, 20, gotNew)
			x.RequestHead(env, &out)
			var values []string
			for _, f := range out.Fields {
				if strings.EqualFold(string(f.Name), nameMaxForwards) {
					values = append(values, string(f.Value))
				}
			}
			up = strings.Join(values, "|")
		} else {
			x.Reply(env, &out)
			var r Record
			x.Record(30, &r)
			status, reason = out.Status, r.Reason
		}
		if up != c.up || status != c.status || reason != c.reason {
			t.Errorf("%s %q: %q went up; %d, %s", c.method, c.fields, up, status, reason)
		}
	}
}

// TestMaxForwardsIsTheRoutesToo: what the route says of the field is done, and each attempt
// says the same.
func TestMaxForwardsIsTheRoutesToo(t *testing.T) {
	name := table.HeaderName{Name: []byte(nameMaxForwards)}
	for _, c := range []struct {
		ops  *table.HeaderOps
		want string
	}{
		{nil, "Max-Forwards: 4|"},
		{&table.HeaderOps{Remove: []table.HeaderName{name}}, ""},
		{&table.HeaderOps{Set: []table.HeaderField{{Name: name.Name, Value: []byte("9")}}}, "max-forwards: 9|"},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.RequestHeaders = c.ops })
		x, _ := begin(env, request("OPTIONS", "/", "Max-Forwards: 5"))
		for range 2 {
			x.Step(env, 20, gotNew)
			var out message.Out
			x.RequestHead(env, &out)
			text := outText(&out)
			if got := strings.Contains(strings.ToLower(text), "forwards: "); got != (c.want != "") || !strings.Contains(text, c.want) {
				t.Errorf("want %q: %s", c.want, text)
			}
			x.Step(env, 30, Event{Kind: EventUpstreamFailed, Failure: Failure{Reason: ReasonUpstreamClosed, Retry: RetryUnanswered}})
			if x.State() == StateBackoff {
				x.Step(env, x.NextDeadline(), Event{Kind: EventDeadline})
			}
		}
	}
}
