package rest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

func TestApplyOfTheFirstExampleIsOneRevision(t *testing.T) {
	f := newFleet(t)
	result := f.apply(example(t, "first.yaml"), header(api.HeaderAuthor, "eve"), func(r *http.Request) {
		r.URL.RawQuery = "message=the+first"
	})
	if result.Revision != 1 || result.DryRun || len(result.Changed) != 9 {
		t.Fatalf("got %+v", result)
	}
	if first := (api.Changed{Kind: "Listener", Name: "web", Action: api.Created}); result.Changed[0] != first {
		t.Errorf("got %+v first, want %+v", result.Changed[0], first)
	}
	status := f.status()
	if status.Version != result.Version {
		t.Errorf("status has %+v, apply said %+v", status.Version, result.Version)
	}
	if diff := cmp.Diff(map[string]int{"Listener": 1, "Upstream": 3, "Route": 5}, status.Resources); diff != "" {
		t.Error(diff)
	}
	if c := status.LastChange; c == nil || c.Author != "eve" || c.Message != "the first" || c.Upserted != 9 {
		t.Errorf("last change %+v", status.LastChange)
	}

	again := f.apply(example(t, "first.yaml"))
	if again.Version != result.Version || slices.ContainsFunc(again.Changed, func(c api.Changed) bool { return c.Action != api.Unchanged }) {
		t.Errorf("applied again: %+v", again)
	}
}

