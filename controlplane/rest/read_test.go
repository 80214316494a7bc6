package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func TestResourcesComeBackAsTheyWereWritten(t *testing.T) {
	f := newFleet(t)
	f.apply(example(t, "first.yaml"))
	sent, _ := resource.Decode([]byte(example(t, "first.yaml")), resource.DecodeOptions{})
	byKey := map[resource.Key]string{}
	for _, doc := range sent {
		canonical, err := resource.Canonical(doc.Resource)
		if err != nil {
			t.Fatal(err)
		}
		byKey[doc.Key] = string(canonical)
	}
	check := func(text []byte) {
		t.Helper()
		docs, problems := resource.Decode(text, resource.DecodeOptions{})
		if len(problems) > 0 || len(docs) == 0 {
			t.Fatalf("cannot be read back: %v\n%s", problems, text)
		}
		for _, doc := range docs {
			canonical, err := resource.Canonical(doc.Resource)
			if err != nil || string(canonical) != byKey[doc.Key] {
				t.Errorf("%s came back otherwise (%v):\n%s", doc.Key, err, text)
			}
		}
	}
	list := f.do("GET", "/v1/routes", "", header("Accept", api.MediaYAML))
	if got := list.header.Get("Content-Type"); got != api.MediaYAML || list.header.Get("ETag") != f.tag(1) {
		t.Errorf("content type %q, tag %q", got, list.header.Get("ETag"))
	}
	check(list.body)
	for _, item := range want[api.ResourceList](t, f.do("GET", "/v1/routes", ""), http.StatusOK).Items {
		check(item)
	}
	check(f.do("GET", "/v1/upstreams/front", "").body)
	check(f.do("GET", "/v1/upstreams/front", "", header("Accept", "text/yaml")).body)

	// What a list prints can be applied again and changes nothing.
	if again := f.apply(string(list.body)); again.Revision != 1 {
		t.Errorf("applying the list made revision %d", again.Revision)
	}
	asJSON := f.do("GET", "/v1/routes/api", "").body
	if again := f.do("PUT", "/v1/routes/api", string(asJSON), header("Content-Type", api.MediaJSON)); again.status != http.StatusOK {
		t.Errorf("putting JSON: %d %s", again.status, again.body)
	}
}

func TestEmptyListsAreLists(t *testing.T) {
	f := newFleet(t)
	list := want[api.ResourceList](t, f.do("GET", "/v1/policies", ""), http.StatusOK)
	if list.Items == nil || len(list.Items) != 0 {
		t.Errorf("items %v", list.Items)
	}
	if a := f.do("GET", "/v1/policies", "", header("Accept", api.MediaYAML)); a.status != http.StatusOK || len(a.body) != 0 {
		t.Errorf("YAML: %d %q", a.status, a.body)
	}
	h := want[api.HistoryList](t, f.do("GET", api.PathHistory, ""), http.StatusOK)
	if h.Items == nil || len(h.Items) != 0 {
		t.Errorf("history %v", h.Items)
	}
	if s := f.status(); s.Revision != 0 || s.LastChange != nil || s.Nodes[api.Synced] != 0 || len(s.Nodes) != len(api.NodeStates()) {
		t.Errorf("status %+v", s)
	}
}

func TestHistoryIsPagedNewestFirst(t *testing.T) {
	f := newFleet(t)
	for i := range 5 {
		f.apply(ping("a", fmt.Sprint(i)), func(r *http.Request) { r.URL.RawQuery = fmt.Sprint("message=m", i) })
	}
	var got []string
	next := uint64(0)
	for pages := 0; ; pages++ {
		page := want[api.HistoryList](t, f.do("GET", fmt.Sprintf("%s?limit=2&before=%d", api.PathHistory, next), ""), http.StatusOK)
		for _, e := range page.Items {
			got = append(got, e.Message)
		}
		if next = page.Next; next == 0 {
			break
		}
		if pages > 3 {
			t.Fatal("pages without end")
		}
	}
	if diff := cmp.Diff([]string{"m4", "m3", "m2", "m1", "m0"}, got); diff != "" {
		t.Error(diff)
	}

	detail := want[api.HistoryDetail](t, f.do("GET", api.RevisionPath(3), ""), http.StatusOK)
	if detail.Message != "m2" || len(detail.Entries) != 1 || detail.EntriesLost {
		t.Fatalf("got %+v", detail)
	}
	if e := detail.Entries[0]; e.Action != api.Configured || !strings.Contains(e.Before, `"1"`) || !strings.Contains(e.After, `"2"`) {
		t.Errorf("got %+v", e)
	}
	if first := want[api.HistoryDetail](t, f.do("GET", api.RevisionPath(1), ""), http.StatusOK); first.EntriesLost || first.Entries[0].Action != api.Created {
		t.Errorf("got %+v", first)
	}
	refused(t, f.do("GET", api.RevisionPath(6), ""), api.TypeNotFound)
	refused(t, f.do("GET", api.RevisionPath(0), ""), api.TypeMalformed)
	refused(t, f.do("GET", api.PathHistory+"/last", ""), api.TypeMalformed)
	refused(t, f.do("GET", api.PathHistory+"?limit=0", ""), api.TypeMalformed)
	refused(t, f.do("GET", api.PathHistory+"?limit=1001", ""), api.TypeMalformed)
	refused(t, f.do("GET", api.PathHistory+"?before=-1", ""), api.TypeMalformed)
}

