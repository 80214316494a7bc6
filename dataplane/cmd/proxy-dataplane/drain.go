package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// drainRetry is the pause after listeners could not be opened again.
	drainRetry = time.Second
	// keepRetry is the pause after the disk did not take what is to be kept.
	keepRetry = 10 * time.Second
)

// drainer does what the fleet says of this node: drained or not. It is no part of
// the configuration, so a rollback cannot undo it.
type drainer struct {
	node   string
	engine drainable
	vips   *vips
	logger *slog.Logger
	wanted atomic.Bool
	asks   chan struct{}
	done   atomic.Bool // what the engine does
	dir    string      // where being drained is kept; empty: nowhere

	revision uint64 // owned by fleetState: the highest that was heard

	// owned by Run
	kept   bool // what dir says
	failed bool // to drain: it resigned, and serves
}

// drainable is the engine, as far as it is drained.
type drainable interface {
	SetDrained(ctx context.Context, drained bool) error
}

func newDrainer(node string, e drainable, v *vips, logger *slog.Logger) *drainer {
	return &drainer{node: node, engine: e, vips: v, logger: logger, asks: make(chan struct{}, 1)}
}

// fleetState takes what the control plane says. It does not block.
func (d *drainer) fleetState(s *fleetv1.FleetState) {
	if s.GetRevision() < d.revision {
		// Of a replica that lost its etcd: it must not give traffic to a node that was
		// drained by way of another since.
		d.logger.Warn("drain: an older state of the fleet is passed over", "revision", s.GetRevision(), "known", d.revision)
		return
	}
	d.revision = s.GetRevision()
	for _, m := range s.GetMembers() {
		// A list without this node says nothing of it: its record is about to be made.
		if m.GetNodeId() == d.node {
			d.wanted.Store(m.GetDrained())
		}
	}
	select {
	case d.asks <- struct{}{}:
	default: // it looks again anyway
	}
}

// remember keeps being drained in a directory, so that a node that starts while
// nobody answers does not take traffic that was taken off it. boot: nothing
// listens yet, and what the directory says holds from the beginning.
func (d *drainer) remember(dir string, boot bool) error {
	kept, err := lastgood.Drained(dir)
	if err != nil {
		d.logger.Error("drain: this node takes itself for not drained", "error", err)
	}
	d.dir, d.kept = dir, kept
	if !kept || !boot {
		return nil
	}
	d.logger.Warn("drain: this node was drained when it stopped", "undo", "proxyctl undrain "+d.node)
	d.wanted.Store(true)
	d.done.Store(true)
	d.vips.resign(context.Background(), isDrained)
	return d.engine.SetDrained(context.Background(), true)
}

// Run follows until ctx ends. What a full disk did not take is tried again, and once
// more at the end: it may be long until the node is drained or undrained again.
func (d *drainer) Run(ctx context.Context) error {
	var retry <-chan time.Time
	if !d.keep() { // as the process before this one could not
		retry = time.After(keepRetry)
	}
	for {
		select {
		case <-ctx.Done():
			d.keep()
			return nil
		case <-d.asks:
		case <-retry:
		}
		switch retry = nil; {
		case !d.follow(ctx):
			retry = time.After(drainRetry)
		case !d.keep():
			retry = time.After(keepRetry)
		}
	}
}

// follow does what is wanted, and reports whether it is done.
func (d *drainer) follow(ctx context.Context) bool {
	drained := d.wanted.Load()
	if drained == d.done.Load() {
		if !drained && d.failed { // and was taken back before the next try
			d.vips.resume(isDrained)
			d.failed = false
		}
		return true
	}
	if drained { // while it serves, so that a successor takes over at once
		d.vips.resign(ctx, isDrained)
	}
	if err := d.engine.SetDrained(ctx, drained); err != nil {
		d.logger.Error("drain: not done, will try again", "drained", drained, "error", err, "retry_in", drainRetry)
		d.failed = drained
		return false
	}
	d.failed = false
	if !drained {
		d.vips.resume(isDrained)
	}
	d.done.Store(drained)
	poke(d.vips.changed) // proxyctl drain --wait waits for the word
	d.logger.Info("drain", "drained", drained)
	return true
}

// keep notes what the engine does for the next start, and reports whether it is noted.
func (d *drainer) keep() bool {
	drained := d.done.Load()
	if d.dir == "" || drained == d.kept {
		return true
	}
	if err := lastgood.SaveDrained(d.dir, drained, "proxyctl undrain "+d.node+"\n"); err != nil {
		d.logger.Error("drain: not remembered for the next start", "drained", drained, "error", err, "retry_in", keepRetry)
		return false
	}
	d.kept = drained
	return true
}

// ready is for /readyz: a drained node wants no traffic.
func (d *drainer) ready() (ok bool, detail string) {
	if d.done.Load() {
		return false, "drained: proxyctl undrain " + d.node
	}
	return true, "not drained"
}
