package rest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// certificateBody is a certificate as clients send it.
func certificateBody(t *testing.T, name string, p *certificatetest.Pair) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"kind": "Certificate", "name": name, "spec": map[string]string{"chain": p.Chain, "key": p.Key},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func until(t *testing.T, days int) *certificatetest.Pair {
	t.Helper()
	return certificatetest.SelfSigned(t, certificatetest.Options{
		Names: []string{"shop.test"}, NotBefore: time.Now().AddDate(0, 0, days-90), NotAfter: time.Now().AddDate(0, 0, days).Add(time.Hour),
	})
}

// TestARollbackDoesNotBringBackTheYearsCertificateThatAShorterOneReplaced: it ends later,
// and may have been replaced because its key leaked.
func TestARollbackDoesNotBringBackTheYearsCertificateThatAShorterOneReplaced(t *testing.T) {
	f := newFleet(t)
	year := certificatetest.SelfSigned(t, certificatetest.Options{
		Names: []string{"shop.test"}, NotBefore: time.Now().AddDate(0, 0, -100), NotAfter: time.Now().AddDate(0, 0, 265),
	})
	f.apply(certificateBody(t, "site", year))
	f.apply(certificateBody(t, "site", until(t, 80)))
	in := f.do("GET", "/v1/certificates/site", "")
	rolled := rollback(t, f, `{"revision": 1}`)
	if len(rolled.Kept) != 1 || rolled.Kept[0].Reason != api.KeptOlder {
		t.Errorf("kept: %+v", rolled.Kept)
	}
	if now := f.do("GET", "/v1/certificates/site", ""); now.header.Get("ETag") != in.header.Get("ETag") {
		t.Error("the year's certificate is in force again")
	}
}

func rollback(t *testing.T, f *fleet, body string) api.ApplyResult {
	t.Helper()
	return want[api.ApplyResult](t, f.do("POST", api.PathRollback, body, header("Content-Type", api.MediaJSON)), http.StatusOK)
}

