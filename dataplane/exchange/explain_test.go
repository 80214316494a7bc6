package exchange

import (
	"net/netip"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestWhatIsExplainedIsWhatHappens: the route that Explain says is taken is the one that
// Begin takes, and what it says is malformed is refused.
func TestWhatIsExplainedIsWhatHappens(t *testing.T) {
	peers := []string{"192.0.2.7", "198.51.100.7"} // the former is of the route's clients
	heads := map[string]*message.Head{
		"plain":        request("GET", "/cart"),
		"elsewhere":    request("GET", "/other"),
		"dots":         request("GET", "/x/../cart?full=1"),
		"malformed":    request("GET", "/%zz"),
		"POST":         request("POST", "/cart"),
		"forwarded":    request("GET", "/cart", "X-Forwarded-For: 192.0.2.9"),
		"from outside": request("GET", "/cart", "X-Forwarded-For: 203.0.113.9"),
		"hearsay":      request("GET", "/cart", "X-Real-IP: 192.0.2.9"),
	}
	taken := map[string]int{}
	for _, peer := range peers {
		for name, head := range heads {
			for _, trusted := range []bool{false, true} {
				env := testEnv(t, func(l *table.Listener, r *table.Route) {
					r.Path.Text = "/cart"
					r.Conditions = &table.Conditions{
						Methods: 1 << message.MethodGet,
						Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
					}
					if trusted {
						l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(peer + "/32")}
					}
				})
				x := new(Exchange)
				x.Begin(env, head, Arrival{Peer: netip.AddrPortFrom(netip.MustParseAddr(peer), 1234), Now: 10})
				var explained *table.Route
				problem := Explain(env.Listener, head, netip.MustParseAddr(peer), func(s table.Step) {
					if s.Failed == table.ClauseNone {
						explained = s.Route
					}
				})
				if explained != x.Route() || (problem != "") != (x.reason == ReasonMalformedRequest) || problem != x.detail {
					t.Errorf("%s from %s, trusted %t: explained as %v %q, and it is %v %q", name, peer, trusted, explained, problem, x.Route(), x.detail)
				}
				if explained != nil {
					taken[name]++
				}
			}
		}
	}
	if taken["forwarded"] != 3 || taken["from outside"] != 1 || taken["malformed"] != 0 {
		t.Errorf("taken: %v", taken)
	}
}
