package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/proxyfleet/proxyfleet/controlplane/embedded"
	"github.com/proxyfleet/proxyfleet/proto/seal"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

func TestAnEtcdThatDoesNotAnswerIsToldByWhatItsEndpointsSay(t *testing.T) {
	plain, secured := httptest.NewServer(nil), httptest.NewTLSServer(nil)
	defer plain.Close()
	defer secured.Close()
	closed := freeURL(t)
	told := strings.Split(reach(t.Context(), time.Minute, []string{
		plain.URL, plain.URL + "/", secured.URL, closed.String(), "unix://" + t.TempDir() + "/none",
	}), "; ")
	for i, want := range []string{"takes connections", "takes connections", "certificate", "connection refused", "no such file"} {
		if !strings.Contains(told[i], want) {
			t.Errorf("%q: expected %q", told[i], want)
		}
	}
}

// TestAnEtcdThatStartsSlowlyIsToldOfAndNotGivenUp: it would be as slow the next time.
func TestAnEtcdThatStartsSlowlyIsToldOfAndNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text waittest.Log
		ready := errors.New("ready")
		_, err := patiently(t.Context(), slog.New(slog.NewTextHandler(&text, nil)), func(ctx context.Context) (*embedded.Etcd, error) {
			select {
			case <-time.After(10*slowStart + time.Second):
				return nil, ready
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		if !errors.Is(err, ready) {
			t.Error(err)
		}
		if n := strings.Count(text.String(), "starting still"); n != 10 {
			t.Errorf("told %d times", n)
		}
	})
}

// busyKV answers the first calls not at all, as where the disk is busy.
type busyKV struct {
	clientv3.KV
	calls *atomic.Int32
}

func (k busyKV) Get(ctx context.Context, key string, o ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if k.calls.Add(-1) >= 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return k.KV.Get(ctx, key, o...)
}

// TestAnEtcdOfItsOwnThatIsSlowIsWaitedFor: a process that ended would start it on the same
// disk. One that has stopped is not.
func TestAnEtcdOfItsOwnThatIsSlowIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	etcd, err := embedded.Start(t.Context(), embedded.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	closed := sync.OnceFunc(func() {
		if err := etcd.Close(); err != nil {
			t.Error(err)
		}
	})
	defer closed()
	var calls atomic.Int32
	client := etcd.Client()
	client.KV = busyKV{client.KV, &calls}
	o, w, logger := options{dataDir: dir}, waits{open: 50 * time.Millisecond, retry: time.Millisecond}, slog.New(slog.DiscardHandler)
	calls.Store(2)
	key, err := makeSealKey(t.Context(), client, o, w, logger)
	if err != nil {
		t.Fatal(err)
	}
	calls.Store(2)
	if _, err := openStore(t.Context(), client, o, w, key, logger); err != nil {
		t.Fatal(err)
	}
	closed()
	if _, err := openStore(t.Context(), client, o, w, key, logger); err == nil {
		t.Error("an etcd that has stopped answers")
	}
}

// TestAnEtcdThatWantsACertificateIsToldSo: it says so after the handshake only, and all that
// etcd's client says is that its time was up.
func TestAnEtcdThatWantsACertificateIsToldSo(t *testing.T) {
	for name, wanted := range map[string]tls.ClientAuthType{"it wants one": tls.RequireAnyClientCert, "it wants none": tls.NoClientCert} {
		server := httptest.NewUnstartedServer(nil)
		server.TLS = &tls.Config{ClientAuth: wanted}
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		secured := tlsConfig()
		secured.RootCAs = x509.NewCertPool()
		secured.RootCAs.AddCert(server.Certificate())
		refusal := alertTimeout
		if wanted != tls.NoClientCert {
			refusal = time.Minute
		}
		err := connect(t.Context(), server.URL, secured, refusal)
		server.Close()
		if told := err != nil && strings.Contains(err.Error(), "certificate required"); told != (wanted != tls.NoClientCert) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// externalEtcd starts an etcd that is none of ours, and ends with the test.
func externalEtcd(t *testing.T, endpoint, peer url.URL) {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir, cfg.Name, cfg.ZapLoggerBuilder = t.TempDir(), "one", embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{endpoint}, []url.URL{endpoint}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = "one=" + peer.String()
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
}

// TestAnEtcdThatWantsAUserIsNotWaitedFor: it answers, and will say the same tomorrow.
func TestAnEtcdThatWantsAUserIsNotWaitedFor(t *testing.T) {
	endpoint := freeURL(t)
	externalEtcd(t, endpoint, freeURL(t))
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint.String()}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	for _, step := range []func() error{
		func() error { _, err := c.RoleAdd(ctx, "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "root", "secret"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	key := filepath.Join(t.TempDir(), "seal.key")
	if _, err := seal.CreateFile(key); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "--data-dir", t.TempDir(), "--etcd-endpoints", endpoint.String(), "--seal-key-file", key)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.end()
		t.Fatalf("it waits:\n%s", p.stderr)
	}
	if p.code != exitFailed || !strings.Contains(p.stderr.String(), "wants a user and a password, which are not supported yet") {
		t.Errorf("exit status %d:\n%s", p.code, p.stderr)
	}
}
