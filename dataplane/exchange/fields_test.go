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

// TestAnAnswerWithoutADateGetsTheTimeAtWhichItCame (RFC 9110 section 6.6.1); one that has
// a date keeps it, and what a route does to dates is done.
func TestAnAnswerWithoutADateGetsTheTimeAtWhichItCame(t *testing.T) {
	date := table.HeaderName{Name: []byte("date"), ID: message.FieldDate}
	for _, c := range []struct {
		status uint16
		fields []string
		ops    *table.HeaderOps
		want   string
	}{
		{200, nil, nil, "date: now|"},
		{503, []string{"Age: 1"}, nil, "Age: 1|date: now|"},
		{304, []string{"Date: then", "Age: 1"}, nil, "Date: then|Age: 1|"},
		{200, nil, &table.HeaderOps{Remove: []table.HeaderName{date}}, ""},
		{200, []string{"Date: then"}, &table.HeaderOps{Remove: []table.HeaderName{date}}, ""},
		{200, nil, &table.HeaderOps{Set: []table.HeaderField{{Name: date.Name, ID: date.ID, Value: []byte("set")}}}, "date: set|"},
		{200, nil, &table.HeaderOps{Add: []table.HeaderField{{Name: date.Name, ID: date.ID, Value: []byte("added")}}}, "date: added|"},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.ResponseHeaders = c.ops })
		x, _ := begin(env, request("GET", "/"))
		x.Step(env, 20, gotNew)
		answer := request("", "", c.fields...)
		answer.Status = c.status
		x.Step(env, 30, Event{Kind: EventResponseHead, Head: answer})
		var out message.Out
		x.ResponseHead(env, answer, &out)
		if _, got, _ := strings.Cut(outText(&out), "|"); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

// TestAnAnswerOfOurOwnHasOneDate: that of its route, where the route says one (RFC 9110
// section 5.3).
func TestAnAnswerOfOurOwnHasOneDate(t *testing.T) {
	date := func(value string) []table.HeaderField {
		return []table.HeaderField{{Name: []byte("date"), ID: message.FieldDate, Value: []byte(value)}}
	}
	responds := &table.Respond{Status: 200, Fields: date("route")}
	for _, c := range []struct {
		name    string
		respond *table.Respond
		ops     *table.HeaderOps
		want    string
	}{
		{"ours", &table.Respond{Status: 200}, nil, "now"},
		{"of respond", responds, nil, "route"},
		{"of respond, removed", responds, &table.HeaderOps{Remove: []table.HeaderName{{Name: []byte("date"), ID: message.FieldDate}}}, ""},
		{"of respond, set", responds, &table.HeaderOps{Set: date("set")}, "set"},
		{"added", &table.Respond{Status: 200}, &table.HeaderOps{Add: date("added")}, "added"},
		{"added to an error", nil, &table.HeaderOps{Add: date("added")}, "added"},
		{"of an error", nil, nil, "now"},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) {
			r.ResponseHeaders = c.ops
			if c.respond != nil {
				r.Action, r.Respond = table.ActionRespond, c.respond
			}
		})
		x, actions := begin(env, request("GET", "/"))
		if c.respond == nil {
			actions = x.Step(env, 20, Event{Kind: EventCut, Failure: Failure{Reason: ReasonShutdown}})
		}
		if actions&ActReply == 0 {
			t.Fatalf("%s: actions %b", c.name, actions)
		}
		var out message.Out
		x.Reply(env, &out)
		var dates []string
		for _, f := range out.Fields {
			if string(f.Name) == "date" {
				dates = append(dates, string(f.Value))
			}
		}
		if got := strings.Join(dates, ", "); got != c.want {
			t.Errorf("%s: date %q, want %q", c.name, got, c.want)
		}
	}
}
