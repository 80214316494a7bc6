package exchange

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestWhoIsToBlameForABodyThatDoesNotCome: the client, or the endpoint for which it waits.
func TestWhoIsToBlameForABodyThatDoesNotCome(t *testing.T) {
	for stuck, want := range map[bool]Reason{false: ReasonRequestBodyTimeout, true: ReasonStreamIdleTimeout} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Timeout = 1 << 60 })
		h := request("POST", "/")
		h.Framing = message.FramingChunked
		x, _ := begin(env, h)
		x.Step(env, 20, gotNew)
		got := x.Step(env, x.NextDeadline(), Event{Kind: EventDeadline, Stuck: stuck})
		var r Record
		if x.Record(20, &r); got&(ActReply|ActCloseClient) != ActReply|ActCloseClient || r.Reason != want || r.Status != want.Status() {
			t.Errorf("stuck %t: actions %b, %d %s", stuck, got, r.Status, r.Reason)
		}
	}
}
