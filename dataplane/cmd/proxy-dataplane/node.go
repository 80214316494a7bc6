package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/proxyfleet/proxyfleet/dataplane/accesslog"
	"github.com/proxyfleet/proxyfleet/dataplane/admin"
	"github.com/proxyfleet/proxyfleet/dataplane/evloop"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/permit"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// computing is how many goroutines may burn processor time beside the loops.
const computing = 1

// node is the process: its parts, wired.
type node struct {
	options options
	logger  *slog.Logger
	world   world
	stats   *stats.Set
	log     *accesslog.Log
	engine  *evloop.Engine
	permit  permit.Semaphore
	drainer *drainer
	inForce atomic.Pointer[feed.InForce]
	// lastGood is nil where none is kept.
	lastGood *lastgood.File
}

// source is where the node's configuration comes from.
type source interface {
	Run(ctx context.Context) error
}

// serve runs the node until ctx ends or a part fails.
func serve(ctx context.Context, o options, w world, logger *slog.Logger) error {
	runtime.GOMAXPROCS(o.loops + computing)
	n := &node{options: o, logger: logger, world: w, stats: stats.New(o.loops, stats.Limits{}), permit: permit.New(computing)}
	var err error
	if n.log, err = accesslog.New(accesslog.Options{Path: o.accessLog, Logger: logger}); err != nil {
		return err
	}
	n.engine, err = evloop.New(evloop.Config{
		Loops: o.loops, NodeAddress: o.listen, DrainTimeout: o.drainTimeout, Stats: n.stats,
		NewSink: func(int) evloop.Sink { return n.log.Sink() }, Logger: logger,
	})
	if err != nil {
		return err
	}
	n.drainer = newDrainer(o.nodeID, n.engine, logger)
	config := admin.Config{
		NodeID: o.nodeID, Build: buildInfo(), Stats: n.stats, Live: n.engine.Live().Load,
		Endpoint: n.endpointLoad, Log: n.log, Permit: n.permit, Logger: logger,
	}
	from, reload, err := n.source(&config)
	if err != nil {
		return err
	}
	server, err := admin.New(config)
	if err != nil {
		return err
	}
	listener, err := admin.Listen(ctx, o.adminAddress, o.insecure)
	if err != nil {
		return err
	}
	parts := lifecycle.New(logger)
	defer parts.Stop()
	parts.Start("access log", n.log.Run)
	if n.lastGood != nil {
		parts.Start("last known good", n.lastGood.Run)
	}
	parts.Start("admin", func(ctx context.Context) error { return server.Run(ctx, listener) })
	parts.StartSlow("engine", o.drainTimeout+stopGrace, n.engine.Run)
	if o.memory > 0 {
		monitor := pressure.New(o.memory)
		parts.Start("memory", func(ctx context.Context) error { return monitor.Run(ctx, n.underPressure) })
	}
	parts.Start("drain", n.drainer.Run)
	parts.Start("configuration", from.Run)
	logger.Info("node started", "node", o.nodeID, "admin", listener.Addr().String(), "loops", o.loops, "version", version)
	for {
		select {
		case <-ctx.Done():
			logger.Info("node stops", "node", o.nodeID, "drain_timeout", o.drainTimeout)
			return nil
		case err := <-parts.Failed():
			return err
		case <-w.reload:
			if err := n.log.Reopen(); err != nil {
				logger.Error("access log: open again", "error", err)
			}
			reload()
		}
	}
}

// source makes what brings the configuration, and what SIGHUP asks of it.
func (n *node) source(config *admin.Config) (from source, reload func(), err error) {
	if n.options.resources != "" {
		s := newStandalone(n)
		if err := s.check(); err != nil {
			return nil, nil, err
		}
		config.Status, config.Resources = s.status, s.resources
		return s, s.reload, nil
	}
	boot, err := n.remember()
	if err != nil {
		return nil, nil, err
	}
	f, err := feed.New(feed.Config{
		Boot: boot, Applied: n.applied,
		NodeID: n.options.nodeID, Labels: n.options.labels, Build: version,
		ControlPlanes: n.options.controlPlanes, Insecure: n.options.insecure,
		Apply: n.apply, Live: n.engine.Live(), Permit: n.permit,
		Numbers: n.numbers, FleetState: n.drainer.fleetState, Logger: n.logger,
	})
	if err != nil {
		return nil, nil, err
	}
	config.Checks = append(config.Checks, admin.Check{Name: "drain", Ready: n.drainer.ready})
	config.Status, config.Feed, config.Resources = admin.FeedStatus(f.State), f.Counters, n.resources
	return f, func() {}, nil
}

// remember opens the last known good configuration; nil: there is none yet, or
// none is kept.
func (n *node) remember() (*feed.InForce, error) {
	if n.options.stateDir == "" {
		return nil, nil
	}
	var err error
	if n.lastGood, err = lastgood.Open(filepath.Join(n.options.stateDir, url.PathEscape(n.options.nodeID)), n.logger); err != nil {
		return nil, err
	}
	saved, ok := n.lastGood.Load()
	if !ok {
		return nil, nil
	}
	return &feed.InForce{Version: saved.Version, Tree: saved.Tree}, nil
}

// resources are those in force.
func (n *node) resources() tree.Tree {
	if c := n.inForce.Load(); c != nil {
		return c.Tree
	}
	return tree.Tree{}
}

// applied keeps what came into force, to be shown and for the next start.
func (n *node) applied(c feed.InForce) {
	n.inForce.Store(&c)
	if n.lastGood != nil {
		n.lastGood.Save(lastgood.Saved{Version: c.Version, Tree: c.Tree})
	}
}

// apply makes a table live.
func (n *node) apply(ctx context.Context, t *table.Table) error {
	if err := n.engine.Apply(ctx, t); err != nil {
		return fmt.Errorf("node %s: %w", n.options.nodeID, err)
	}
	return nil
}

func (n *node) underPressure(level pressure.Level) {
	n.logger.Warn("memory", "pressure", level, "limit", n.options.memory)
	n.engine.SetPressure(level)
}

func (n *node) numbers() feed.Numbers {
	return feed.Numbers{
		Requests:    n.stats.Counter(stats.Requests),
		Connections: n.stats.Counter(stats.ClientsOpen),
		Errors:      n.stats.Counter(stats.Errors),
	}
}

func (n *node) endpointLoad(slot uint32) admin.EndpointLoad {
	inFlight, connections, waiting := n.engine.EndpointLoad(slot)
	return admin.EndpointLoad{InFlight: inFlight, Connections: connections, Waiting: waiting}
}
