package exchange

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestA100OfOurOwnGoesOnceToWhoWaitsForIt, and keeps no other attempt from being made.
func TestA100OfOurOwnGoesOnceToWhoWaitsForIt(t *testing.T) {
	expect := table.HeaderName{Name: []byte("expect"), ID: message.FieldExpect}
	field := table.HeaderField{Name: expect.Name, Value: []byte("100-continue"), ID: expect.ID}
	for _, c := range []struct {
		name    string
		ops     *table.HeaderOps
		expects bool
		want    bool
	}{
		{"it goes up", nil, true, false},
		{"another field is removed", &table.HeaderOps{Remove: []table.HeaderName{{Name: []byte("x")}}}, true, false},
		{"it is removed", &table.HeaderOps{Remove: []table.HeaderName{expect}}, true, true},
		{"nobody waits", &table.HeaderOps{Remove: []table.HeaderName{expect}}, false, false},
		{"it is made anew", &table.HeaderOps{Remove: []table.HeaderName{expect}, Add: []table.HeaderField{field}}, true, false},
		{"it is set", &table.HeaderOps{Set: []table.HeaderField{field}}, true, false},
	} {
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.RequestHeaders = c.ops })
		h := request("PUT", "/", "Expect: 100-continue")
		h.Framing, h.Length, h.Expect100 = message.FramingLength, 4, c.expects
		x, _ := begin(env, h)
		if got := x.Step(env, 20, gotNew); (got&ActContinue != 0) != c.want {
			t.Errorf("%s: actions %b", c.name, got)
		}
		var out message.Out
		if x.ContinueHead(&out); out.Status != 100 || len(out.Fields) > 0 {
			t.Errorf("%s", outText(&out))
		}
		if got := x.Step(env, 20, died); got&(ActWait|ActAcquire) == 0 {
			t.Fatalf("%s: actions %b", c.name, got)
		}
		pass(x, env)
		if got := x.Step(env, x.NextDeadline()-1, gotNew); got&ActContinue != 0 || got&ActReadRequest == 0 {
			t.Errorf("%s, second attempt: actions %b", c.name, got)
		}
	}
}
