package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/proxyfleet/proxyfleet/controlplane/bell"
	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/nodes/nodestest"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// memory is a store in memory, for what does not need etcd.
type memory struct {
	*nodestest.Records
	head bell.Bell

	mu       sync.Mutex
	epoch    uint64
	versions []store.Configuration
	accepted uint64 // epoch
}

func newMemory() *memory {
	return &memory{Records: nodestest.New(), epoch: 1, versions: []store.Configuration{{Epoch: 1}}}
}

func (m *memory) commit(t tree.Tree) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	revision := uint64(len(m.versions))
	m.versions = append(m.versions, store.Configuration{Epoch: m.epoch, Revision: revision, Tree: t})
	m.head.Ring()
	return revision
}

func (m *memory) Current(context.Context) (store.Configuration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.versions[len(m.versions)-1]
	s.Epoch, s.Accepted = m.epoch, m.accepted == m.epoch
	return s, nil
}

func (m *memory) Watch(ctx context.Context) <-chan struct{} { return m.head.Listen(ctx) }

func (m *memory) History(_ context.Context, before uint64, limit int) ([]*fleetv1.Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*fleetv1.Change
	for _, s := range slices.Backward(m.versions) {
		if s.Revision > 0 && (before == 0 || s.Revision < before) && len(out) < limit {
			root := s.Tree.Root()
			out = append(out, &fleetv1.Change{Epoch: s.Epoch, Revision: s.Revision, RootAfter: root[:]})
		}
	}
	return out, nil
}

func (m *memory) At(_ context.Context, revision uint64) (store.Configuration, *fleetv1.Change, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision >= uint64(len(m.versions)) {
		return store.Configuration{}, nil, errors.New("not found")
	}
	return m.versions[revision], nil, nil
}

func (m *memory) NewEpoch(_ context.Context, seen uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch = max(m.epoch, seen) + 1
	m.head.Ring()
	return m.epoch, nil
}

func (m *memory) edit(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
	m.head.Ring()
}

// know gives a node a record.
func (m *memory) know(record *fleetv1.NodeRecord) {
	m.Edit(func(c *nodestest.Content) { c.Nodes[record.GetNodeId()] = record })
}

// backend is a store, in memory or real.
type backend interface {
	publish.Store
	publish.Epochs
	nodes.Records
}

// setup is what a plane is made of.
type setup struct {
	stream Config
	nodes  nodes.Config
}

func (s *setup) setNow(now func() time.Time) { s.stream.Now, s.nodes.Now = now, now }

// plane is a running control plane.
type plane struct {
	server    *Server
	nodes     *nodes.Registry
	publisher *publish.Publisher
	address   string
	stop      func()
}

// newPlane starts one on the store; address "" takes a free port.
func newPlane(t testing.TB, b backend, address string, configure ...func(*setup)) *plane {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	p := publish.New(publish.Config{Store: b, Epochs: b, Logger: quiet})
	c := setup{
		stream: Config{Publisher: p, Logger: quiet, Build: "test"},
		nodes:  nodes.Config{Publisher: p, Records: b, Logger: quiet},
	}
	for _, f := range configure {
		f(&c)
	}
	known := nodes.New(c.nodes)
	c.stream.Nodes = known
	s := New(c.stream)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { check(t, p.Run(ctx)) })
	wait.Go(func() { check(t, known.Run(ctx)) })
	wait.Go(func() { check(t, s.Serve(ctx, l)) })
	stop := sync.OnceFunc(func() { cancel(); wait.Wait() })
	t.Cleanup(stop)
	return &plane{server: s, nodes: known, publisher: p, address: l.Addr().String(), stop: stop}
}

func check(t testing.TB, err error) {
	if err != nil {
		t.Error(err)
	}
}

// status is a node as the control plane shows it.
func (p *plane) status(id string) (api.NodeStatus, bool) {
	for _, n := range p.nodes.Nodes() {
		if n.ID == id {
			return n, true
		}
	}
	return api.NodeStatus{}, false
}

// member is a running feed.
type member struct {
	feed *feed.Feed
	live table.Live
	stop func()

	mu     sync.Mutex
	refuse error
	seen   []uint64 // revisions applied
}

func newNode(t testing.TB, id string, planes ...string) *member {
	t.Helper()
	return newNodeWith(t, feed.Config{NodeID: id, ControlPlanes: planes})
}

