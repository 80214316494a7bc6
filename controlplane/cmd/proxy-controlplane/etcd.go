package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/proxyfleet/proxyfleet/controlplane/embedded"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

const (
	// slowStart is how often a start of the embedded etcd is told of that takes long: mostly
	// it takes a tenth of a second.
	slowStart = 30 * time.Second
	// reachTimeout bounds a look at one endpoint of an etcd that does not answer.
	reachTimeout = time.Second
	// alertTimeout is how long is waited for the refusal of a connection by TLS, which comes
	// after the handshake (RFC 8446 section 4.4.2.4).
	alertTimeout = 300 * time.Millisecond

	etcdDialTimeout      = 5 * time.Second
	etcdKeepAlive        = 10 * time.Second
	etcdKeepAliveTimeout = 5 * time.Second
)

// waits are how long an etcd is waited for.
type waits struct {
	open  time.Duration // bounds one attempt to read the store
	retry time.Duration // is the pause between attempts
}

func defaultWaits() waits { return waits{open: 5 * time.Second, retry: 2 * time.Second} }

// startEtcd gives a client of the embedded etcd, which it starts, and what makes room
// in it; or of an external one, which may not be there yet, and nil.
func startEtcd(ctx context.Context, o options, running *lifecycle.Parts, logger *slog.Logger) (
	client *clientv3.Client, reclaim func(context.Context) error, err error,
) {
	if len(o.etcdEndpoints) > 0 {
		client, err = dialEtcd(o.etcdEndpoints, running)
		return client, nil, err
	}
	e, err := patiently(ctx, logger, func(ctx context.Context) (*embedded.Etcd, error) {
		return embedded.Start(ctx, embedded.Options{DataDir: o.dataDir, Logger: logger})
	})
	if err != nil {
		return nil, nil, err
	}
	running.Start("etcd", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return e.Close()
		case <-e.Done():
			return errors.Join(errors.New("it stopped"), e.Close())
		}
	})
	return e.Client(), e.Reclaim, nil
}

// patiently starts an etcd, and tells people now and then while that takes long. It is not
// given up: one that has much to read, of its log or to write its file anew, has as much to
// read the next time.
func patiently(ctx context.Context, logger *slog.Logger, start func(context.Context) (*embedded.Etcd, error)) (*embedded.Etcd, error) {
	begin, tick, started := time.Now(), time.NewTicker(slowStart), make(chan struct{})
	defer tick.Stop()
	var telling sync.WaitGroup
	defer telling.Wait()
	defer close(started)
	telling.Go(func() {
		for {
			select {
			case <-started:
				return
			case <-tick.C:
				logger.Warn("etcd: it is starting still: it reads its log, or writes its file anew", "for", time.Since(begin).Round(time.Second))
			}
		}
	})
	return start(ctx)
}

func dialEtcd(endpoints []string, running *lifecycle.Parts) (*clientv3.Client, error) {
	cfg := clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          etcdDialTimeout,
		DialKeepAliveTime:    etcdKeepAlive,
		DialKeepAliveTimeout: etcdKeepAliveTimeout,
		PermitWithoutStream:  true,
		// What fails is returned, and logged by whoever asked.
		Logger: zap.NewNop(),
	}
	for _, endpoint := range endpoints {
		if strings.HasPrefix(endpoint, "https:") || strings.HasPrefix(endpoint, "unixs:") {
			cfg.TLS = tlsConfig()
		}
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd %s: %w", strings.Join(endpoints, ","), err)
	}
	running.Start("etcd", func(ctx context.Context) error {
		<-ctx.Done()
		return client.Close()
	})
	return client, nil
}

func tlsConfig() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }

// openStore opens the store.
func openStore(ctx context.Context, client *clientv3.Client, o options, w waits, key *seal.Key, logger *slog.Logger) (st *store.Store, err error) {
	if len(o.etcdEndpoints) > 0 {
		logger.Info("etcd: connecting", "etcd", o.etcdName())
	}
	err = answered(ctx, o, w, logger, func(ctx context.Context) (err error) {
		st, err = store.Open(ctx, client, store.Options{Logger: logger, Seal: key})
		return err
	})
	return st, err
}

// answered asks until etcd answers: after a power cut everything starts at once, in any
// order, and disks are busy.
func answered(ctx context.Context, o options, w waits, logger *slog.Logger, ask func(context.Context) error) error {
	for attempt := 1; ; attempt++ {
		asking, cancel := context.WithTimeout(ctx, w.open)
		err := ask(asking)
		cancel()
		if err == nil {
			if attempt > 1 {
				logger.Info("etcd answers", "etcd", o.etcdName(), "attempts", attempt)
			}
			return nil
		}
		if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrSealKey) {
			return err
		}
		if len(o.etcdEndpoints) == 0 && !errors.Is(err, context.DeadlineExceeded) { // it has stopped
			return err
		}
		if errors.Is(err, rpctypes.ErrUserEmpty) { // and will tomorrow
			return fmt.Errorf("etcd %s wants a user and a password, which are not supported yet: %w", o.etcdName(), err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		logger.Warn("etcd does not answer; waiting for it", "etcd", o.etcdName(), "attempt", attempt,
			"error", err, "endpoints", reach(ctx, reachTimeout, o.etcdEndpoints), "retry_in", w.retry)
		pause := time.NewTimer(w.retry)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return context.Cause(ctx)
		}
	}
}

// reach says of each endpoint how far one comes with it. The client tries again
// within itself until its time is up, and then knows no more than that.
func reach(ctx context.Context, within time.Duration, endpoints []string) string {
	told := make([]string, len(endpoints))
	var all sync.WaitGroup
	for i, endpoint := range endpoints {
		all.Go(func() {
			looking, cancel := context.WithTimeout(ctx, within)
			defer cancel()
			told[i] = endpoint + ": takes connections"
			if err := connect(looking, endpoint, tlsConfig(), alertTimeout); err != nil {
				told[i] = endpoint + ": " + err.Error()
			}
		})
	}
	all.Wait()
	return strings.Join(told, "; ")
}

// connect connects to an endpoint, by TLS if it says so, waits for so long for its refusal by
// TLS, and leaves.
func connect(ctx context.Context, endpoint string, secured *tls.Config, refusal time.Duration) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	network, address := "tcp", u.Host
	if strings.HasPrefix(u.Scheme, "unix") {
		network, address = "unix", u.Host+u.Path
	}
	if u.Scheme != "https" {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	secured.NextProtos = []string{"h2", "http/1.1"} // without one etcd says no for that reason alone
	conn, err := (&tls.Dialer{Config: secured}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(refusal)); err != nil {
		return err
	}
	if _, err = conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // it says nothing, and so not that it wants a certificate
	}
	return err
}