func TestNoAnswerHoldsAPrivateKey(t *testing.T) {
	f := newFleet(t)
	one, two, wrong := until(t, 80), until(t, 85), until(t, 90)
	seen := func(what string, a answered) answered {
		t.Helper()
		for _, p := range []*certificatetest.Pair{one, two, wrong} {
			if p.Leaks(a.body) {
				t.Errorf("%s shows the private key:\n%s", what, a.body)
			}
			for _, values := range a.header {
				if p.Leaks([]byte(strings.Join(values, ""))) {
					t.Errorf("%s shows the private key in a field", what)
				}
			}
		}
		return a
	}
	json := header("Content-Type", api.MediaJSON)
	seen("apply", f.do("POST", api.PathApply, certificateBody(t, "site", one)))
	seen("put", f.do("PUT", "/v1/certificates/site", certificateBody(t, "site", two)))
	seen("dry run", f.do("POST", api.PathApply+"?dryRun=true", certificateBody(t, "site", one)))
	seen("refused", f.do("POST", api.PathApply, strings.Replace(certificateBody(t, "site", wrong), `"key"`, `"kez"`, 1)))
	seen("another's key", f.do("POST", api.PathApply, certificateBody(t, "site", &certificatetest.Pair{Chain: one.Chain, Key: wrong.Key})))
	seen("half a body", f.do("POST", api.PathApply, certificateBody(t, "site", one)[:len(one.Chain)+len(one.Key)/2]))
	seen("no certificate", f.do("POST", api.PathApply, "kind: Route\nname: "+strings.ReplaceAll(one.Key, "\n", " ")+"\n"))
	seen("diff of an apply", f.do("POST", api.PathDiff, certificateBody(t, "site", one)))
	for _, path := range []string{
		"/v1/certificates", "/v1/certificates/site", "/v1/history", "/v1/history/1", "/v1/history/2",
		"/v1/diff?from=1&to=2", "/v1/diff?from=0", "/v1/status", "/v1/nodes", "/metrics",
	} {
		for _, accept := range []string{api.MediaJSON, api.MediaYAML} {
			a := seen(path+" as "+accept, f.do("GET", path, "", header("Accept", accept)))
			if strings.HasPrefix(path, "/v1/certificates") && (a.status != http.StatusOK || !strings.Contains(string(a.body), "keyFingerprint")) {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
	}
	seen("rollback", f.do("POST", api.PathRollback, `{"revision": 1, "withCertificates": true}`, json))
	seen("delete", f.do("DELETE", "/v1/certificates/site", ""))
}

func TestWhatIsShownOfACertificateCanBeWrittenBack(t *testing.T) {
	f := newFleet(t)
	one, two := until(t, 80), until(t, 85)
	f.apply(certificateBody(t, "site", one))
	got := f.do("GET", "/v1/certificates/site", "", header("Accept", api.MediaYAML))
	same := f.do("PUT", "/v1/certificates/site", string(got.body), header("If-Match", got.header.Get("ETag")))
	if r := want[api.ApplyResult](t, same, http.StatusOK); r.Revision != 1 || r.Changed[0].Action != api.Unchanged || same.header.Get("ETag") != got.header.Get("ETag") {
		t.Errorf("written back as it was: %+v, tag %s, was %s", r, same.header.Get("ETag"), got.header.Get("ETag"))
	}
	labelled := strings.Replace(string(got.body), "spec:", "labels: {team: shop}\nspec:", 1)
	if r := f.apply(labelled); r.Revision != 2 || r.Changed[0].Action != api.Configured {
		t.Errorf("with a label: %+v", r)
	}
	f.apply(certificateBody(t, "site", two))
	e := refused(t, f.do("POST", api.PathApply, string(got.body)), api.TypeInvalid)
	if len(e.Problems) != 1 || e.Problems[0].Field != "spec.keyFingerprint" || e.Problems[0].Line == 0 {
		t.Errorf("the fingerprint of a key that is no longer kept: %+v", e.Problems)
	}
	e = refused(t, f.do("POST", api.PathApply, strings.Replace(string(got.body), "name: site", "name: other", 1)), api.TypeInvalid)
	if len(e.Problems) != 1 || e.Problems[0].Field != "spec.keyFingerprint" || !strings.Contains(e.Problems[0].Expected, "proxy-dataplane export") {
		t.Errorf("the fingerprint of another resource's key: %+v", e.Problems)
	}
	e = refused(t, f.do("POST", api.PathApply, "kind: Certificate\nname: x\nspec: {chainFile: a, keyFile: b}\n"), api.TypeInvalid)
	if len(e.Problems) != 2 {
		t.Errorf("names of files: %+v", e.Problems)
	}
}

func TestARollbackDoesNotBringBackExpiredOrOlderCertificates(t *testing.T) {
	f := newFleet(t)
	old, expired, renewed, longer := until(t, 20), until(t, -1), until(t, 80), until(t, 100)
	// Revision 1: all of then. The expired one was not when it was put there.
	f.apply(certificateBody(t, "older", old) + "\n" + certificateBody(t, "expired", expired) + "\n" +
		certificateBody(t, "newer", longer) + "\n" + certificateBody(t, "gone", expired) + "\n---\n" + ping("a", "1"))
	// Revision 2: what is in force.
	f.apply(certificateBody(t, "older", renewed) + "\n" + certificateBody(t, "expired", renewed) + "\n" +
		certificateBody(t, "newer", renewed) + "\n" + certificateBody(t, "fresh", renewed) + "\n---\n" + ping("a", "2"))
	want[api.ApplyResult](t, f.do("DELETE", "/v1/certificates/gone", ""), http.StatusOK)
	fingerprint := func(name string) string {
		var r struct {
			Spec struct{ KeyFingerprint string }
		}
		a := f.do("GET", "/v1/certificates/"+name, "")
		if a.status != http.StatusOK {
			return "none"
		}
		if err := json.Unmarshal(a.body, &r); err != nil {
			t.Fatal(err)
		}
		return r.Spec.KeyFingerprint
	}
	before := map[string]string{}
	for _, name := range []string{"older", "expired", "newer", "gone", "fresh"} {
		before[name] = fingerprint(name)
	}

	dry := want[api.ApplyResult](t, f.do("POST", api.PathRollback+"?dryRun=true", `{"revision": 1}`, header("Content-Type", api.MediaJSON)), http.StatusOK)
	rolled := rollback(t, f, `{"revision": 1}`)
	if diff := cmp.Diff(dry.Kept, rolled.Kept); diff != "" {
		t.Errorf("a dry run says something else: %s", diff)
	}
	var kept []string
	for _, k := range rolled.Kept {
		kept = append(kept, k.Name+" "+string(k.Reason))
		if (k.InForce == nil) != (k.Name == "gone") {
			t.Errorf("%s: in force %v", k.Name, k.InForce)
		}
	}
	if diff := cmp.Diff([]string{"expired expired", "gone expired", "older older"}, kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	for name, stays := range map[string]bool{"older": true, "expired": true, "gone": true, "newer": false} {
		if same := fingerprint(name) == before[name]; same != stays {
			t.Errorf("%s: stayed %v, want %v", name, same, stays)
		}
	}
	expected := []api.Changed{
		{Kind: "Certificate", Name: "fresh", Action: api.Deleted},
		{Kind: "Certificate", Name: "newer", Action: api.Configured},
		{Kind: "Route", Name: "a", Action: api.Configured},
	}
	if diff := cmp.Diff(expected, rolled.Changed); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}

	forced := rollback(t, f, `{"revision": 1, "withCertificates": true}`)
	if len(forced.Kept) > 0 || fingerprint("older") == before["older"] || fingerprint("gone") == "none" {
		t.Errorf("forced: %+v", forced)
	}
	if _, err := json.Marshal(forced); err != nil || len(forced.Warnings) != 2 {
		t.Errorf("warnings of what came back: %+v", forced.Warnings)
	}
}

func TestCertificatesThatAreNotValidYetAreWarnedOf(t *testing.T) {
	f := newFleet(t)
	early := certificatetest.SelfSigned(t, certificatetest.Options{
		Names: []string{"shop.test"}, NotBefore: time.Now().AddDate(0, 0, 1), NotAfter: time.Now().AddDate(1, 0, 0),
	})
	r := f.apply(certificateBody(t, "early", early))
	if len(r.Warnings) != 1 || r.Warnings[0].Name != "early" || !strings.HasPrefix(r.Warnings[0].Message, "is not valid before ") {
		t.Errorf("apply warns of %+v", r.Warnings)
	}
	waittest.UntilSo(t, func() (string, bool) {
		all := f.status().Warnings
		return asJSON(all), len(all) == 1 && all[0] == r.Warnings[0]
	})
}

func TestCertificatesThatEndSoonAreWarnedOf(t *testing.T) {
	f := newFleet(t)
	r := f.apply(certificateBody(t, "soon", until(t, 5)) + "\n" + certificateBody(t, "later", until(t, 15)) + "\n" + certificateBody(t, "over", until(t, -2)))
	var got []string
	for _, w := range r.Warnings {
		got = append(got, w.Name+" "+strings.Join(strings.Fields(w.Message)[:3], " "))
	}
	if len(got) != 2 || got[0] != "soon expires in 5" || !strings.HasPrefix(got[1], "over expired at") {
		t.Errorf("apply warns of %q", got)
	}
	waittest.UntilSo(t, func() (string, bool) {
		all := f.status().Warnings
		return asJSON(all), len(all) == 2 && all[0].Name == "over" && all[1].Name == "soon"
	})
	if again := f.apply(ping("a", "")); len(again.Warnings) > 0 {
		t.Errorf("an apply that names no certificate warns of %v", again.Warnings)
	}
}

func TestStatusWarnsOfTheControlPlaneItself(t *testing.T) {
	f := newFleet(t, func(c *Config) { c.Notices = func() []string { return []string{"etcd is short of room"} } })
	f.apply(certificateBody(t, "soon", until(t, 5)))
	waittest.UntilSo(t, func() (string, bool) {
		all := f.status().Warnings
		return asJSON(all), len(all) == 2 && all[0] == api.Warning{Message: "etcd is short of room"} && all[1].Name == "soon"
	})
}
