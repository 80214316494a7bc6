package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/accesslog"
	"github.com/proxyfleet/proxyfleet/dataplane/admin"
	"github.com/proxyfleet/proxyfleet/dataplane/control"
	"github.com/proxyfleet/proxyfleet/dataplane/evloop"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/filefeed"
	"github.com/proxyfleet/proxyfleet/dataplane/fleetstate"
	"github.com/proxyfleet/proxyfleet/dataplane/handover"
	"github.com/proxyfleet/proxyfleet/dataplane/hugepage"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/permit"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

const (
	// computing is how many goroutines may burn processor time beside the loops.
	computing = 1
	// stopGrace is what the engine gets beyond the drain timeout.
	stopGrace = 5 * time.Second
)

// node is the process: its parts, wired. Fields are set before the parts start, but for
// inForce and what start sets.
type node struct {
	options options
	logger  *slog.Logger
	world   world

	// what carries traffic
	stats     *stats.Set
	log       *accesslog.Log
	engine    *evloop.Engine
	permit    permit.Semaphore
	hugePages *hugepage.Keeper
	memory    *pressure.Monitor // nil: there is no limit

	// what it is told, and keeps
	source   source
	reload   func()     // SIGHUP, of source
	feed     *feed.Feed // source, or nil: standalone
	drainer  *fleetstate.Drainer
	tickets  *fleetstate.TicketKeys
	vips     *vips
	inForce  atomic.Pointer[table.Configuration]
	lastGood *lastgood.File // nil: none is kept

	// what it shows
	admin         *admin.Server
	adminListener net.Listener

	// an upgrade
	predecessor *handover.Predecessor // nil: this process was started on its own
	control     *control.Socket       // nil: standalone, or no state directory
	upgrading   sync.Mutex            // held by an upgrade
	// Set by start: what ends first when another process took over.
	following, holding, showing *lifecycle.Part
	handedOver                  chan struct{} // closed when one did
}

// source is where the node's configuration comes from.
type source interface {
	Run(ctx context.Context) error
}

// serve runs the node until ctx ends, a part fails, or another process took over.
func serve(ctx context.Context, o options, w world, logger *slog.Logger) (err error) {
	runtime.GOMAXPROCS(o.loops + computing)
	predecessor, err := handover.Inherit(w.getenv, logger)
	if err != nil {
		return err
	}
	n := &node{
		options: o, logger: logger, world: w, stats: stats.New(o.loops, stats.Limits{}), permit: permit.New(computing),
		predecessor: predecessor, handedOver: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			n.failed(err)
		}
	}()
	if err := n.open(ctx); err != nil {
		return err
	}
	parts := lifecycle.New(logger)
	defer parts.Stop()
	n.start(parts)
	logger.Info("node started", "node", o.nodeID, "admin", n.adminListener.Addr().String(), "loops", o.loops, "version", version, "pid", os.Getpid())
	for {
		select {
		case <-ctx.Done():
			logger.Info("node stops", "node", o.nodeID, "drain_timeout", o.drainTimeout)
			n.vips.resign(context.Background(), leavesForGood)
			return nil
		case <-n.handedOver:
			logger.Info("node handed over; its connections end", "node", o.nodeID, "drain_timeout", o.drainTimeout)
			return nil
		case err := <-parts.Failed():
			return err
		case <-w.reload:
			n.log.Reopen()
			n.reload()
		}
	}
}

// failed ends what no part ends: the node did not come so far, or has failed.
func (n *node) failed(err error) {
	if n.predecessor != nil {
		n.predecessor.Fail(err) // says nothing once it serves
	}
	if n.control != nil {
		n.control.Remove() // which its Run does, if it came to that
	}
}

// open makes all parts, and opens what may be in use. Nothing runs yet.
func (n *node) open(ctx context.Context) error {
	config, err := n.build()
	if err != nil {
		return err
	}
	if n.options.resources != "" {
		err = n.followFile(&config)
	} else {
		err = n.followControlPlane(&config)
	}
	if err != nil {
		return err
	}
	if n.admin, err = admin.New(config); err != nil {
		return err
	}
	n.adminListener, err = n.listenAdmin(ctx)
	return err
}

