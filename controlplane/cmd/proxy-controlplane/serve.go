package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/controlplane/rest"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/controlplane/stream"
	"github.com/proxyfleet/proxyfleet/controlplane/tickets"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

const addressesFile = "addresses.json"

// serve wires the parts, runs them until ctx ends or one of them fails, and
// stops them: REST first, so that no change is taken that nobody hears of; then
// the nodes' streams; then the publisher; etcd last.
func serve(ctx context.Context, o options, key *seal.Key, logger *slog.Logger) error {
	begin := time.Now()
	running := lifecycle.New(logger)
	defer running.Stop()

	client, reclaim, err := startEtcd(ctx, o, running, logger)
	if err != nil {
		return interrupted(ctx, err)
	}
	// Of a process that was killed; whoever waits for the file must not see it.
	_ = os.Remove(filepath.Join(o.dataDir, addressesFile))
	if key == nil {
		if key, err = makeSealKey(ctx, client, o); err != nil {
			return interrupted(ctx, err)
		}
	}
	st, err := openStore(ctx, client, o, key, logger)
	if err != nil {
		return interrupted(ctx, err)
	}
	build := buildInfo()
	m := newMetrics(build)
	keeper := &room{store: st, reclaim: reclaim, metrics: m, logger: logger}
	running.Start("room", keeper.run)

	publisher := publish.New(publish.Config{Store: st, Epochs: st, Logger: logger})
	known := nodes.New(nodes.Config{Publisher: publisher, Records: st, Logger: logger})
	streams := stream.New(stream.Config{
		Publisher: publisher, Nodes: known, Insecure: o.insecure, Build: build.Version, Logger: logger,
	})
	m.watch(publisher, known, streams)

	restListener, err := net.Listen("tcp", o.restAddress)
	if err != nil {
		return fmt.Errorf("--rest-address: %w", err)
	}
	grpcListener, err := net.Listen("tcp", o.grpcAddress)
	if err != nil {
		_ = restListener.Close()
		return fmt.Errorf("--grpc-address: %w", err)
	}
	api, err := rest.New(rest.Config{
		Bound: addrPort(restListener),
		Store: st, Records: st, Epochs: st, Checker: publisher, Nodes: known, Heads: st,
		Certificates: publisher.Certificates,
		Notices:      func() []string { return append(keeper.notices(), streams.Notices()...) },
		Committed:    publisher.Kick,
		Ready:        readiness(st, publisher),
		Metrics:      m.handler(),
		Observe:      m.observe,
		Build:        build, Now: time.Now, Logger: logger,
	})
	if err != nil {
		return errors.Join(err, restListener.Close(), grpcListener.Close())
	}
	rotator := tickets.New(tickets.Config{Store: st, Publish: known.SetTicketKeys, Logger: logger})
	running.Start("publish", publisher.Run)
	running.Start("ticket keys", rotator.Run)
	running.Start("nodes", known.Run)
	running.Start("stream", func(ctx context.Context) error { return streams.Serve(ctx, grpcListener) })
	running.Start("rest", func(ctx context.Context) error { return api.Run(ctx, restListener) })

	addresses := addresses{REST: restListener.Addr().String(), GRPC: grpcListener.Addr().String(), PID: os.Getpid()}
	forget, err := addresses.write(o, logger)
	if err != nil {
		return err
	}
	defer forget()
	if o.insecure {
		logger.Warn("insecure: whoever reaches these addresses may change everything", "rest", addresses.REST, "grpc", addresses.GRPC)
	}
	logger.Info("ready", "rest", addresses.REST, "grpc", addresses.GRPC, "etcd", o.etcdName(), "data_dir", o.dataDir,
		"version", build.Version, "took", time.Since(begin).Round(time.Millisecond))
	select {
	case <-ctx.Done():
		logger.Info("stopping", "reason", "signal")
		return nil
	case err := <-running.Failed():
		return err
	}
}

// interrupted turns the failure of what a signal cut short into a clean end.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (o *options) etcdName() string {
	if len(o.etcdEndpoints) == 0 {
		return "embedded"
	}
	return strings.Join(o.etcdEndpoints, ",")
}

func addrPort(l net.Listener) netip.AddrPort {
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		return netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
	}
	return netip.AddrPort{}
}

// readiness is what /readyz looks at.
func readiness(st *store.Store, publisher *publish.Publisher) []rest.Check {
	return []rest.Check{
		{Name: "store", Run: func(ctx context.Context) error {
			_, err := st.Current(ctx)
			return err
		}},
		{Name: "published", Run: func(context.Context) error {
			if publisher.Wanted().IsZero() {
				return errors.New("no version is wanted yet")
			}
			return nil
		}},
	}
}

// addresses is the content of addresses.json, for scripts and tests that let the
// system choose ports.
type addresses struct {
	REST string `json:"rest"`
	GRPC string `json:"grpc"`
	PID  int    `json:"pid"`
}

// write puts the file into the data directory, whole or not at all, and returns
// what removes it. With an external etcd nothing else is kept there, so that
// failing is no reason not to work.
func (a addresses) write(o options, logger *slog.Logger) (forget func(), err error) {
	name := filepath.Join(o.dataDir, addressesFile)
	text, err := json.Marshal(a)
	if err == nil {
		err = os.MkdirAll(o.dataDir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(name+".tmp", append(text, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(name+".tmp", name)
	}
	if err != nil {
		if len(o.etcdEndpoints) > 0 {
			logger.Warn("addresses not written", "error", err)
			return func() {}, nil
		}
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return func() { _ = os.Remove(name) }, nil
}
