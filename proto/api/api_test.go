package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestShapesKeepTheirFieldNames pins the names that clients rely on.
func TestShapesKeepTheirFieldNames(t *testing.T) {
	at := time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	v := Version{Epoch: 7, Revision: 3, Digest: "ab"}
	entry := HistoryEntry{Version: v, DigestBefore: "aa", Time: at, Author: "eve", Message: "m", Upserted: 1, Removed: 2}
	for _, c := range []struct {
		value any
		want  string
	}{
		{
			ApplyResult{Version: v, Changed: []Changed{{Kind: "Route", Name: "api", Action: Created}}},
			`{"epoch":7,"revision":3,"digest":"ab","changed":[{"kind":"Route","name":"api","action":"created"}],"dryRun":false}`,
		},
		{entry, `{"epoch":7,"revision":3,"digest":"ab","digestBefore":"aa","time":"2026-11-02T10:00:00Z","author":"eve","message":"m","upserted":1,"removed":2}`},
		{
			Diff{From: v, Entries: []DiffEntry{{Kind: "Route", Name: "api", Action: Deleted, Before: "x"}}, Deleted: 1},
			`{"from":{"epoch":7,"revision":3,"digest":"ab"},"to":{"epoch":0,"revision":0,"digest":""},"entries":[{"kind":"Route","name":"api","action":"deleted","before":"x"}],"created":0,"configured":0,"deleted":1}`,
		},
		{
			NodeStatus{ID: "n1", State: Synced, Wanted: v},
			`{"id":"n1","expected":false,"cordoned":false,"drained":false,"connected":false,"state":"SYNCED","wanted":{"epoch":7,"revision":3,"digest":"ab"},"requests":0,"connections":0,"errors":0}`,
		},
		{
			Explanation{Version: v, Listeners: []ExplainedListener{{Name: "web", Status: 404, Steps: []ExplainedStep{{Hosts: "a.test"}}}}},
			`{"epoch":7,"revision":3,"digest":"ab","listeners":[{"name":"web","status":404,"steps":[{"hosts":"a.test"}]}]}`,
		},
		{Event{ID: 1, Type: EventChange, Time: at}, `{"id":1,"type":"change","time":"2026-11-02T10:00:00Z"}`},
		{
			Problem{Document: 1, Line: 2, Kind: "Route", Name: "r", Field: "spec.hots", Got: "hots", Expected: "a field", Suggestion: "hosts"},
			`{"document":1,"line":2,"kind":"Route","name":"r","field":"spec.hots","got":"hots","expected":"a field","suggestion":"hosts"}`,
		},
	} {
		got, err := json.Marshal(c.value)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != c.want {
			t.Errorf("%T:\n got %s\nwant %s", c.value, got, c.want)
		}
	}
}

func TestErrorIsReadBackAsAnError(t *testing.T) {
	sent := NewError(TypeInvalid, "2 problems")
	sent.Problems = []Problem{{Document: 1, Line: 2, Kind: "Route", Name: "typo", Field: "spec.hots", Expected: "a field of Route", Suggestion: "hosts"}}
	wire, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	got := new(Error)
	if err := json.Unmarshal(wire, got); err != nil {
		t.Fatal(err)
	}
	var as *Error
	if !errors.As(error(got), &as) || as.Status != http.StatusUnprocessableEntity || as.Type != TypeInvalid {
		t.Errorf("got %+v", got)
	}
	want := "2 problems\nline 2: document 1: Route/typo: spec.hots: expected a field of Route; did you mean hosts?"
	if got.Error() != want {
		t.Errorf("got  %q\nwant %q", got.Error(), want)
	}
}

func TestEveryErrorTypeHasATitleAndAClientOrServerStatus(t *testing.T) {
	for _, e := range ErrorTypes() {
		if e.Status() < 400 || e.Title() == "" || !strings.HasPrefix(string(e), "urn:proxyfleet:problem:") {
			t.Errorf("%s: status %d, title %q", e, e.Status(), e.Title())
		}
	}
}

func TestPathsEscapeNames(t *testing.T) {
	if got := ResourcePath("routes", "a/b c"); got != "/v1/routes/a%2Fb%20c" {
		t.Error(got)
	}
	if got := RevisionPath(42); got != "/v1/history/42" {
		t.Error(got)
	}
}
