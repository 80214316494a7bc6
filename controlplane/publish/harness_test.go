package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/controlplane/bell"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// history is a store in memory, whose head the test moves.
type history struct {
	mu       sync.Mutex
	head     *bell.Bell
	epoch    uint64
	versions []store.Configuration // by revision
	trimmed  uint64                // up to which revision the history is no longer kept
	fail     error
	failPast error // of History alone
	failNew  error // of NewEpoch
	reads    int
	loads    int // of At
	blocked  chan struct{}
	epochs   []uint64 // asked for
	accepted uint64   // epoch
}

func newHistory() *history {
	return &history{head: &bell.Bell{}, epoch: 1, versions: []store.Configuration{{Epoch: 1}}}
}

// grown is a history of n revisions after the first.
func grown(t testing.TB, n int) *history {
	t.Helper()
	h := newHistory()
	for i := range n {
		h.commit(config(t, 2, 1000+i))
	}
	return h
}

func (h *history) commit(t tree.Tree) store.Configuration {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := store.Configuration{Epoch: h.epoch, Revision: uint64(len(h.versions)), Tree: t}
	h.versions = append(h.versions, s)
	h.head.Ring()
	return s
}

func (h *history) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (h *history) Current(context.Context) (store.Configuration, error) {
	h.mu.Lock()
	blocked := h.blocked
	h.mu.Unlock()
	if blocked != nil {
		<-blocked
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	if h.fail != nil {
		return store.Configuration{}, h.fail
	}
	s := h.versions[len(h.versions)-1]
	s.Epoch, s.Accepted = h.epoch, h.accepted == h.epoch
	return s, nil
}

func (h *history) Watch(ctx context.Context) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head.Listen(ctx)
}

func (h *history) History(_ context.Context, before uint64, limit int) ([]*fleetv1.Change, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := cmp.Or(h.fail, h.failPast); err != nil {
		return nil, err
	}
	var out []*fleetv1.Change
	for i := len(h.versions) - 1; i > 0 && len(out) < limit; i-- {
		s := h.versions[i]
		if before != 0 && s.Revision >= before || s.Revision <= h.trimmed {
			continue
		}
		root := s.Tree.Root()
		out = append(out, &fleetv1.Change{Epoch: s.Epoch, Revision: s.Revision, RootAfter: root[:]})
	}
	return out, nil
}

func (h *history) At(_ context.Context, revision uint64) (store.Configuration, *fleetv1.Change, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loads++
	if h.fail != nil || revision >= uint64(len(h.versions)) {
		return store.Configuration{}, nil, errors.New("not found")
	}
	return h.versions[revision], &fleetv1.Change{}, nil
}

func (h *history) NewEpoch(_ context.Context, seen uint64) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epochs = append(h.epochs, seen)
	if h.failNew != nil {
		return 0, h.failNew
	}
	h.epoch = max(seen, h.epoch) + 1
	h.head.Ring()
	return h.epoch, nil
}

// config is a tree of n upstreams, of which the last has the given port.
func config(t testing.TB, n, port int) tree.Tree {
	t.Helper()
	var out tree.Tree
	for i := range n {
		p := 80
		if i == n-1 {
			p = port
		}
		out = put(t, out, &fleetv1.Resource{
			Kind: new(resource.Upstream), Name: new(fmt.Sprintf("u%d", i)),
			Spec: &fleetv1.Resource_Upstream{Upstream: &fleetv1.Upstream{
				Endpoints: []*fleetv1.Endpoint{{Address: new(fmt.Sprintf("10.0.0.1:%d", p))}},
			}},
		})
	}
	return out
}

// broken has a route to an upstream that is not there.
func broken(t testing.TB, base tree.Tree) tree.Tree {
	t.Helper()
	return put(t, base, &fleetv1.Resource{
		Kind: new(resource.Route), Name: new("r"),
		Spec: &fleetv1.Resource_Route{Route: &fleetv1.Route{
			Forward: []*fleetv1.Forward{{Upstream: new("missing")}},
		}},
	})
}

func put(t testing.TB, base tree.Tree, r *fleetv1.Resource) tree.Tree {
	t.Helper()
	b, err := resource.Canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	return base.Set(resource.KeyOf(r), b)
}

func start(t *testing.T, h *history) *Publisher {
	t.Helper()
	p := New(Config{Store: h, Epochs: h, Logger: slog.New(slog.DiscardHandler)})
	lifecycletest.Run(t, p.Run)
	return p
}

// startWatched is start with a watch from before the first publication: one that
// begins later may miss it.
func startWatched(t *testing.T, h *history) (*Publisher, <-chan struct{}) {
	t.Helper()
	p := New(Config{Store: h, Epochs: h, Logger: slog.New(slog.DiscardHandler)})
	watch := p.Watch(t.Context())
	lifecycletest.Run(t, p.Run)
	return p, watch
}