// build makes the parts that carry traffic, and what the admin address shows of
// them.
func (n *node) build() (config admin.Config, err error) {
	o := n.options
	n.hugePages = hugepage.New(n.permit, n.logger)
	if n.log, err = accesslog.New(accesslog.Options{Path: o.accessLog, MaxSize: o.logMax, Keep: o.logKeep, Logger: n.logger}); err != nil {
		return config, err
	}
	engine := evloop.Config{
		Loops: o.loops, NodeAddress: o.listen, DrainTimeout: o.drainTimeout, Stats: n.stats, Permit: n.permit, MayHold: o.mayHold,
		SingleCalls: o.noIOURing, NewSink: func(int) evloop.Sink { return n.log.Sink() }, Logger: n.logger,
	}
	if n.predecessor != nil {
		engine.Inherit = n.predecessor.Sockets
	}
	if n.engine, err = evloop.New(engine); err != nil {
		return config, err
	}
	n.vips = newVIPs(o, n.engine, n.begins(), n.world.stderr, n.logger)
	n.drainer = fleetstate.NewDrainer(fleetstate.DrainerConfig{
		NodeID: o.nodeID, Engine: n.engine, Logger: n.logger,
		Resign:  func(ctx context.Context) { n.vips.resign(ctx, isDrained) },
		Resume:  func() { n.vips.resume(isDrained) },
		Changed: n.vips.changed.Send,
	})
	n.tickets = fleetstate.NewTicketKeys(n.engine.SetTicketKeys, n.logger)
	if n.predecessor != nil {
		if err := n.suspend(); err != nil {
			return config, err
		}
	}
	return admin.Config{
		NodeID: o.nodeID, Build: api.NewBuild(version, commit), Stats: n.stats, Live: n.engine.Live().Load,
		Endpoint: n.endpointLoad, Node: n.state, Log: n.log, Permit: n.permit, Logger: n.logger,
	}, nil
}

// start starts the parts, each on what it stands on.
func (n *node) start(parts *lifecycle.Parts) {
	o := n.options
	parts.Start("access log", n.log.Run)
	if n.lastGood != nil {
		parts.Start("last known good", n.lastGood.Run)
	}
	n.showing = parts.Start("admin", func(ctx context.Context) error { return n.admin.Run(ctx, n.adminListener) })
	parts.StartSlow("engine", o.drainTimeout+stopGrace, n.engine.Run)
	parts.Start("garbage", pressure.NewCollector(o.memory).Run)
	if n.makeMonitor() {
		parts.Start("memory", func(ctx context.Context) error { return n.memory.Run(ctx, n.underPressure) })
	}
	parts.Start("huge pages", n.hugePages.Run)
	parts.Start("drain", n.drainer.Run)
	parts.Start("session-ticket keys", n.tickets.Run)
	n.following = parts.Start("configuration", n.source.Run)
	n.holding = parts.Start("virtual IPs", n.vips.Run)
	if n.control != nil {
		parts.Start("control socket", n.control.Run)
	}
	if n.predecessor != nil {
		parts.Start("hand-over", func(ctx context.Context) error { return n.predecessor.Run(ctx, n.engine, n.control.Claim) })
	} else if n.control != nil {
		n.control.Claim()
	}
}

// followFile makes a file the source.
func (n *node) followFile(config *admin.Config) error {
	if n.predecessor != nil {
		return errors.New("hand-over: a node that runs on --resources cannot take over: restart it")
	}
	f := filefeed.New(filefeed.Config{Path: n.options.resources, Apply: n.apply, Permit: n.permit, Logger: n.logger})
	if err := f.Check(); err != nil {
		return settings.Usage("--resources: %v", err)
	}
	n.source, n.reload = f, f.Reload
	config.Status, config.Resources = admin.FileStatus(f.State), f.Resources
	return nil
}

