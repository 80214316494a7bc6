package exchange

import (
	"strings"
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

// TestARouteChangesWhatWeSayOfTheClient as it changes what the client says: it removes it,
// or says something else in its place.
func TestARouteChangesWhatWeSayOfTheClient(t *testing.T) {
	for _, name := range []string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "client-cert"} {
		id := message.LookupField([]byte(name))
		for _, c := range []struct {
			ops  *table.HeaderOps
			want string
		}{
			{&table.HeaderOps{Remove: []table.HeaderName{{Name: []byte(name), ID: id}}}, ""},
			{&table.HeaderOps{Set: []table.HeaderField{{Name: []byte(name), ID: id, Value: []byte("set")}}}, "set"},
		} {
			env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.RequestHeaders = c.ops })
			x := new(Exchange)
			x.Begin(env, request("GET", "/"), Arrival{Peer: peer, Start: 5, Now: 10, Certificate: []byte(":eDp5:")})
			x.Step(env, 20, gotNew)
			var out message.Out
			x.RequestHead(env, &out)
			var values []string
			for _, f := range out.Fields {
				if string(f.Name) == name {
					values = append(values, string(f.Value))
				}
			}
			if got := strings.Join(values, ", "); got != c.want {
				t.Errorf("%s: %q went up, want %q", name, got, c.want)
			}
		}
	}
}
