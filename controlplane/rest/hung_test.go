package rest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// hung is a store that takes requests and answers none, as a stopped process does.
type hung struct {
	Store
	Records
	Epochs
}

// late is the store's error of one request.
func late(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("store: it: %w", ctx.Err())
}

func (hung) Current(ctx context.Context) (store.Configuration, error) {
	return store.Configuration{}, late(ctx)
}

func (hung) History(ctx context.Context, _ uint64, _ int) ([]*fleetv1.Change, error) {
	return nil, late(ctx)
}

func (hung) At(ctx context.Context, _ uint64) (store.Configuration, *fleetv1.Change, error) {
	return store.Configuration{}, nil, late(ctx)
}

func (hung) Node(ctx context.Context, _ string) (*fleetv1.NodeRecord, int64, error) {
	return nil, 0, late(ctx)
}

func (hung) DeleteNode(ctx context.Context, _ string) error { return late(ctx) }

func (hung) Epoch(ctx context.Context) (store.Epoch, error) {
	return store.Epoch{}, late(ctx)
}

// nobody are nodes of which none is known.
type nobody struct{}

func (nobody) Nodes() []api.NodeStatus                     { return nil }
func (nobody) VIPs() map[string][]api.VIPReport            { return nil }
func (nobody) Watch(context.Context) <-chan struct{}       { return nil }
func (nobody) MinSchemaLevel() (level uint32, node string) { return 0, "" }

// hungServer is one on a store that hangs, in a bubble of synctest.
func hungServer(t *testing.T, change func(*Config)) *Server {
	t.Helper()
	cfg := Config{
		Bound: netip.MustParseAddrPort("127.0.0.1:1"), Store: hung{}, Records: hung{}, Epochs: hung{}, Nodes: nobody{},
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asked is a request's answer, and how long it took.
func (s *Server) asked(t *testing.T, method, path, media, body string) (answer *httptest.ResponseRecorder, took time.Duration) {
	t.Helper()
	begin := time.Now()
	answer = httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Host = "127.0.0.1"
	r.Header.Set("Content-Type", media)
	s.Handler().ServeHTTP(answer, r)
	return answer, time.Since(begin)
}

func TestWhoReadsIsToldInTimeThatTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hungServer(t, nil)
		for _, path := range []string{
			api.PathStatus, "/v1/routes", api.PathNodes, api.NodePath("n"), api.PathEpoch,
			api.PathHistory, api.PathHistory + "/3", api.PathDiff + "?from=1&to=2",
		} {
			answer, took := s.asked(t, http.MethodGet, path, "", "")
			if answer.Code != http.StatusGatewayTimeout || took > readTimeout || !strings.Contains(answer.Body.String(), "etcd does not answer the control plane (store: it: ") {
				t.Errorf("%s: %d after %v: %s", path, answer.Code, took, answer.Body)
			}
		}
	})
}

// writes are all requests that change something.
var writes = []struct{ method, path, media, body string }{
	{http.MethodPut, api.NodePath("n"), api.MediaYAML, "kind: Node\nname: n\nspec: {drained: true}\n"},
	{http.MethodDelete, api.NodePath("n"), "", ""},
	{http.MethodPost, api.PathAccept, api.MediaJSON, `{"epoch": 7}`},
	{http.MethodPost, api.PathApply, api.MediaYAML, ping("a", "")},
	{http.MethodPost, api.PathRollback, api.MediaJSON, `{"revision": 3}`},
	{http.MethodPut, "/v1/routes/a", api.MediaYAML, ping("a", "")},
	{http.MethodDelete, "/v1/routes/a", "", ""},
}

func TestWhoWritesIsToldInTimeThatTheStoreHangsAndThatNothingWasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := hungServer(t, nil)
		for _, w := range writes {
			answer, took := s.asked(t, w.method, w.path, w.media, w.body)
			if answer.Code != http.StatusGatewayTimeout || took > readTimeout ||
				!strings.Contains(answer.Body.String(), "etcd does not answer the control plane; nothing was changed (store: it: ") {
				t.Errorf("%s %s: %d after %v: %s", w.method, w.path, answer.Code, took, answer.Body)
			}
		}
	})
}

// searchTime is how long the store looks for the outcome of a change whose answer was lost.
const searchTime = 5 * time.Second

// stuck is a store that reads, and hangs when it is to write.
type stuck struct{ hung }

func lost(ctx context.Context) error {
	<-ctx.Done()
	time.Sleep(searchTime)
	return fmt.Errorf("%w: %w", store.ErrUnknown, ctx.Err())
}

func (stuck) Node(context.Context, string) (*fleetv1.NodeRecord, int64, error) {
	return &fleetv1.NodeRecord{NodeId: "n"}, 3, nil
}

func (stuck) PutNode(ctx context.Context, _ *fleetv1.NodeRecord, _ int64) (int64, error) {
	return 0, lost(ctx)
}
func (stuck) DeleteNode(ctx context.Context, _ string) error { return lost(ctx) }
func (stuck) Epoch(context.Context) (store.Epoch, error)     { return store.Epoch{Number: 7}, nil }
func (stuck) AcceptEpoch(ctx context.Context, _ uint64) (store.Epoch, error) {
	return store.Epoch{}, lost(ctx)
}

// made is a store that writes, and hangs from then on.
type made struct{ stuck }

func (made) PutNode(context.Context, *fleetv1.NodeRecord, int64) (int64, error) { return 4, nil }
func (made) AcceptEpoch(context.Context, uint64) (store.Epoch, error) {
	return store.Epoch{Number: 7, Accepted: true}, nil
}

func TestWhoChangesASmallThingIsToldInTimeWhatIsKnownOfIt(t *testing.T) {
	for name, c := range map[string]struct {
		store interface {
			Store
			Records
			Epochs
		}
		writes []int
		says   string
	}{
		"nothing":         {stuck{}, []int{0, 1, 2}, "may or may not have been made"},
		"that it is made": {made{}, []int{0, 2}, "the change was made; "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := hungServer(t, func(cfg *Config) {
					cfg.Store, cfg.Records, cfg.Epochs, cfg.Committed = c.store, c.store, c.store, func() {}
				})
				for _, i := range c.writes {
					w := writes[i]
					answer, took := s.asked(t, w.method, w.path, w.media, w.body)
					if answer.Code != http.StatusGatewayTimeout || took > readTimeout+searchTime || !strings.Contains(answer.Body.String(), c.says) {
						t.Errorf("%s %s: %d after %v: %s", w.method, w.path, answer.Code, took, answer.Body)
					}
				}
			})
		})
	}
}