// newNodeWith completes the configuration of a feed and runs it.
func newNodeWith(t testing.TB, c feed.Config) *member {
	t.Helper()
	n, err := startNode(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// startNode is newNodeWith for any goroutine.
func startNode(t testing.TB, c feed.Config) (*member, error) {
	t.Helper()
	n := &member{}
	c.Labels, c.Build, c.Logger = map[string]string{"zone": "a"}, "test", slog.New(slog.DiscardHandler)
	c.Apply, c.Live = n.apply, &n.live
	f, err := feed.New(c)
	if err != nil {
		return nil, err
	}
	n.feed = f
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { check(t, f.Run(ctx)) })
	n.stop = sync.OnceFunc(func() { cancel(); wait.Wait() })
	t.Cleanup(n.stop)
	return n, nil
}

func (n *member) apply(_ context.Context, next *table.Table) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse != nil {
		return n.refuse
	}
	n.live.Store(next)
	n.seen = append(n.seen, next.Version.Revision)
	return nil
}

func (n *member) set(refuse error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse = refuse
}

// runs reports whether the node's live table is that of the revision.
func (n *member) runs(revision uint64) func() bool {
	return func() bool {
		t := n.live.Load()
		return t != nil && t.Version.Revision == revision && n.feed.State().Running.Revision == revision
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	waittest.Until(t, what, is)
}

// config is a tree of n upstreams of which the last has the port.
func config(t testing.TB, n, port int) tree.Tree {
	t.Helper()
	var out tree.Tree
	for i := range n {
		out = with(t, out, i, 80)
	}
	return with(t, out, n-1, port)
}

func with(t testing.TB, base tree.Tree, i, port int) tree.Tree {
	t.Helper()
	return put(t, base, &fleetv1.Resource{
		Kind: new(resource.Upstream), Name: new(fmt.Sprintf("u%d", i)),
		Spec: &fleetv1.Resource_Upstream{Upstream: &fleetv1.Upstream{
			Endpoints: []*fleetv1.Endpoint{{Address: new(fmt.Sprintf("10.0.0.1:%d", port))}},
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

// clock is moved by the test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func published(t tree.Tree) publish.Published {
	return publish.Published{Version: tree.Version{Epoch: 1, Revision: 1, Root: t.Root()}, Tree: t}
}

// rawNode is a stream whose node is the test.
type rawNode struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[fleetv1.NodeMessage, fleetv1.ServerMessage]
	close  func()
	state  *fleetv1.FleetState // the last
}

func dialRaw(t *testing.T, address string) *rawNode {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	stream, err := fleetv1.NewFleetClient(conn).Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	n := &rawNode{t: t, stream: stream, close: sync.OnceFunc(func() { cancel(); _ = conn.Close() })}
	t.Cleanup(n.close)
	return n
}

func (n *rawNode) hello(h *fleetv1.Hello) *rawNode {
	n.t.Helper()
	if h.BootId == "" {
		h.BootId = "boot"
	}
	if h.SchemaLevel == 0 {
		h.SchemaLevel = resource.SchemaLevel
	}
	n.send(&fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Hello{Hello: h}})
	return n
}

func (n *rawNode) send(m *fleetv1.NodeMessage) {
	n.t.Helper()
	if err := n.stream.Send(m); err != nil {
		n.t.Fatal(err)
	}
}

func (n *rawNode) ack(v *fleetv1.Version) {
	n.send(&fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Ack{Ack: &fleetv1.Ack{Version: v, Attested: v.GetDigest()}}})
}

func (n *rawNode) nack(v *fleetv1.Version, kind fleetv1.Nack_Kind, problems ...*fleetv1.Problem) {
	n.send(&fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Nack{Nack: &fleetv1.Nack{Version: v, Kind: kind, Problems: problems}}})
}

func (n *rawNode) recv() *fleetv1.ServerMessage {
	n.t.Helper()
	m, err := n.stream.Recv()
	if err != nil {
		n.t.Fatal(err)
	}
	if s := m.GetFleetState(); s != nil {
		n.state = s
	}
	return m
}

// update takes a whole Update, its parts put together.
func (n *rawNode) update() (*fleetv1.Update, int) {
	n.t.Helper()
	var out *fleetv1.Update
	for {
		u := n.recv().GetUpdate()
		if u == nil {
			continue
		}
		if out == nil {
			out = u
		} else {
			out.Upserts = append(out.Upserts, u.GetUpserts()...)
			out.Removed = append(out.Removed, u.GetRemoved()...)
		}
		if u.GetLast() {
			return out, int(u.GetPart()) + 1
		}
	}
}

// end is the error that the server ends the stream with.
func (n *rawNode) end() error {
	for {
		if _, err := n.stream.Recv(); err != nil {
			return err
		}
	}
}