func TestDiffShowsBothSides(t *testing.T) {
	f := newFleet(t)
	f.apply(ping("a", "1") + "---\n" + ping("b", "1"))
	f.apply(ping("a", "2") + "---\n" + ping("c", "1"))
	want[api.ApplyResult](t, f.do("DELETE", "/v1/routes/b", ""), http.StatusOK)
	f.apply(ping("d", ""))

	d := want[api.Diff](t, f.do("GET", api.PathDiff+"?from=1&to=3", ""), http.StatusOK)
	var got []string
	for _, e := range d.Entries {
		got = append(got, fmt.Sprintf("%s %s %v %v", e.Name, e.Action, e.Before != "", e.After != ""))
	}
	if diff := cmp.Diff([]string{"a configured true true", "b deleted true false", "c created false true"}, got); diff != "" {
		t.Error(diff)
	}
	if d.From.Revision != 1 || d.To.Revision != 3 || d.Created != 1 || d.Configured != 1 || d.Deleted != 1 || d.Truncated {
		t.Errorf("got %+v", d)
	}
	whole := want[api.Diff](t, f.do("GET", api.PathDiff+"?from=0", ""), http.StatusOK)
	if whole.To.Revision != 4 || whole.Created != 3 {
		t.Errorf("from the beginning: %+v", whole)
	}
	refused(t, f.do("GET", api.PathDiff, ""), api.TypeMalformed)
	if e := refused(t, f.do("GET", api.PathDiff+"?from=9", ""), api.TypeNotFound); e.Detail != "revision 9: there is none yet" {
		t.Errorf("a revision that is not there: %q", e.Detail)
	}

	candidate := want[api.Diff](t, f.do("POST", api.PathDiff, ping("a", "2")+"---\n"+ping("e", "")), http.StatusOK)
	if candidate.From.Revision != 4 || candidate.To.Revision != 0 || len(candidate.Entries) != 1 || candidate.Entries[0].Name != "e" {
		t.Errorf("got %+v", candidate)
	}
	if got := f.apply(ping("e", "")); got.Digest != candidate.To.Digest {
		t.Errorf("the diff promised %s, apply made %s", candidate.To.Digest, got.Digest)
	}
}

