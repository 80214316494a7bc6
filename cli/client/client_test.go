package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

const ping = "kind: Route\nname: ping\nspec: {match: {path: {exact: /ping}}, respond: {status: 200}}\n"

func connect(t *testing.T, server string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Server: server, Author: "eve@laptop"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestResourcesLiveTheirLife(t *testing.T) {
	server := controlplanetest.New(t)
	c := connect(t, server.URL+"/")
	ctx := t.Context()
	result, err := c.Apply(ctx, []byte(ping), client.Write{Message: "a message"})
	if err != nil || result.Revision != 1 || len(result.Changed) != 1 || result.Changed[0].Action != api.Created {
		t.Fatalf("apply: %+v, %v", result, err)
	}
	text, tag, err := c.GetYAML(ctx, "routes", "ping")
	if err != nil || tag == "" || !strings.Contains(string(text), "exact: /ping") {
		t.Fatalf("get: %q, %s, %v", text, tag, err)
	}
	changed := []byte(strings.Replace(string(text), "200", "204", 1))
	if result, err = c.Put(ctx, "routes", "ping", changed, client.Write{IfMatch: tag}); err != nil || result.Revision != 2 {
		t.Fatalf("put: %+v, %v", result, err)
	}
	if _, err = c.Put(ctx, "routes", "ping", changed, client.Write{IfMatch: tag}); !refused(err, api.TypeStale) {
		t.Errorf("put of what was changed since: %v", err)
	}
	if _, err = c.Put(ctx, "routes", "ping", changed, client.Write{CreateOnly: true}); !refused(err, api.TypeExists) {
		t.Errorf("put of what exists: %v", err)
	}
	if d, err := c.DiffRevisions(ctx, 1, 0); err != nil || d.Configured != 1 {
		t.Errorf("diff: %+v, %v", d, err)
	}
	if d, err := c.Diff(ctx, []byte(ping)); err != nil || d.Configured != 1 {
		t.Errorf("diff: %+v, %v", d, err)
	}
	if result, err = c.Rollback(ctx, 1, client.Write{IfMatch: api.RevisionTag(controlplanetest.Epoch, 2), Message: "back"}); err != nil || result.Revision != 3 {
		t.Errorf("rollback: %+v, %v", result, err)
	}
	if result, err = c.Delete(ctx, "routes", "ping", client.Write{DryRun: true}); err != nil || result.Revision != 3 || !result.DryRun {
		t.Errorf("dry delete: %+v, %v", result, err)
	}
	if _, err = c.Delete(ctx, "routes", "ping", client.Write{}); err != nil {
		t.Error(err)
	}
	if list, err := c.List(ctx, "routes"); err != nil || len(list.Items) != 0 {
		t.Errorf("list: %+v, %v", list, err)
	}
	history, err := c.History(ctx, 4, 2)
	if err != nil || len(history.Items) != 2 || history.Items[0].Message != "back" || history.Next == 0 {
		t.Errorf("history: %+v, %v", history, err)
	}
	if d, err := c.Change(ctx, 1); err != nil || d.Author != "eve@laptop" || d.Message != "a message" {
		t.Errorf("change: %+v, %v", d, err)
	}
}

func refused(err error, t api.ErrorType) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Type == t
}

func TestNamesAreEscapedInPaths(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.RequestURI) }))
	defer server.Close()
	c := connect(t, server.URL+"/base/")
	_, _, _ = c.GetYAML(t.Context(), "routes", "a/../b c?d")
	if want := "/base/v1/routes/a%2F..%2Fb%20c%3Fd"; len(got) != 1 || got[0] != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestAServerThatGivesNoAnswerIsToldFromOneThatRefuses(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	hangsUp := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer hangsUp.Close()
	for name, server := range map[string]string{
		"nobody listens": gone.URL, "nobody speaks": "http://" + silent.Addr().String(), "it hangs up": hangsUp.URL,
		"no such name": "http://fleet.invalid",
	} {
		t.Run(name, func(t *testing.T) {
			patience := time.Minute
			if name == "nobody speaks" || name == "no such name" {
				patience = time.Second // in which a request is sent
			}
			c, err := client.New(client.Options{Server: server, Timeout: patience})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // more than all calls take
			defer cancel()
			if _, err = c.Status(ctx); !errors.Is(err, client.ErrNoServer) || !strings.Contains(err.Error(), server) {
				t.Errorf("got %v", err)
			}
			_, err = c.Apply(ctx, []byte(ping), client.Write{})
			unknown := strings.Contains(err.Error(), "whether the change was made is not known")
			if sent := name == "nobody speaks" || name == "it hangs up"; unknown != sent {
				t.Errorf("sent: %v, got %v", sent, err)
			}
			if _, err = c.Apply(ctx, []byte(ping), client.Write{DryRun: true}); strings.Contains(err.Error(), "not known") {
				t.Errorf("a dry run: %v", err)
			}
			if _, err = c.Diff(ctx, []byte(ping)); strings.Contains(err.Error(), "not known") {
				t.Errorf("a comparison: %v", err)
			}
			if ctx.Err() != nil {
				t.Error("a call has as long as its caller")
			}
		})
	}
}

