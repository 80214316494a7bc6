package feed

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// upstream is the canonical bytes of a resource that compiles.
func upstream(t testing.TB, name, address string) []byte {
	t.Helper()
	return canonical(t, &fleetv1.Resource{
		Kind: new(resource.Upstream), Name: new(name),
		Spec: &fleetv1.Resource_Upstream{Upstream: &fleetv1.Upstream{
			Endpoints: []*fleetv1.Endpoint{{Address: &address}},
		}},
	})
}

// dangling is the canonical bytes of a resource that does not compile.
func dangling(t testing.TB, name string) []byte {
	t.Helper()
	missing := "missing"
	return canonical(t, &fleetv1.Resource{
		Kind: new(resource.Route), Name: new(name),
		Spec: &fleetv1.Resource_Route{Route: &fleetv1.Route{
			Forward: []*fleetv1.Forward{{Upstream: &missing}},
		}},
	})
}

func canonical(t testing.TB, r *fleetv1.Resource) []byte {
	t.Helper()
	b, err := resource.Canonical(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// treeOf makes a tree of canonical resources.
func treeOf(t testing.TB, resources ...[]byte) tree.Tree {
	t.Helper()
	var out tree.Tree
	for _, b := range resources {
		k, err := keyOf(b)
		if err != nil {
			t.Fatal(err)
		}
		out = out.Set(k, b)
	}
	return out
}

// node is a feed whose control planes are the test.
type node struct {
	t    *testing.T
	feed *Feed
	live table.Live

	mu     sync.Mutex
	refuse error // what Apply answers
	tables []*table.Table
	links  chan *fakeLink
	fail   error // what connecting answers
	dials  []time.Time
}

// fakeLink is a stream whose server is the test.
type fakeLink struct {
	address  string
	toServer chan *fleetv1.NodeMessage
	toNode   chan *fleetv1.ServerMessage
	done     chan struct{}
	once     sync.Once
}

func (l *fakeLink) Send(m *fleetv1.NodeMessage) error {
	select {
	case l.toServer <- m:
		return nil
	case <-l.done:
		return io.EOF
	}
}

func (l *fakeLink) Recv() (*fleetv1.ServerMessage, error) {
	select {
	case m := <-l.toNode:
		return m, nil
	case <-l.done:
		return nil, errors.New("stream broke")
	}
}

func (l *fakeLink) Close() { l.once.Do(func() { close(l.done) }) }

// start runs a feed in the bubble of the test.
func start(t *testing.T, configure ...func(*Config)) *node {
	t.Helper()
	return startFailing(t, nil, configure...)
}

// startFailing is start where no control plane answers yet.
func startFailing(t *testing.T, fail error, configure ...func(*Config)) *node {
	t.Helper()
	n := &node{t: t, links: make(chan *fakeLink, 100), fail: fail}
	c := Config{
		NodeID: "n1", Labels: map[string]string{"zone": "a"}, Build: "test",
		ControlPlanes: []string{"127.0.0.1:1"},
		Apply:         n.apply, Live: &n.live,
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range configure {
		f(&c)
	}
	feed, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	feed.connect = n.connect
	n.feed = feed
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := feed.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wait.Wait() })
	return n
}

func (n *node) connect(_ context.Context, address string) (link, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials = append(n.dials, time.Now())
	if n.fail != nil {
		return nil, n.fail
	}
	// Buffered, so that a test reads answers when it likes.
	l := &fakeLink{
		address: address, toServer: make(chan *fleetv1.NodeMessage, 100),
		toNode: make(chan *fleetv1.ServerMessage), done: make(chan struct{}),
	}
	n.links <- l
	return l, nil
}

func (n *node) apply(_ context.Context, next *table.Table) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse != nil {
		return n.refuse
	}
	n.tables = append(n.tables, next)
	n.live.Store(next)
	return nil
}

func (n *node) setRefuse(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse = err
}

func (n *node) setFail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fail = err
}

// accept takes the node's next stream and its Hello, and the Status after its Welcome.
func (n *node) accept() (*fakeLink, *fleetv1.Hello) {
	n.t.Helper()
	l := <-n.links
	m := <-l.toServer
	if m.GetHello() == nil {
		n.t.Fatalf("first message: %v", m)
	}
	l.toNode <- &fleetv1.ServerMessage{Message: &fleetv1.ServerMessage_Welcome{Welcome: &fleetv1.Welcome{}}}
	if s := <-l.toServer; s.GetStatus() == nil {
		n.t.Fatalf("after the Welcome: %v", s)
	}
	return l, m.GetHello()
}

// answer is the next Ack or Nack.
func (n *node) answer(l *fakeLink) *fleetv1.NodeMessage {
	n.t.Helper()
	for {
		m := <-l.toServer
		if m.GetStatus() == nil {
			return m
		}
	}
}

func (n *node) wantAck(l *fakeLink, v tree.Version) {
	n.t.Helper()
	m := n.answer(l)
	if ack := m.GetAck(); ack == nil || versionOf(ack.GetVersion()) != v || tree.Hash(ack.GetAttested()) != v.Root {
		n.t.Fatalf("got %v, want the Ack of %v", m, v)
	}
	if got := n.feed.State(); got.Running != v || got.Attested != v.Root || len(got.Problems) > 0 || got.Retrying {
		n.t.Fatalf("state after the Ack of %v: %+v", v, got)
	}
}

func (n *node) wantNack(l *fakeLink, v tree.Version, kind fleetv1.Nack_Kind, text string) {
	n.t.Helper()
	m := n.answer(l)
	nack := m.GetNack()
	if nack == nil || versionOf(nack.GetVersion()) != v || nack.GetKind() != kind || len(nack.GetProblems()) == 0 {
		n.t.Fatalf("got %v, want a Nack of %v, %v", m, v, kind)
	}
	if got := resource.ProblemFromProto(nack.GetProblems()[0]).Error(); !strings.Contains(got, text) {
		n.t.Fatalf("problem %q, want one with %q", got, text)
	}
}

func versionOf(v *fleetv1.Version) tree.Version {
	if v == nil {
		return tree.Version{}
	}
	return tree.Version{Epoch: v.GetEpoch(), Revision: v.GetRevision(), Root: tree.Hash(v.GetDigest())}
}

// send gives the node an update; a nil base makes it whole.
func (l *fakeLink) send(base *tree.Tree, next tree.Tree, epoch, revision uint64) tree.Version {
	v := tree.Version{Epoch: epoch, Revision: revision, Root: next.Root()}
	u := &fleetv1.Update{Target: v.Proto(), Last: true}
	from := tree.Tree{}
	if base != nil {
		from = *base
		root := base.Root()
		u.Base = root[:]
	}
	upserts, removed := tree.Diff(from, next)
	for _, leaf := range upserts {
		u.Upserts = append(u.Upserts, leaf.Bytes)
	}
	for _, k := range removed {
		u.Removed = append(u.Removed, &fleetv1.ResourceKey{Kind: k.Kind, Name: k.Name})
	}
	l.update(u)
	return v
}

func (l *fakeLink) update(u *fleetv1.Update) {
	l.toNode <- &fleetv1.ServerMessage{Message: &fleetv1.ServerMessage_Update{Update: u}}
}
