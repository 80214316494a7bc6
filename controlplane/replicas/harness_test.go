package replicas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/proxyfleet/proxyfleet/controlplane/embedded/embeddedtest"
	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/nodes/nodestest"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// client is the etcd of all tests, each of which has a prefix of its own.
var client *clientv3.Client

func TestMain(m *testing.M) {
	os.Exit(embeddedtest.Main(m, func(c *clientv3.Client) { client = c }))
}

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// publisher wants nothing, and is never cut off.
type publisher struct{}

func (publisher) WantedFor(string) publish.Published { return publish.Published{} }
func (publisher) Unread() time.Duration              { return 0 }

// fleet is control planes on one etcd.
type fleet struct {
	*testing.T
	prefix  string
	records *nodestest.Records
}

func newFleet(t *testing.T) *fleet {
	return &fleet{t, fmt.Sprintf("/%s/%x/", t.Name(), rand.Uint64()), nodestest.New()}
}

// island is a store that can be cut off from its etcd.
type island struct {
	*store.Store
	cut   atomic.Bool // nothing passes
	mute  atomic.Bool // nothing is told
	lease atomic.Int64
	kept  atomic.Int64 // how often the lease was
}

var errCut = errors.New("cut off")

func (i *island) Lease(ctx context.Context, ttl time.Duration) (int64, error) {
	if i.cut.Load() {
		return 0, errCut
	}
	lease, err := i.Store.Lease(ctx, ttl)
	i.lease.Store(lease)
	return lease, err
}

func (i *island) KeepLease(ctx context.Context, lease int64) error {
	if i.cut.Load() {
		return errCut
	}
	i.kept.Add(1)
	return i.Store.KeepLease(ctx, lease)
}

func (i *island) EndLease(ctx context.Context, lease int64) error {
	if i.cut.Load() {
		return errCut
	}
	return i.Store.EndLease(ctx, lease)
}

func (i *island) Tell(ctx context.Context, lease int64, values map[string][]byte) (map[string]int64, error) {
	if i.cut.Load() || i.mute.Load() {
		return nil, errCut
	}
	return i.Store.Tell(ctx, lease, values)
}

func (i *island) AllTold(ctx context.Context, known map[string]int64) (map[string]store.Told, error) {
	if i.cut.Load() {
		return nil, errCut
	}
	return i.Store.AllTold(ctx, known)
}

// controlPlane is what of one is told and heard.
type controlPlane struct {
	*fleet
	nodes    *nodes.Registry
	replicas *Replicas
	store    *island
	ahead    atomic.Int64 // of the clock by which it tells
	stop     func()
}

// open starts a control plane.
func (f *fleet) open(name string) *controlPlane {
	f.Helper()
	st, err := store.Open(f.Context(), client, store.Options{Prefix: f.prefix})
	if err != nil {
		f.Fatal(err)
	}
	p := &controlPlane{fleet: f, store: &island{Store: st}}
	quiet := slog.New(slog.DiscardHandler)
	p.nodes = nodes.New(nodes.Config{Publisher: publisher{}, Records: f.records, Name: name, Logger: quiet})
	p.replicas = New(Config{Store: p.store, Nodes: p.nodes, Name: name, Build: "test", Logger: quiet, Now: func() time.Time {
		return time.Now().Add(time.Duration(p.ahead.Load()))
	}})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{p.nodes.Run, p.replicas.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				f.Error(err)
			}
		})
	}
	p.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	f.Cleanup(p.stop)
	return p
}

// join connects a node, which is heard until the test or its link ends.
func (p *controlPlane) join(id, boot string) *nodes.Link {
	p.Helper()
	link, err := p.nodes.Admit(&fleetv1.Hello{NodeId: id, BootId: boot}, tree.Version{}, "192.0.2.1:5000")
	if err != nil {
		p.Fatal(err)
	}
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for p.Context().Err() == nil {
			link.Heard(nil, nil)
			select {
			case <-tick.C:
			case <-p.Context().Done():
			}
		}
	}()
	return link
}

// two are control planes of which b knows of the node n1 that a has, in a test that runs
// beside others.
func two(t *testing.T) (a, b *controlPlane, n1 *nodes.Link) {
	t.Helper()
	t.Parallel()
	f := newFleet(t)
	a, b = f.open("a"), f.open("b")
	n1 = a.join("n1", "boot")
	b.eventually("b knows of a's", b.has("n1", "a"))
	return a, b, n1
}

// status is a node as the control plane shows it.
func (p *controlPlane) status(id string) (api.NodeStatus, bool) {
	for _, n := range p.nodes.Nodes() {
		if n.ID == id {
			return n, true
		}
	}
	return api.NodeStatus{}, false
}

// has says whether the control plane shows the node as connected to the one of that name.
func (p *controlPlane) has(id, at string) func() bool {
	return func() bool {
		s, _ := p.status(id)
		return s.Connected && s.ControlPlane == at
	}
}

// lacks says whether it shows it as disconnected.
func (p *controlPlane) lacks(id string) func() bool {
	return func() bool { s, ok := p.status(id); return ok && !s.Connected && s.State == api.Disconnected }
}

// eventually waits for what must become true, looking again when a control plane has news.
func (p *controlPlane) eventually(what string, ok func() bool) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), patience)
	defer cancel()
	for changes := p.nodes.Watch(ctx); !ok(); {
		select {
		case _, open := <-changes:
			if !open {
				p.Fatalf("not within %v: %s", patience, what)
			}
		case <-time.After(20 * time.Millisecond): // what does not count as news
		}
	}
}
