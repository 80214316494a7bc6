package exchange

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestWhatARouteTakesFromAnswersIsTakenFromInterimOnesToo: a client reads both.
func TestWhatARouteTakesFromAnswersIsTakenFromInterimOnesToo(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) {
		r.ResponseHeaders = &table.HeaderOps{
			Remove: []table.HeaderName{{Name: []byte("x-internal")}, {Name: []byte("server"), ID: message.FieldServer}},
			Set:    []table.HeaderField{{Name: []byte("x-set"), Value: []byte("ours")}},
			Add:    []table.HeaderField{{Name: []byte("x-added"), Value: []byte("ours")}},
		}
	})
	x, _ := begin(env, request("GET", "/"))
	x.Step(env, 20, gotNew)
	hints := request("", "", "Link: </a>", "X-Internal: i", "Server: s", "X-Set: theirs")
	hints.Status = 103
	if got := x.Step(env, 30, Event{Kind: EventInterim, Head: hints}); got != ActForwardInterim {
		t.Fatalf("actions %b", got)
	}
	var out message.Out
	if x.InterimHead(hints, &out); outText(&out) != "   103|Link: </a>|" {
		t.Errorf("%s", outText(&out))
	}
}