func TestOtherServersAreToldApart(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"not found": http.NotFound,
		"a page":    func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>\x1b[2J") },
		"redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
		"a problem that is none": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", api.MediaProblem)
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, "oops")
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			_, err := connect(t, server.URL).Status(t.Context())
			var unexpected *client.UnexpectedError
			if !errors.As(err, &unexpected) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNotReadyIsAnAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", api.MediaJSON)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"ok":false,"checks":[{"name":"store","ok":false}]}`)
	}))
	defer server.Close()
	h, err := connect(t, server.URL).Ready(t.Context())
	if err != nil || h.OK || len(h.Checks) != 1 {
		t.Errorf("got %+v, %v", h, err)
	}
}

func TestEventsAreReadUntilTheReaderOrTheStreamEnds(t *testing.T) {
	server := controlplanetest.New(t)
	c := connect(t, server.URL)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	enough := errors.New("enough")
	var types []api.EventType
	err := c.Events(ctx, func(e api.Event) error {
		types = append(types, e.Type)
		if len(types) == 1 {
			_, err := c.Apply(ctx, []byte(ping), client.Write{})
			return err
		}
		return enough
	})
	if !errors.Is(err, enough) || len(types) != 2 || types[0] != api.EventStatus || types[1] != api.EventChange {
		t.Errorf("got %v, %v", types, err)
	}
	err = c.Events(ctx, func(api.Event) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
}

func TestTheAddressForNodesIsToldAsSuch(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00")) // SETTINGS, as gRPC begins
			conn.Close()
		}
	}()
	c, err := client.New(client.Options{Server: "http://" + listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Status(t.Context())
	if !errors.Is(err, client.ErrNoServer) || !strings.Contains(err.Error(), "what answers speaks no HTTP/1.1: expected the REST address (by default port 7400), not that for nodes") {
		t.Errorf("got %v", err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t)
	server := httptest.NewServer(controlplanetest.NewHandler())
	defer server.Close()
	c, err := client.New(client.Options{Server: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestAuthorsAreMadePrintable(t *testing.T) {
	server := controlplanetest.New(t)
	c, err := client.New(client.Options{Server: server.URL, Author: "e v\ne\u00e9" + strings.Repeat("x", 1000)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Apply(t.Context(), []byte(ping), client.Write{}); err != nil {
		t.Fatal(err)
	}
	d, err := c.Change(t.Context(), 1)
	if err != nil || !strings.HasPrefix(d.Author, "evex") || len(d.Author) != api.MaxAuthor {
		t.Errorf("author %q, %v", d.Author, err)
	}
}

func TestTheContextFileIsReadAsItWasWrittenByItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "proxyctl.yaml")
	c, err := client.ReadContexts(path)
	if err != nil || len(c.Contexts) != 0 {
		t.Fatalf("no file: %+v, %v", c, err)
	}
	c.Set(client.Context{Name: "a", Server: "http://a:7400"})
	c.Set(client.Context{Name: "b", Server: "https://b"})
	c.Set(client.Context{Name: "b", Server: "https://b.example"})
	if err := c.Write(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	got, err := client.ReadContexts(path)
	if err != nil || got.Current != "a" || len(got.Contexts) != 2 || got.Contexts[1].Server != "https://b.example" {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := got.Delete("a"); err != nil || got.Current != "" || len(got.Contexts) != 1 {
		t.Errorf("after delete: %+v, %v", got, err)
	}
	if err := got.Delete("a"); !errors.Is(err, client.ErrNoContext) {
		t.Errorf("delete again: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside the file: %v, %v", entries, err)
	}
}

func TestContextFileIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":      "now: a\n",
		"no such current":    "current: a\n",
		"named twice":        "contexts: [{name: a, server: http://a}, {name: a, server: http://b}]\n",
		"no name":            "contexts: [{server: http://a}]\n",
		"a blank in a name":  "contexts: [{name: a b, server: http://a}]\n",
		"not a URL":          "contexts: [{name: a, server: 127.0.0.1:7400}]\n",
		"a password":         "contexts: [{name: a, server: http://u:p@a}]\n",
		"not YAML":           "contexts: {\n",
		"another kind":       "- a\n",
		"far too much of it": "# " + strings.Repeat("x", 2<<20) + "\n",
	} {
		path := filepath.Join(t.TempDir(), "proxyctl.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := client.ReadContexts(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
