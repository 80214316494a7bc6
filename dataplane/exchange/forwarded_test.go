package exchange

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestTheClientIsFoundInAllLinesOfXForwardedFor: several lines are one list (RFC 9110
// section 5.3), and some proxies add a line of their own.
func TestTheClientIsFoundInAllLinesOfXForwardedFor(t *testing.T) {
	const us = "192.0.2.7" // who asks; 192.0.2.0/24 is trusted
	for _, c := range []struct{ lines, want string }{
		{"", us},
		{"203.0.113.9", "203.0.113.9"},
		{"203.0.113.9|192.0.2.1", "203.0.113.9"},
		{"203.0.113.9|192.0.2.1|192.0.2.2", "203.0.113.9"},
		{"6.6.6.6|203.0.113.9, 192.0.2.1|192.0.2.2", "203.0.113.9"},
		{"6.6.6.6|203.0.113.9", "203.0.113.9"},
		{"192.0.2.1|192.0.2.2", "192.0.2.1"}, // all are trusted: the leftmost
		{"6.6.6.6|unknown", us},              // what stands left of what is no address is hearsay
		{"6.6.6.6|unknown, 192.0.2.1", "192.0.2.1"},
		{"6.6.6.6, unknown|192.0.2.1", "192.0.2.1"},
		{"203.0.113.9|", "203.0.113.9"}, // empty elements say nothing (RFC 9110 section 5.6.1)
		{"203.0.113.9, ,192.0.2.1,", "203.0.113.9"},
		{"203.0.113.9|" + strings.Repeat("192.0.2.1|", 14) + "192.0.2.1", "203.0.113.9"},
		{"203.0.113.9|" + strings.Repeat("192.0.2.1|", 15) + "192.0.2.1", "192.0.2.1"}, // so many are looked at
	} {
		env := testEnv(t, func(l *table.Listener, _ *table.Route) {
			l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		})
		var fields []string
		if c.lines != "" {
			for line := range strings.SplitSeq(c.lines, "|") {
				fields = append(fields, "X-Forwarded-For: "+line, "Accept: */*")
			}
		}
		x, _ := begin(env, request("GET", "/", fields...))
		var r Record
		if x.Record(30, &r); r.Client.Addr().String() != c.want {
			t.Errorf("%s: %s, want %s", c.lines, r.Client.Addr(), c.want)
		}
	}
}

// TestNamesThatReadAsOursDoNotPass: those of X-Forwarded-* that we do not write ourselves, and
// what an endpoint of CGI's kind cannot tell from the fields that only we, and trusted proxies,
// may send.
func TestNamesThatReadAsOursDoNotPass(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		for name, passes := range map[string]bool{
			"X_Forwarded_For": trusted, "x-forwarded_for": trusted, "X-Forwarded_Proto": trusted, "X_Real_IP": trusted,
			"Client_Cert": trusted, "X_Request_Id": trusted,
			"X-Forwarded-Prefix": trusted, "x-forwarded-client-cert": trusted, "X_Forwarded_Tls_Client_Cert_Info_And_More": trusted,
			"X_Team": true, "Accept_Language": true, "X-Forward": true, "X-Forwarder": true, "_": true, strings.Repeat("_", 40): true,
		} {
			env := testEnv(t, func(l *table.Listener, _ *table.Route) {
				if trusted {
					l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
				}
			})
			x, _ := begin(env, request("GET", "/", name+": 6.6.6.6"))
			x.Step(env, 20, gotNew)
			var out message.Out
			x.RequestHead(env, &out)
			if got := strings.Contains(outText(&out), name+": 6.6.6.6"); got != passes {
				t.Errorf("trusted %t: %s passes: %t", trusted, name, got)
			}
		}
	}
}

// TestARouteIsNotChosenByWhatAnUntrustedPeerSaysOfItself: the endpoint does not get it
// either. A route for those that showed a certificate is not one for those that say so.
func TestARouteIsNotChosenByWhatAnUntrustedPeerSaysOfItself(t *testing.T) {
	for _, name := range []string{"client-cert", "x-forwarded-proto", "x-real-ip", "forwarded", "x-forwarded-client-cert", "x-team", "client_cert", "x_real_ip", "x_request-id", "x_team"} {
		for _, invert := range []bool{false, true} {
			for _, trusted := range []bool{false, true} {
				env := testEnv(t, func(l *table.Listener, r *table.Route) {
					r.Conditions = &table.Conditions{Headers: []table.ValueMatch{{Name: name, ID: message.LookupField([]byte(name)), Kind: table.TextPresent, Invert: invert}}}
					if trusted {
						l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
					}
				})
				x, _ := begin(env, request("GET", "/", name+": 1"))
				seen := trusted || strings.HasSuffix(name, "team")
				if got := x.Route() != nil; got != (seen != invert) {
					t.Errorf("%s, inverted %t, trusted %t: the route is taken: %t", name, invert, trusted, got)
				}
			}
		}
	}
}
