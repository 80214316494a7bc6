package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/evloop"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// drainRetry is the pause after listeners could not be opened again.
const drainRetry = time.Second

// drainer does what the fleet says of this node: drained or not. It is no part of
// the configuration, so a rollback cannot undo it.
type drainer struct {
	node   string
	engine *evloop.Engine
	logger *slog.Logger
	wanted atomic.Bool
	asks   chan struct{}
	done   atomic.Bool // what the engine does
}

func newDrainer(node string, e *evloop.Engine, logger *slog.Logger) *drainer {
	return &drainer{node: node, engine: e, logger: logger, asks: make(chan struct{}, 1)}
}

// fleetState takes what the control plane says. It does not block.
func (d *drainer) fleetState(s *fleetv1.FleetState) {
	drained := false
	for _, m := range s.GetMembers() {
		if m.GetNodeId() == d.node {
			drained = m.GetDrained()
		}
	}
	d.wanted.Store(drained)
	select {
	case d.asks <- struct{}{}:
	default: // it looks again anyway
	}
}

// Run follows until ctx ends.
func (d *drainer) Run(ctx context.Context) error {
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.asks:
		case <-retry:
		}
		retry = nil
		drained := d.wanted.Load()
		if drained == d.done.Load() {
			continue
		}
		if err := d.engine.SetDrained(ctx, drained); err != nil {
			d.logger.Error("drain: not done, will try again", "drained", drained, "error", err, "retry_in", drainRetry)
			retry = time.After(drainRetry)
			continue
		}
		d.done.Store(drained)
		d.logger.Info("drain", "drained", drained)
	}
}

// ready is for /readyz: a drained node wants no traffic.
func (d *drainer) ready() (ok bool, detail string) {
	if d.done.Load() {
		return false, "drained: proxyctl undrain " + d.node
	}
	return true, "not drained"
}