// followControlPlane makes a control plane the source.
func (n *node) followControlPlane(config *admin.Config) error {
	boot, err := n.remember()
	if err != nil {
		return err
	}
	apply := n.apply
	if n.predecessor != nil {
		apply = n.predecessor.Watch(apply)
	}
	f, err := feed.New(feed.Config{
		Boot: boot, Applied: n.applied,
		NodeID: n.options.nodeID, Labels: n.options.labels, Build: version,
		ControlPlanes: n.options.controlPlanes, Insecure: n.options.insecure,
		Apply: apply, Live: n.engine.Live(), Permit: n.permit,
		Numbers: n.numbers, FleetState: n.fleetState, Logger: n.logger,
		Witness: n.options.witness, Decision: n.drainer.Decision, VIPs: n.vips.say, Changed: n.vips.changed,
	})
	if err != nil {
		return err
	}
	if p := n.predecessor; p != nil {
		f.Resume(p.Served.BootID, p.Begin())
	}
	n.source, n.feed, n.reload = f, f, func() {}
	config.VIPs = n.vips.state
	config.Checks = append(config.Checks, admin.Check{Name: "drain", Ready: n.drainer.Ready})
	config.Status, config.Feed, config.Resources = admin.FeedStatus(f.State), f.Counters, n.resources
	return nil
}

// nodeDir is where a node keeps its state.
func nodeDir(stateDir, nodeID string) string {
	return filepath.Join(stateDir, url.PathEscape(nodeID))
}

// remember opens the last known good configuration; nil: there is none yet, or
// none is kept.
func (n *node) remember() (*table.Configuration, error) {
	if n.options.stateDir == "" {
		if n.predecessor != nil {
			return nil, errors.New("hand-over: there is no --state-dir to take over from")
		}
		return nil, nil
	}
	dir := nodeDir(n.options.stateDir, n.options.nodeID)
	key, err := lastgood.OpenKey(dir, n.logger)
	if err != nil {
		return nil, err
	}
	if n.lastGood, err = lastgood.Open(dir, key, n.permit, n.logger); err != nil {
		return nil, err
	}
	n.tickets.Remember(lastgood.OpenTickets(dir, key, n.logger))
	if err := n.drainer.Remember(dir, n.predecessor == nil); err != nil {
		return nil, err
	}
	n.vips.lists.remember(dir)
	n.control = control.Open(control.Config{Dir: dir, Upgrade: n.upgrade, DrainTimeout: n.options.drainTimeout, Logger: n.logger})
	var last *table.Configuration
	if saved, ok := n.lastGood.Load(); ok {
		last = &saved
	}
	if n.predecessor != nil {
		return last, n.inherit(last)
	}
	return last, nil
}

// resources are those in force.
func (n *node) resources() tree.Tree {
	if c := n.inForce.Load(); c != nil {
		return c.Tree
	}
	return tree.Tree{}
}

// applied keeps what came into force, to be shown at /config and for the next start.
func (n *node) applied(c table.Configuration) {
	n.inForce.Store(&c)
	if n.lastGood != nil {
		n.lastGood.Save(c)
	}
}

// apply makes a table live.
func (n *node) apply(ctx context.Context, t *table.Table) error {
	err := n.vips.check(t)
	if err == nil {
		err = n.engine.Apply(ctx, t)
	}
	if err == nil {
		n.vips.follow(t)
		n.hugePages.Changed()
	}
	if err != nil {
		return fmt.Errorf("node %s: %w", n.options.nodeID, err)
	}
	return nil
}

// fleetState takes what the control plane says of nodes. It does not block.
func (n *node) fleetState(s *fleetv1.FleetState) {
	n.drainer.Take(s)
	n.vips.lists.take(s)
	n.tickets.Take(s)
}

func (n *node) bootID() string {
	if n.feed == nil {
		return ""
	}
	return n.feed.State().BootID
}

func (n *node) numbers() feed.Numbers {
	drained := n.drainer.Drained() // before the count, which is of afterwards then
	return feed.Numbers{
		Drained:     drained,
		Requests:    n.stats.Counter(stats.Requests),
		Connections: n.stats.Counter(stats.ClientsOpen),
		Errors:      n.stats.Counter(stats.Errors),
	}
}

// state is what metrics show besides counters.
func (n *node) state() admin.NodeState {
	s := admin.NodeState{
		Pressure: n.engine.Pressure(), MemoryLimit: n.options.memory,
		BufferBytes: n.engine.BufferBytes(), Drained: n.drainer.Drained(), Unwritten: n.world.unwritten(),
	}
	if n.lastGood != nil {
		s.LastGood = n.lastGood.Written()
	}
	return s
}

func (n *node) endpointLoad(slot uint32) admin.EndpointLoad {
	inFlight, connections, waiting := n.engine.EndpointLoad(slot)
	return admin.EndpointLoad{InFlight: inFlight, Connections: connections, Waiting: waiting}
}