func TestWhatCannotBeReadIsToldWithAProblemDocument(t *testing.T) {
	f := newFleet(t)
	for _, c := range []struct {
		method, path, body string
		option             option
		of                 api.ErrorType
		says               string
	}{
		{"GET", "/v1/gadgets", "", nil, api.TypeNotFound, "routes"},
		{"GET", "/v1/gadgets/x", "", nil, api.TypeNotFound, `"gadgets"`},
		{"GET", "/v1/routes/", "", nil, api.TypeNotFound, "/v1/routes"},
		{"GET", "/v1/routes/a/b", "", nil, api.TypeNotFound, "/v1/routes/<name>"},
		{"GET", "/", "", nil, api.TypeNotFound, api.PathOpenAPI},
		{"GET", "/v1/routes/none", "", nil, api.TypeNotFound, "Route/none"},
		{"PATCH", "/v1/routes/a", "", nil, api.TypeMethod, "PUT"},
		{"GET", "/v1/apply", "", nil, api.TypeMethod, "POST"},
		{"GET", "/v1/routes", "", header("Accept", "text/html"), api.TypeAcceptable, api.MediaYAML},
		{"GET", "/v1/events", "", header("Accept", "application/json"), api.TypeAcceptable, api.MediaEvents},
		{"POST", "/v1/apply", "x: 1", header("Content-Type", "text/plain"), api.TypeMediaType, api.MediaYAML},
		{"POST", "/v1/apply", "\n", nil, api.TypeMalformed, "at least one"},
		{"POST", "/v1/apply", "hello", nil, api.TypeMalformed, "nothing"},
		{"POST", "/v1/apply", "a: [", nil, api.TypeMalformed, "nothing"},
		{"POST", "/v1/apply", ping("a", "") + "---\na: [", nil, api.TypeInvalid, "1 problem"},
		{"POST", "/v1/apply?dry-run=true", ping("a", ""), nil, api.TypeMalformed, "dryRun"},
		{"POST", "/v1/apply?dryRun=yes", ping("a", ""), nil, api.TypeMalformed, "true or false"},
		{"POST", "/v1/apply?dryRun=true&dryRun=false", ping("a", ""), nil, api.TypeMalformed, "once"},
		{"POST", "/v1/apply?message=%ff", ping("a", ""), nil, api.TypeMalformed, "printable"},
		{"POST", "/v1/apply?message=" + strings.Repeat("x", api.MaxMessage+1), ping("a", ""), nil, api.TypeMalformed, "1024"},
		{"POST", "/v1/apply?%zz", ping("a", ""), nil, api.TypeMalformed, "query"},
		{"POST", "/v1/apply", ping("a", ""), header("If-None-Match", "*"), api.TypeMalformed, "does not take it"},
		{"POST", "/v1/apply", ping("a", ""), header("If-Match", `"1`), api.TypeMalformed, "entity tag"},
		{"PUT", "/v1/routes/a", ping("a", ""), header("If-None-Match", `"x"`), api.TypeMalformed, "only creates"},
		{"GET", "/v1/status?verbose=1", "", nil, api.TypeMalformed, "expected none"},
		{"GET", "/v1/status", "", header("Origin", "https://evil.test"), api.TypeForbidden, "evil.test"},
		{"GET", "/metrics", "", func(r *http.Request) { r.Host = "evil.test" }, api.TypeForbidden, "evil.test"},
		{"GET", "/nowhere", "", func(r *http.Request) { r.Host = "evil.test" }, api.TypeForbidden, "evil.test"},
	} {
		if c.option == nil {
			c.option = func(*http.Request) {}
		}
		a := f.do(c.method, c.path, c.body, c.option)
		if a.status != c.of.Status() {
			t.Errorf("%s %s: status %d: %s", c.method, c.path, a.status, a.body)
			continue
		}
		if e := refused(t, a, c.of); !strings.Contains(e.Detail, c.says) {
			t.Errorf("%s %s: detail %q does not say %q", c.method, c.path, e.Detail, c.says)
		}
	}
	if s := f.status(); s.Revision != 0 {
		t.Errorf("refused requests made revision %d", s.Revision)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	f := newFleet(t)
	body := "# " + strings.Repeat("x", api.MaxBody) + "\n"
	refused(t, f.do("POST", api.PathApply, body), api.TypeTooLarge)
	refused(t, f.do("POST", api.PathRollback, `{"message": "`+strings.Repeat("x", maxShape)+`"}`, header("Content-Type", api.MediaJSON)), api.TypeTooLarge)
}

func TestReadinessSaysWhatIsMissing(t *testing.T) {
	f := newFleet(t, func(c *Config) {
		c.Ready = append(c.Ready, Check{Name: "moon", Run: func(context.Context) error { return errors.New("not full") }})
	})
	want[api.Health](t, f.do("GET", api.PathHealth, ""), http.StatusOK)
	h := want[api.Health](t, f.do("GET", api.PathReady, ""), http.StatusServiceUnavailable)
	expected := api.Health{Checks: []api.HealthCheck{{Name: "store", OK: true}, {Name: "moon", Detail: "not full"}}}
	if diff := cmp.Diff(expected, h); diff != "" {
		t.Error(diff)
	}
	if b := want[api.Build](t, f.do("GET", api.PathVersion, ""), http.StatusOK); b.Version != "test" {
		t.Errorf("build %+v", b)
	}
	if m := f.do("GET", api.PathMetrics, ""); string(m.body) != "x_total 1\n" {
		t.Errorf("metrics %q", m.body)
	}
}

// brokenChecker has a bug.
type brokenChecker struct{ Checker }

func (brokenChecker) Check(context.Context, store.Configuration, tree.Tree) []resource.Problem {
	panic("a bug")
}

func TestABugFailsOneRequestAndTellsNothing(t *testing.T) {
	f := newFleet(t, func(c *Config) {
		c.Checker = brokenChecker{c.Checker}
		c.Logger = slog.New(slog.DiscardHandler)
	})
	e := refused(t, f.do("POST", api.PathApply, ping("a", "")), api.TypeInternal)
	if strings.Contains(e.Detail, "bug") {
		t.Errorf("the answer tells what is for the log: %q", e.Detail)
	}
	if s := f.status(); s.Revision != 0 {
		t.Errorf("revision %d", s.Revision)
	}
}

// silentStore does not answer.
type silentStore struct {
	Store
	err error
}

func (s silentStore) Current(context.Context) (store.Configuration, error) {
	return store.Configuration{}, s.err
}

func TestAStoreThatDoesNotAnswerIsUnavailable(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		read string
	}{
		"it says why":            {errors.New("etcd: no leader"), "no leader"},
		"its connection is lost": {status.Error(codes.Unavailable, "keepalive ping failed"), "etcd does not answer the control plane ("},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, func(cfg *Config) {
				cfg.Store = silentStore{cfg.Store, c.err}
				cfg.Logger = slog.New(slog.DiscardHandler)
			})
			for _, path := range []string{api.PathStatus, "/v1/routes", api.PathNodes, api.PathEvents} {
				if e := refused(t, f.do("GET", path, ""), api.TypeUnavailable); !strings.Contains(e.Detail, c.read) {
					t.Errorf("%s: %q", path, e.Detail)
				}
			}
			if e := refused(t, f.do("POST", api.PathApply, ping("a", "")), api.TypeUnavailable); !strings.Contains(e.Detail, "; nothing was changed") {
				t.Errorf("apply: %q", e.Detail)
			}
		})
	}
}
