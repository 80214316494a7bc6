package main

import (
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// explaining is a shell whose control plane explains with one listener, and what it was
// asked last.
func explaining(t *testing.T, answer api.ExplainedListener) (*shell, *api.ExplainRequest) {
	sh, asked := newShell(t), new(api.ExplainRequest)
	sh.server.SetExplain(func(r api.ExplainRequest) ([]api.ExplainedListener, error) {
		*asked = r
		if strings.HasSuffix(r.URL, "/%zz") {
			return nil, api.NewError(api.TypeMalformed, "invalid URL escape")
		}
		return []api.ExplainedListener{answer}, nil
	})
	return sh, asked
}

func TestExplainShowsTheRouteOfARequestAndWhatWasTriedBefore(t *testing.T) {
	sh, asked := explaining(t, api.ExplainedListener{
		Name: "web", Route: "cart", Action: "forward to app", Hosts: "shop.test",
		Steps: []api.ExplainedStep{{Hosts: "shop.test", Route: "beta", Failed: "match.headers: x-beta"}},
	})
	got := sh.must("explain", "shop.test/cart?a=1", "-X", "POST", "-H", "X-A: b, c", "-H", "X-D: e", "--client", "192.0.2.7", "--listener", "web")
	if want := `revision 0
Listener/web
  shop.test: Route/beta does not fit by match.headers: x-beta
  shop.test: Route/cart is taken: forward to app
`; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if asked.URL != "http://shop.test/cart?a=1" || asked.Method != "POST" || strings.Join(asked.Headers, "|") != "X-A: b, c|X-D: e" ||
		asked.Client != "192.0.2.7" || asked.Listener != "web" {
		t.Errorf("asked %+v", asked)
	}
	sh.must("explain", "https://shop.test/")
	if asked.URL != "https://shop.test/" || asked.Method != "GET" || asked.Headers != nil {
		t.Errorf("asked %+v", asked)
	}
	contains(t, sh.must("explain", "shop.test", "-o", "json"), `"route": "cart"`, `"revision": 0`)
	contains(t, sh.must("explain", "shop.test", "-o", "yaml"), "route: cart")
}

func TestExplainFailsWhereARequestGetsNoRoute(t *testing.T) {
	sh, _ := explaining(t, api.ExplainedListener{Name: "web", Status: 404, Steps: []api.ExplainedStep{{}}})
	for _, form := range []string{"table", "json"} {
		if r := sh.run("explain", "shop.test", "-o", form); r.status != statusFailed || r.stderr != "" || !strings.Contains(r.stdout, "404") {
			t.Errorf("%s: status %d\n%s%s", form, r.status, r.stdout, r.stderr)
		}
	}
	if got := sh.fails(statusFailed, "explain", "shop.test/%zz"); !strings.Contains(got, "error: invalid URL escape") {
		t.Error(got)
	}
	sh.server.SetExplain(nil)
	if r := sh.run("explain", "shop.test"); r.status != statusFailed || !strings.Contains(r.stdout, "No listener speaks HTTP or HTTPS.") {
		t.Errorf("status %d\n%s%s", r.status, r.stdout, r.stderr)
	}
}

func TestExplainTellsThatItTakesAURLAndNoKind(t *testing.T) {
	sh, asked := explaining(t, api.ExplainedListener{Name: "web", Route: "a"})
	for _, word := range []string{"route", "routes", "route.spec.hosts", "u"} {
		contains(t, sh.fails(statusWrongUse, "explain", word), "expected a URL, as https://shop.test/cart", "docs/RESOURCES.md")
	}
	for _, word := range []string{"route.test", "u.shop.test", "route/x", "localhost"} {
		sh.must("explain", word)
		if asked.URL != "http://"+word {
			t.Errorf("asked %+v", asked)
		}
	}
}
