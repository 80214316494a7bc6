package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// drainRetry is the pause after listeners could not be opened again.
const drainRetry = time.Second

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
	marker string      // a file that is there while the node is drained; empty: none is kept

	revision uint64 // owned by fleetState: the highest that was heard
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
	d.marker = filepath.Join(dir, "drained")
	if _, err := os.Stat(d.marker); err != nil || !boot {
		return nil // not drained, as far as anybody knows
	}
	d.logger.Warn("drain: this node was drained when it stopped", "undo", "proxyctl undrain "+d.node)
	d.wanted.Store(true)
	d.done.Store(true)
	d.vips.resign(context.Background(), isDrained)
	return d.engine.SetDrained(context.Background(), true)
}

// keep writes or removes the marker.
func (d *drainer) keep(drained bool) {
	if d.marker == "" {
		return
	}
	var err error
	if drained {
		err = os.WriteFile(d.marker, []byte("proxyctl undrain "+d.node+"\n"), 0o600)
	} else if err = os.Remove(d.marker); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		d.logger.Error("drain: not remembered for the next start", "file", d.marker, "error", err)
	}
}

// Run follows until ctx ends.
func (d *drainer) Run(ctx context.Context) error {
	var retry <-chan time.Time
	failed := false // to drain: it resigned, and serves
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
			if !drained && failed { // and was taken back before the next try
				d.vips.resume(isDrained)
				failed = false
			}
			continue
		}
		if drained { // while it serves, so that a successor takes over at once
			d.vips.resign(ctx, isDrained)
		}
		if err := d.engine.SetDrained(ctx, drained); err != nil {
			d.logger.Error("drain: not done, will try again", "drained", drained, "error", err, "retry_in", drainRetry)
			retry = time.After(drainRetry)
			failed = drained
			continue
		}
		failed = false
		if !drained {
			d.vips.resume(isDrained)
		}
		d.keep(drained)
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
