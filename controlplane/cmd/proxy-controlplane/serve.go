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
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/controlplane/replicas"
	"github.com/proxyfleet/proxyfleet/controlplane/rest"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/controlplane/stream"
	"github.com/proxyfleet/proxyfleet/controlplane/tickets"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

const addressesFile = "addresses.json"

// serve wires the parts, runs them until ctx ends or one of them fails, and
// stops them: REST first, so that no change is taken that nobody hears of; then
// the nodes' streams; then the publisher; etcd last.
func serve(ctx context.Context, o options, w waits, key *seal.Key, unwritten func() uint64, logger *slog.Logger) error {
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
		if key, err = makeSealKey(ctx, client, o, w, logger); err != nil {
			return interrupted(ctx, err)
		}
	}
	st, err := openStore(ctx, client, o, w, key, logger)
	if err != nil {
		return interrupted(ctx, err)
	}
	at, err := listen(o)
	if err != nil {
		return err
	}
	build := api.NewBuild(version, commit)
	m := newMetrics(build)
	m.messages(unwritten)
	p, err := wire(o, st, reclaim, at, m, logger)
	if err != nil {
		return errors.Join(err, at.rest.Close(), at.grpc.Close())
	}
	p.start(running, at)

	addresses := addresses{REST: at.rest.Addr().String(), GRPC: at.grpc.Addr().String(), PID: os.Getpid()}
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

// listeners are where people and nodes connect.
type listeners struct{ rest, grpc net.Listener }

func listen(o options) (l listeners, err error) {
	if l.rest, err = net.Listen("tcp", o.restAddress); err != nil {
		return l, fmt.Errorf("--rest-address: %w", err)
	}
	if l.grpc, err = net.Listen("tcp", o.grpcAddress); err != nil {
		_ = l.rest.Close()
		return l, fmt.Errorf("--grpc-address: %w", err)
	}
	return l, nil
}

// parts are what the process is made of, above its store.
type parts struct {
	room      *room
	publisher *publish.Publisher
	tickets   *tickets.Rotator
	nodes     *nodes.Registry
	replicas  *replicas.Replicas // nil: there can be no other control plane
	streams   *stream.Server
	rest      *rest.Server
}

// wire makes the parts and starts nothing.
func wire(
	o options, st *store.Store, reclaim func(context.Context) error, at listeners, m *metrics, logger *slog.Logger,
) (*parts, error) {
	build := m.build
	p := &parts{room: &room{store: st, reclaim: reclaim, metrics: m, logger: logger}}
	p.publisher = publish.New(publish.Config{Store: st, Epochs: st, Logger: logger})
	name, alone := planeName(at.grpc), len(o.etcdEndpoints) == 0
	p.nodes = nodes.New(nodes.Config{Publisher: p.publisher, Records: st, Name: name, Alone: alone, Logger: logger})
	if !alone {
		p.replicas = replicas.New(replicas.Config{Store: st, Nodes: p.nodes, Name: name, Build: build.Version, Logger: logger})
	}
	p.streams = stream.New(stream.Config{
		Publisher: p.publisher, Nodes: p.nodes, Insecure: o.insecure, Build: build.Version, Logger: logger,
	})
	p.tickets = tickets.New(tickets.Config{Store: st, Publish: p.nodes.SetTicketKeys, Logger: logger})
	m.watch(p)
	c := rest.Config{
		Bound: addrPort(at.rest),
		Store: st, Records: st, Epochs: st, Checker: p.publisher, Explainer: p.publisher, Nodes: p.nodes, Heads: st,
		Certificates: p.publisher.Certificates,
		Notices:      p.notices,
		Committed:    p.publisher.Kick,
		Ready:        readiness(st, p.publisher),
		Metrics:      m.handler(),
		Observe:      m.observe,
		Build:        build, Now: time.Now, Logger: logger,
	}
	if !alone {
		c.ControlPlanes = func() []api.ControlPlane {
			planes := []api.ControlPlane{{Name: name, Version: build.Version}}
			for _, other := range p.replicas.Others() {
				planes = append(planes, api.ControlPlane{Name: other.Name, Version: other.Build})
			}
			return planes
		}
	}
	var err error
	p.rest, err = rest.New(c)
	return p, err
}

// notices are what people should know of the control plane.
func (p *parts) notices() []string {
	notices := slices.Concat(p.room.notices(), p.streams.Notices(), p.nodes.Notices())
	if p.replicas != nil {
		notices = append(notices, p.replicas.Notices()...)
	}
	return notices
}

// planeName is by what people know a control plane: the address that nodes connect to, with
// the machine's name where the address says nothing of the machine.
func planeName(l net.Listener) string {
	bound := addrPort(l)
	if ip := bound.Addr(); !ip.IsUnspecified() && ip != netip.IPv6Loopback() && ip != netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return l.Addr().String()
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return l.Addr().String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(bound.Port())))
}

// start starts the parts, each after what it stands on.
func (p *parts) start(running *lifecycle.Parts, at listeners) {
	running.Start("room", p.room.run)
	running.Start("publish", p.publisher.Run)
	running.Start("ticket keys", p.tickets.Run)
	running.Start("nodes", p.nodes.Run)
	if p.replicas != nil {
		running.Start("replicas", p.replicas.Run)
	}
	running.Start("stream", func(ctx context.Context) error { return p.streams.Serve(ctx, at.grpc) })
	running.Start("rest", func(ctx context.Context) error { return p.rest.Run(ctx, at.rest) })
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
