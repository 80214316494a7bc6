package stream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/embedded"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// realStore is a store on an etcd in this process.
type realStore struct {
	*store.Store
	close func()
}

func openStore(t testing.TB, dir string) realStore {
	t.Helper()
	etcd, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() { check(t, etcd.Close()) })
	t.Cleanup(stop)
	s, err := store.Open(t.Context(), etcd.Client(), store.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return realStore{s, stop}
}

func commit(t testing.TB, s realStore, next tree.Tree) store.Configuration {
	t.Helper()
	base, err := s.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Commit(t.Context(), base, next, store.Meta{Author: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return after
}

func TestACommitReachesNodesAndARestartTakesNothingFromThem(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	p := newPlane(t, s, "")
	a, b := newNode(t, "a", p.address), newNode(t, "b", p.address)
	var head store.Configuration
	for i := range 30 {
		head = commit(t, s, config(t, 200, 1000+i))
	}
	eventually(t, "both run the head", func() bool { return a.runs(head.Revision)() && b.runs(head.Revision)() })
	eventually(t, "both have records", func() bool {
		records, _, err := s.Nodes(t.Context())
		return err == nil && len(records) == 2
	})
	received := a.feed.Counters().ConfigBytes

	p.stop()
	s.close()
	s = openStore(t, dir)
	p = newPlane(t, s, p.address)
	eventually(t, "both are back", func() bool {
		n, _ := p.status("a")
		o, _ := p.status("b")
		return n.Connected && n.State == "SYNCED" && o.Connected && o.State == "SYNCED"
	})
	if got := p.server.Counters().ConfigBytes; got != 0 || a.feed.Counters().ConfigBytes != received {
		t.Fatalf("%d configuration bytes sent", got)
	}
	head = commit(t, s, config(t, 200, 5000))
	eventually(t, "both run the next", func() bool { return a.runs(head.Revision)() && b.runs(head.Revision)() })
	if c := p.server.Counters(); c.Wholes != 0 || c.Encodings != 1 {
		t.Fatalf("%+v", c)
	}
}

func TestNodeOfALostFutureBringsANewEpoch(t *testing.T) {
	s := openStore(t, t.TempDir())
	p := newPlane(t, s, "")
	n := newNode(t, "a", p.address)
	head := commit(t, s, config(t, 5, 80))
	eventually(t, "runs", n.runs(head.Revision))

	// A node that got revisions which this store, put back from a backup, lacks.
	future := tree.Sum([]byte("future"))
	raw := dialRaw(t, p.address).hello(&fleetv1.Hello{
		NodeId: "b", Running: &fleetv1.Version{Epoch: head.Epoch, Revision: head.Revision + 7, Digest: future[:]},
	})
	u, _ := raw.update()
	if v := u.GetTarget(); v.GetEpoch() <= head.Epoch || v.GetRevision() != head.Revision || len(u.GetBase()) != 0 {
		t.Fatalf("%v", u.GetTarget())
	}
	eventually(t, "the other node knows the epoch", func() bool {
		return n.feed.State().Running.Epoch == u.GetTarget().GetEpoch()
	})
	if now, err := s.Current(t.Context()); err != nil || now.Epoch != u.GetTarget().GetEpoch() || now.Root() != head.Root() {
		t.Fatalf("%+v, %v", now, err)
	}
}

// away is a publisher whose store does not answer the first comparison.
type away struct {
	Publisher
	asked atomic.Bool
}

func (a *away) Observe(ctx context.Context, node string, running tree.Version) error {
	if !a.asked.Swap(true) {
		return errors.New("no leader")
	}
	return a.Publisher.Observe(ctx, node, running)
}

// TestNodeOfALostFutureIsComparedOnceTheStoreAnswers: until then it refuses for good what it
// is sent, as that is older than what it runs.
func TestNodeOfALostFutureIsComparedOnceTheStoreAnswers(t *testing.T) {
	m := newMemory()
	revision := m.commit(config(t, 5, 80))
	p := newPlane(t, m, "", func(c *setup) {
		c.stream.Publisher, c.stream.ObserveRetry = &away{Publisher: c.stream.Publisher}, time.Millisecond
	})
	eventually(t, "the version is wanted", func() bool { return p.publisher.Wanted().Revision == revision })
	future := tree.Sum([]byte("future"))
	raw := dialRaw(t, p.address).hello(&fleetv1.Hello{
		NodeId: "n", Running: &fleetv1.Version{Epoch: 1, Revision: revision + 7, Digest: future[:]},
	})
	for {
		u, _ := raw.update()
		if u.GetTarget().GetEpoch() > 1 {
			break
		}
		raw.nack(u.GetTarget(), fleetv1.Nack_PERMANENT, &fleetv1.Problem{Got: "an older version"})
	}
}
