package store

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// external starts an etcd with stock limits that is reached by gRPC.
func external(t *testing.T) (*clientv3.Client, func()) {
	t.Helper()
	return externalAt(t, "127.0.0.1:0")
}

func externalAt(t *testing.T, address string) (*clientv3.Client, func()) {
	t.Helper()
	anywhere := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: address}}, anywhere
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, anywhere
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-server.Server.ReadyNotify()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{server.Clients[0].Addr().String()},
		Logger:    zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			server.Close()
		}
	}
	t.Cleanup(func() {
		_ = c.Close()
		stop()
	})
	return c, stop
}

func TestAnExternalEtcdServesAsWell(t *testing.T) {
	c, stop := external(t)
	o := Options{Prefix: "/test/"}
	a, err := Open(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	signals := b.Watch(ctx)
	await(t, signals)
	begin := time.Now()
	head := commit(t, a, current(t, a), routes(tree.Tree{}, 2000, "first"))
	t.Logf("commit of 2,000 resources took %v", time.Since(begin))
	await(t, signals)
	sameConfiguration(t, current(t, b), head)
	abandon(t, a, head.Tree, routes(head.Tree, 100, "orphan"))
	b.options.Now = func() time.Time { return time.Now().Add(25 * time.Hour) }
	if c := collect(t, b); c.Blobs < 100 {
		t.Errorf("collected %+v", c)
	}
	if _, err := a.PutNode(ctx, &fleetv1.NodeRecord{NodeId: "a"}, 0); err != nil {
		t.Error(err)
	}
	next := commit(t, a, head, tree.Tree{}.Set(routeKey(1), []byte("x"))) // on a base from before the sweep
	sameConfiguration(t, current(t, b), next)

	_, err = c.Put(ctx, "big", string(make([]byte, 2<<20)))
	if code(err) != codes.InvalidArgument && code(err) != codes.ResourceExhausted {
		t.Errorf("the code of %v is %v", err, code(err))
	}

	cancel()
	for range signals {
	}
	stop()
	a.outcomeTimeout = 100 * time.Millisecond
	short, end := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer end()
	if _, err = a.Commit(short, next, tree.Tree{}, Meta{}); !errors.Is(err, ErrUnknown) || errors.Is(err, ErrConflict) {
		t.Errorf("commit without etcd: %v", err)
	}
}

// TestAWatchHearsAgainAfterEtcdWasWiped: etcd's client goes on with the watch at the
// next revision of the lost etcd, from which the new one is far.
func TestAWatchHearsAgainAfterEtcdWasWiped(t *testing.T) {
	c, stop := external(t)
	for range 50 {
		if _, err := c.Put(t.Context(), "other", ""); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), c, Options{Prefix: "/test/", Tick: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	signals := s.Watch(ctx)
	defer func() {
		cancel()
		for range signals {
		}
	}()
	await(t, signals)
	stop()
	c2, _ := externalAt(t, c.Endpoints()[0])
	other, err := Open(t.Context(), c2, Options{Prefix: "/test/"})
	if err != nil {
		t.Fatal(err)
	}
	// Whoever looks next finds the other etcd: the publisher does at each tick.
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err = s.Current(ctx); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
	commit(t, other, current(t, other), routes(tree.Tree{}, 1, "first"))
	for timeout := time.After(time.Until(deadline)); ; {
		select {
		case <-signals:
		case <-timeout:
			t.Fatal("the change of another replica is not heard of")
		}
		if current(t, s).Revision == 1 {
			return
		}
	}
}
