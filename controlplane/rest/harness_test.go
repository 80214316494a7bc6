package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/proxyfleet/proxyfleet/controlplane/embedded/embeddedtest"
	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/controlplane/stream"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

// etcd is that of all tests, each of which has a prefix of its own.
var etcd *clientv3.Client

func TestMain(m *testing.M) {
	os.Exit(embeddedtest.Main(m, func(c *clientv3.Client) { etcd = c }))
}

// fleet is a control plane without its main: store, publisher, Sync stream and
// REST are the real ones.
type fleet struct {
	*testing.T
	server *Server
	store  *store.Store
	url    string
	grpc   string
	client *http.Client
	// document is what every answer is held against.
	document *openAPI
}

func newFleet(t *testing.T, change ...func(*Config)) *fleet {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	open, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	key, err := seal.Parse(seal.Generate())
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(open, etcd, store.Options{Seal: key, Prefix: fmt.Sprintf("/%s/%x/", t.Name(), rand.Uint64()), Tick: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	publisher := publish.New(publish.Config{Store: st, Logger: logger})
	known := nodes.New(nodes.Config{Publisher: publisher, Records: st, Logger: logger})
	streams := stream.New(stream.Config{Publisher: publisher, Nodes: known, Logger: logger})
	f := &fleet{T: t, store: st, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(f.client.CloseIdleConnections)
	rest, sync := listen(t), listen(t)
	f.url, f.grpc = "http://"+rest.Addr().String(), sync.Addr().String()
	cfg := Config{
		Bound: netip.MustParseAddrPort(rest.Addr().String()),
		Store: st, Records: st, Epochs: st, Checker: publisher, Explainer: publisher, Nodes: known, Heads: st,
		Certificates: publisher.Certificates,
		Committed:    publisher.Kick,
		Ready:        []Check{{Name: "store", Run: func(ctx context.Context) error { _, err := st.Current(ctx); return err }}},
		Metrics:      http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "x_total 1") }),
		Build:        api.Build{Version: "test", Go: "go"},
		Now:          time.Now, Logger: logger,
	}
	for _, c := range change {
		c(&cfg)
	}
	if f.server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	f.document = readOpenAPI(t, f.server.openAPI)
	for name, run := range map[string]func() error{
		"publish": func() error { return publisher.Run(ctx) },
		"nodes":   func() error { return known.Run(ctx) },
		"stream":  func() error { return streams.Serve(ctx, sync) },
		"rest":    func() error { return f.server.Run(ctx, rest) },
	} {
		running.Go(func() {
			if err := run(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	return f
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answered is an answer, read whole.
type answered struct {
	status int
	header http.Header
	body   []byte
}

// option changes a request before it is sent.
type option func(*http.Request)

func header(name, value string) option {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// do is ask for the goroutine of the test, which ends where there is no answer.
func (f *fleet) do(method, path, body string, options ...option) answered {
	f.Helper()
	a, err := f.ask(method, path, body, options...)
	if err != nil {
		f.Fatal(err)
	}
	return a
}

// ask asks, on any goroutine.
func (f *fleet) ask(method, path, body string, options ...option) (answered, error) {
	f.Helper()
	r, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		return answered{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", api.MediaYAML)
	}
	for _, o := range options {
		o(r)
	}
	response, err := f.client.Do(r)
	if err != nil {
		return answered{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answered{}, err
	}
	a := answered{response.StatusCode, response.Header, text}
	if err := f.document.check(method, r.URL.Path, a); err != nil {
		f.Error(err)
	}
	return a, nil
}

// want decodes an answer of the status into a T.
func want[T any](t *testing.T, a answered, status int) T {
	t.Helper()
	var v T
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("answer: %v: %s", err, a.body)
	}
	return v
}

// refused is the problem document of an answer of the type.
func refused(t *testing.T, a answered, of api.ErrorType) api.Error {
	t.Helper()
	e := want[api.Error](t, a, of.Status())
	if e.Type != of || e.Status != of.Status() || a.header.Get("Content-Type") != api.MediaProblem {
		t.Fatalf("got %+v as %s, want type %s", e, a.header.Get("Content-Type"), of)
	}
	return e
}

func (f *fleet) apply(body string, options ...option) api.ApplyResult {
	f.Helper()
	return want[api.ApplyResult](f.T, f.do("POST", api.PathApply, body, options...), http.StatusOK)
}

func (f *fleet) status() api.Status {
	f.Helper()
	return want[api.Status](f.T, f.do("GET", api.PathStatus, ""), http.StatusOK)
}

// tag is the ETag of a revision of the epoch in force.
func (f *fleet) tag(revision uint64) string {
	f.Helper()
	return api.RevisionTag(f.status().Epoch, revision)
}

func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ping is a route that stands alone.
func ping(name, body string) string {
	return fmt.Sprintf("kind: Route\nname: %s\nspec:\n  match: {path: {exact: /%s}}\n  respond: {status: 200, body: %q}\n", name, name, body)
}
