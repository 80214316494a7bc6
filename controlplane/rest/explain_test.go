package rest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// explain asks which route a request gets.
func (f *fleet) explain(r api.ExplainRequest) answered {
	f.Helper()
	body, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	return f.do("POST", api.PathExplain, string(body), header("Content-Type", api.MediaJSON))
}

func TestARequestIsExplainedByWhatWasAppliedLast(t *testing.T) {
	f := newFleet(t)
	// Without a listener there is nothing to say, and whatever was applied is at hand at once.
	if e := want[api.Explanation](t, f.explain(api.ExplainRequest{URL: "http://shop.test/"}), http.StatusOK); len(e.Listeners) != 0 || e.Found() {
		t.Errorf("%+v", e)
	}
	const listener = "kind: Listener\nname: web\nspec: {port: 18080, protocol: HTTP}\n---\n"
	for i, name := range []string{"a", "b", "c"} {
		made := f.apply(listener + "kind: Route\nname: " + name + "\nspec: {hosts: [shop.test], match: {path: {prefix: /" + name + "}}, respond: {status: 204}}\n")
		e := want[api.Explanation](t, f.explain(api.ExplainRequest{URL: "http://shop.test/" + name}), http.StatusOK)
		if len(e.Listeners) != 1 || e.Listeners[0].Route != name || e.Version != made.Version || !e.Found() {
			t.Errorf("%d: %+v, want route %s of %+v", i, e, name, made.Version)
		}
	}
	e := want[api.Explanation](t, f.explain(api.ExplainRequest{URL: "http://other.test/"}), http.StatusOK)
	if len(e.Listeners) != 1 || e.Listeners[0].Status != http.StatusNotFound || e.Found() {
		t.Errorf("%+v", e)
	}
}

func TestWhatCannotBeExplainedIsRefusedAndNothingIsSaidOfChanges(t *testing.T) {
	f := newFleet(t)
	for body, what := range map[string]string{
		`{"url": "/cart"}`:                          "expected a URL with a host",
		`{"url": "http://a/", "client": "me"}`:      "expected an IP address",
		`{"url": "http://a/", "listener": "none"}`:  "there is none of that name",
		`{"url": "http://a/", "metod": "GET"}`:      "metod",
		`{"url": "http://a/", "headers": ["a\nb"]}`: "more than one line",
	} {
		e := refused(t, f.do("POST", api.PathExplain, body, header("Content-Type", api.MediaJSON)), api.TypeMalformed)
		if !strings.Contains(e.Detail, what) || strings.Contains(e.Detail, "changed") {
			t.Errorf("%s: %q, want %q", body, e.Detail, what)
		}
	}
	refused(t, f.do("POST", api.PathExplain, "url: http://a/"), api.TypeMediaType)
}