// TestBadYAMLNamesItsEightProblems: all at once, with their lines, and nothing
// changes.
func TestBadYAMLNamesItsEightProblems(t *testing.T) {
	f := newFleet(t)
	before := f.apply(example(t, "first.yaml"))
	for _, path := range []string{api.PathApply, api.PathApply + "?dryRun=true", api.PathDiff} {
		e := refused(t, f.do("POST", path, example(t, "bad.yaml")), api.TypeInvalid)
		var got []string
		for _, p := range e.Problems {
			if p.Expected == "" {
				t.Errorf("nothing expected: %+v", p)
			}
			got = append(got, fmt.Sprintf("%d:%d %s/%s %s", p.Document, p.Line, p.Kind, p.Name, p.Field))
		}
		expected := []string{
			"1:7 Route/dangling spec.forward[0].upstream",
			"2:12 Route/typo spec.hots",
			"3:19 Upstream/empty spec.endpoints",
			"4:24 Upstream/bad-address spec.endpoints[0].address",
			"5:28 RateLimit/bad-rate spec.rate",
			"6:32 Listener/bad-port spec.port",
			"7:39 Route/two-actions spec.respond",
			"8:44 Route/bad-regex spec.match.path.regex",
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		if !strings.Contains(e.Problems[0].Suggestion, "api-v") || e.Problems[1].Suggestion != "hosts" {
			t.Errorf("suggestions %q and %q", e.Problems[0].Suggestion, e.Problems[1].Suggestion)
		}
	}
	if after := f.status(); after.Version != before.Version {
		t.Errorf("was %+v, is %+v", before.Version, after.Version)
	}
}

// TestShopYAMLIsRefusedForWhatIsNotSupportedYet: exactly that, whatever it is
// applied on.
func TestShopYAMLIsRefusedForWhatIsNotSupportedYet(t *testing.T) {
	f := newFleet(t)
	expected := []string{
		"Upstream/front spec.healthCheck",
		"Upstream/api-v1 spec.outlierDetection",
		"Upstream/api-v1 spec.circuitBreaker",
		"RateLimit/per-client kind",
		"Route/api spec.rateLimits",
	}
	check := func(on string) {
		e := refused(t, f.do("POST", api.PathApply, example(t, "shop.yaml")), api.TypeInvalid)
		var got []string
		for _, p := range e.Problems {
			if p.Line == 0 {
				t.Errorf("no line: %+v", p)
			}
			got = append(got, fmt.Sprintf("%s/%s %s", p.Kind, p.Name, p.Field))
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("on %s: %s", on, diff)
		}
	}
	check("nothing")
	f.apply(example(t, "first.yaml"))
	check("first.yaml")
}

func TestOneProblemIsToldOnceAlthoughCompilerAndDecoderSeeIt(t *testing.T) {
	f := newFleet(t)
	body := "kind: Listener\nname: web\nspec: {port: 8080, protocol: HTTP}\n---\n" +
		"kind: Route\nname: r\nspec:\n  match: {path: {prefix: /}}\n  forward: [{upstream: nowhere}]\n---\n" +
		"kind: Listener\nname: other\nspec: {port: 8080, protocol: HTTP}\n"
	e := refused(t, f.do("POST", api.PathApply, body), api.TypeInvalid)
	dangling := slices.IndexFunc(e.Problems, func(p api.Problem) bool { return p.Field == "spec.forward[0].upstream" })
	if dangling < 0 || e.Problems[dangling].Line != 9 || e.Problems[dangling].Document != 2 {
		t.Errorf("dangling reference: %+v", e.Problems)
	}
	ports := 0
	for _, p := range e.Problems {
		if p.Kind == "Listener" {
			ports++
			if p.Line == 0 || p.Document == 0 {
				t.Errorf("what the compiler found has no place: %+v", p)
			}
		}
	}
	if len(e.Problems) != ports+1 || ports == 0 {
		t.Errorf("got %+v", e.Problems)
	}
}

// TestRestoreLeavesNothingButWhatTheBodyHas, and is the very configuration again whatever was
// there before.
func TestRestoreLeavesNothingButWhatTheBodyHas(t *testing.T) {
	f := newFleet(t)
	restore := func(query, body string, options ...option) answered {
		return f.do("POST", api.PathRestore+query, body, options...)
	}
	first := want[api.ApplyResult](t, restore("", example(t, "first.yaml")), http.StatusOK)
	if len(first.Changed) != 9 || first.Changed[0].Action != api.Created {
		t.Fatalf("into nothing: %+v", first)
	}
	changed := ping("ping", "another answer") + "---\n" + ping("new", "")
	f.apply(changed)
	dry := want[api.ApplyResult](t, restore("?dryRun=true", example(t, "first.yaml")), http.StatusOK)
	again := want[api.ApplyResult](t, restore("?message=back", example(t, "first.yaml"), header("If-Match", f.tag(2))), http.StatusOK)
	if again.Digest != first.Digest || dry.Digest != first.Digest || again.Revision != 3 {
		t.Errorf("first %+v, dry run %+v, then %+v", first.Version, dry.Version, again.Version)
	}
	actions := map[string]api.Action{}
	for _, c := range again.Changed {
		actions[c.Kind+"/"+c.Name] = c.Action
	}
	if actions["Route/new"] != api.Deleted || actions["Route/ping"] != api.Configured || actions["Listener/web"] != api.Unchanged || len(actions) != 10 {
		t.Errorf("%v", actions)
	}
	refused(t, restore("", ping("a", ""), header("If-Match", f.tag(2))), api.TypeStale)

	// What stands in the store alone is not there to be referred to.
	e := refused(t, restore("", "kind: Route\nname: api\nspec: {forward: [{upstream: front}]}\n"), api.TypeInvalid)
	if len(e.Problems) != 1 || e.Problems[0].Field != "spec.forward[0].upstream" || e.Problems[0].Line != 3 {
		t.Errorf("%+v", e.Problems)
	}
	if s := f.status(); s.Digest != first.Digest {
		t.Errorf("%+v", s.Version)
	}
	f.apply(ping("tenth", ""))
	refused(t, restore("", ping("a", "")), api.TypeShrinks)
	only := want[api.ApplyResult](t, restore("?allowShrink=true", ping("a", "")), http.StatusOK)
	if s := f.status(); s.Resources["Route"] != 1 || s.Resources["Listener"] != 0 || s.Revision != only.Revision {
		t.Errorf("%+v", s)
	}
}

func TestOfTwoAppliesOnOneRevisionOneWins(t *testing.T) {
	f := newFleet(t)
	f.apply(ping("base", ""))
	var answers [2]answered
	tag := f.tag(1)
	var both sync.WaitGroup
	for i := range answers {
		both.Go(func() {
			var err error
			if answers[i], err = f.ask("POST", api.PathApply, ping(fmt.Sprint("r", i), ""), header("If-Match", tag)); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	slices.SortFunc(answers[:], func(a, b answered) int { return a.status - b.status })
	won := want[api.ApplyResult](t, answers[0], http.StatusOK)
	lost := refused(t, answers[1], api.TypeStale)
	if won.Revision != 2 || lost.Revision != 2 {
		t.Errorf("won %+v, lost %+v", won, lost)
	}
	if s := f.status(); s.Revision != 2 || s.Resources["Route"] != 2 {
		t.Errorf("status %+v", s)
	}
	// The loser tries again on what it was told.
	name := ping(fmt.Sprint("r", 2), "")
	if got := f.apply(name, header("If-Match", strings.Trim(f.tag(2), `"`))); got.Revision != 3 {
		t.Errorf("got %+v", got)
	}
}

func TestIfMatchNamesTheEpochToo(t *testing.T) {
	f := newFleet(t)
	f.apply(ping("base", ""))
	epoch, asJSON := f.status().Epoch, header("Content-Type", api.MediaJSON)
	if got := f.do("GET", api.PathStatus, "").header.Get("ETag"); got != f.tag(1) {
		t.Errorf("status has tag %s, want %s", got, f.tag(1))
	}
	for _, tag := range []string{api.RevisionTag(epoch-1, 1), api.RevisionTag(epoch+1, 1), `"1"`, "1", api.EpochTag(epoch)} {
		e := refused(t, f.do("POST", api.PathApply, ping("base", "2"), header("If-Match", tag)), api.TypeStale)
		if !strings.Contains(e.Detail, f.tag(1)) || e.Revision != 1 {
			t.Errorf("%s: %q, revision %d, does not say the tag in force", tag, e.Detail, e.Revision)
		}
		refused(t, f.do("POST", api.PathRollback, `{"revision": 1}`, asJSON, header("If-Match", tag)), api.TypeStale)
	}
	changed := f.do("POST", api.PathApply, ping("base", "2"), header("If-Match", f.tag(1)))
	if want[api.ApplyResult](t, changed, http.StatusOK).Revision != 2 || changed.header.Get("ETag") != f.tag(2) {
		t.Errorf("%s, tag %s", changed.body, changed.header.Get("ETag"))
	}
}

func TestConcurrentAppliesWithoutIfMatchAllWin(t *testing.T) {
	f := newFleet(t)
	const n = 6
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if a, err := f.ask("POST", api.PathApply, ping(fmt.Sprint("r", i), "")); err != nil || a.status != http.StatusOK {
				t.Errorf("%v, status %d: %s", err, a.status, a.body)
			}
		})
	}
	all.Wait()
	if s := f.status(); s.Revision != n || s.Resources["Route"] != n {
		t.Errorf("status %+v", s)
	}
}

func TestTwoThousandResourcesAreOneRevision(t *testing.T) {
	f := newFleet(t)
	var body strings.Builder
	for i := range 2000 {
		body.WriteString("---\n" + ping(fmt.Sprint("r", i), ""))
	}
	result := f.apply(body.String())
	if result.Revision != 1 || len(result.Changed) != 2000 {
		t.Fatalf("revision %d, %d changed", result.Revision, len(result.Changed))
	}
	list := want[api.ResourceList](t, f.do("GET", "/v1/routes", ""), http.StatusOK)
	if len(list.Items) != 2000 || list.Version != result.Version {
		t.Errorf("%d items of %+v", len(list.Items), list.Version)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	f := newFleet(t)
	before := f.apply(ping("a", "")).Version
	dry := f.apply(ping("b", ""), func(r *http.Request) { r.URL.RawQuery = "dryRun=true" })
	if !dry.DryRun || dry.Revision != before.Revision || dry.Digest == before.Digest || dry.Changed[0].Action != api.Created {
		t.Errorf("dry run: %+v", dry)
	}
	if s := f.status(); s.Version != before {
		t.Errorf("was %+v, is %+v", before, s.Version)
	}
	// The digest that it promised is the one that the write has.
	if real := f.apply(ping("b", "")); real.Digest != dry.Digest {
		t.Errorf("promised %s, got %s", dry.Digest, real.Digest)
	}
	gone := want[api.ApplyResult](t, f.do("DELETE", "/v1/routes/a?dryRun=true", ""), http.StatusOK)
	if !gone.DryRun || f.status().Revision != 2 {
		t.Errorf("dry delete: %+v", gone)
	}
}

func TestRollbackRestoresByteForByte(t *testing.T) {
	f := newFleet(t)
	first := f.apply(example(t, "first.yaml"))
	texts := func() string {
		var all strings.Builder
		for _, plural := range []string{"listeners", "upstreams", "routes"} {
			all.Write(f.do("GET", "/v1/"+plural, "", header("Accept", api.MediaYAML)).body)
		}
		return all.String()
	}
	was := texts()
	f.apply(strings.ReplaceAll(example(t, "first.yaml"), "weight: 95", "weight: 50"))
	f.apply(ping("more", ""))
	want[api.ApplyResult](t, f.do("DELETE", "/v1/routes/old-home", ""), http.StatusOK)
	if texts() == was {
		t.Fatal("the changes changed nothing")
	}

	rolled := want[api.ApplyResult](t, f.do("POST", api.PathRollback, `{"revision": 1}`, header("Content-Type", api.MediaJSON), header("If-Match", f.tag(4))), http.StatusOK)
	if rolled.Revision != 5 || rolled.Digest != first.Digest {
		t.Errorf("got %+v, want the digest of %+v", rolled, first)
	}
	expected := []api.Changed{
		{Kind: "Route", Name: "api", Action: api.Configured},
		{Kind: "Route", Name: "more", Action: api.Deleted},
		{Kind: "Route", Name: "old-home", Action: api.Created},
	}
	if diff := cmp.Diff(expected, rolled.Changed); diff != "" {
		t.Error(diff)
	}
	if texts() != was {
		t.Errorf("was:\n%s\nis:\n%s", was, texts())
	}
	if c := f.status().LastChange; c.Message != "rollback to revision 1" {
		t.Errorf("message %q", c.Message)
	}

	refused(t, f.do("POST", api.PathRollback, `{"revision": 99}`, header("Content-Type", api.MediaJSON)), api.TypeNotFound)
	refused(t, f.do("POST", api.PathRollback, `{}`, header("Content-Type", api.MediaJSON)), api.TypeMalformed)
	refused(t, f.do("POST", api.PathRollback, `{"revison": 1}`, header("Content-Type", api.MediaJSON)), api.TypeMalformed)
	refused(t, f.do("POST", api.PathRollback, `revision: 1`), api.TypeMediaType)
	refused(t, f.do("POST", api.PathRollback, `{"revision": 1}`, header("Content-Type", api.MediaJSON), header("If-Match", f.tag(4))), api.TypeStale)
}

func TestDeleteOfWhatIsReferencedNamesByWhom(t *testing.T) {
	f := newFleet(t)
	f.apply(example(t, "first.yaml"))
	e := refused(t, f.do("DELETE", "/v1/upstreams/api-v2", ""), api.TypeReferenced)
	var got []string
	for _, p := range e.Problems {
		got = append(got, p.Kind+"/"+p.Name+" "+p.Field)
	}
	if diff := cmp.Diff([]string{"Route/api spec.forward[1].upstream", "Route/api-testers spec.forward[0].upstream"}, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(e.Detail, "Route/api, Route/api-testers") {
		t.Errorf("detail %q", e.Detail)
	}
	for _, path := range []string{"/v1/routes/api", "/v1/routes/api-testers", "/v1/upstreams/api-v2"} {
		want[api.ApplyResult](t, f.do("DELETE", path, ""), http.StatusOK)
	}
	refused(t, f.do("DELETE", "/v1/upstreams/api-v2", ""), api.TypeNotFound)
	if s := f.status(); s.Revision != 4 || s.Resources["Upstream"] != 2 {
		t.Errorf("status %+v", s)
	}
}

func TestPutHasItsOwnTags(t *testing.T) {
	f := newFleet(t)
	created := f.do("PUT", "/v1/routes/a", ping("a", "1"))
	want[api.ApplyResult](t, created, http.StatusCreated)
	tag := created.header.Get("ETag")
	if got := f.do("GET", "/v1/routes/a", ""); got.header.Get("ETag") != tag || tag == "" {
		t.Fatalf("PUT said %s, GET says %s", tag, got.header.Get("ETag"))
	}
	refused(t, f.do("PUT", "/v1/routes/a", ping("a", "2"), header("If-None-Match", "*")), api.TypeExists)
	refused(t, f.do("PUT", "/v1/routes/b", ping("b", "2"), header("If-Match", "*")), api.TypeStale)
	// Changes elsewhere do not matter.
	f.apply(ping("b", ""))
	changed := f.do("PUT", "/v1/routes/a", ping("a", "2"), header("If-Match", tag))
	want[api.ApplyResult](t, changed, http.StatusOK)
	if changed.header.Get("ETag") == tag {
		t.Error("the tag stayed")
	}
	refused(t, f.do("PUT", "/v1/routes/a", ping("a", "3"), header("If-Match", tag)), api.TypeStale)
	refused(t, f.do("DELETE", "/v1/routes/a", "", header("If-Match", tag)), api.TypeStale)
	want[api.ApplyResult](t, f.do("DELETE", "/v1/routes/a", "", header("If-Match", changed.header.Get("ETag"))), http.StatusOK)

	for _, body := range []string{ping("other", ""), "kind: Upstream\nname: a\nspec: {endpoints: [{address: 127.0.0.1:1}]}\n"} {
		e := refused(t, f.do("PUT", "/v1/routes/a", body), api.TypeInvalid)
		if len(e.Problems) != 1 || !strings.Contains(e.Problems[0].Expected, "as in the path") {
			t.Errorf("got %+v", e.Problems)
		}
	}
	refused(t, f.do("PUT", "/v1/routes/a", ping("a", "")+"---\n"+ping("b", "")), api.TypeMalformed)
}

func TestShrinkingByMoreThanHalfNeedsToBeMeant(t *testing.T) {
	f := newFleet(t)
	f.apply(ping("base", ""))
	var many strings.Builder
	for i := range 20 {
		many.WriteString("---\n" + ping(fmt.Sprint("r", i), ""))
	}
	f.apply(many.String())
	back := func(query string) answered {
		return f.do("POST", api.PathRollback+query, `{"revision": 1}`, header("Content-Type", api.MediaJSON))
	}
	e := refused(t, back(""), api.TypeShrinks)
	if !strings.Contains(e.Detail, "1 of 21") || !strings.Contains(e.Detail, "allowShrink") {
		t.Errorf("detail %q", e.Detail)
	}
	want[api.ApplyResult](t, back("?allowShrink=true"), http.StatusOK)
}

func TestNodesAreNoConfiguration(t *testing.T) {
	f := newFleet(t)
	e := refused(t, f.do("POST", api.PathApply, ping("a", "")+"---\nkind: Node\nname: n1\nspec: {expected: true}\n"), api.TypeInvalid)
	if len(e.Problems) != 1 || e.Problems[0].Kind != "Node" || e.Problems[0].Line != 7 || !strings.Contains(e.Problems[0].Expected, "/v1/nodes/n1") {
		t.Errorf("got %+v", e.Problems)
	}
}

func TestTheAuthorIsTheAddressUnlessSaid(t *testing.T) {
	f := newFleet(t)
	f.apply(ping("a", ""))
	if got := f.status().LastChange.Author; got != "anonymous@127.0.0.1" {
		t.Errorf("author %q", got)
	}
	refused(t, f.do("POST", api.PathApply, ping("b", ""), header(api.HeaderAuthor, strings.Repeat("x", api.MaxAuthor+1))), api.TypeMalformed)
	refused(t, f.do("POST", api.PathApply, ping("b", ""), header(api.HeaderAuthor, "a\tb")), api.TypeMalformed)
}
