package main

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
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
	dir    string      // where the decision is kept; empty: nowhere

	// said is the last decision that was heard, but for being drained, which is wanted;
	// nil: none was. It is written after wanted.
	said     atomic.Pointer[member.Decision]
	revision uint64 // owned by fleetState: that of the state that was taken last

	// owned by Run
	followed member.Decision // the last one that was done, but for being drained
	kept     member.Decision // what dir says
	failed   bool            // to drain: it resigned, and serves
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
	// A list without this node says nothing of it: its record is about to be made.
	var m *fleetv1.Member
	if i := slices.IndexFunc(s.GetMembers(), func(m *fleetv1.Member) bool { return m.GetNodeId() == d.node }); i >= 0 {
		m = s.GetMembers()[i]
	}
	// Of a replica that lost its etcd, or of an etcd that was put back: it must not give
	// traffic to a node that was drained since. The revision tells neither where the clock
	// of the control plane is slow.
	known := d.decision().Number
	older := s.GetRevision() < d.revision
	if s.GetDecisions() && m != nil && m.GetDecision() != known {
		older = m.GetDecision() < known
	}
	if older {
		d.logger.Warn("drain: an older state of the fleet is passed over", "revision", s.GetRevision(), "known", d.revision,
			"decision", m.GetDecision(), "known_decision", known)
		return
	}
	d.revision = s.GetRevision()
	if m != nil {
		d.wanted.Store(m.GetDrained())
	}
	if m != nil && s.GetDecisions() {
		d.said.Store(&member.Decision{Number: m.GetDecision(), NotExpected: m.GetNotExpected()})
	}
	select {
	case d.asks <- struct{}{}:
	default: // it looks again anyway
	}
}

// decision is the last one that was heard.
func (d *drainer) decision() member.Decision {
	var now member.Decision
	if said := d.said.Load(); said != nil {
		now = *said
	}
	now.Drained = d.wanted.Load()
	return now
}

// remember keeps decisions in a directory, so that a node that starts while nobody
// answers does not take traffic that was taken off it, and knows them better than an
// etcd that was put back. boot: nothing listens yet, and what the directory says holds
// from the beginning.
func (d *drainer) remember(dir string, boot bool) error {
	kept, err := lastgood.LoadDecision(dir)
	if err != nil {
		d.logger.Error("drain: this node takes itself for not drained", "error", err)
	}
	d.dir, d.kept = dir, kept
	d.followed = kept
	d.said.Store(&kept)
	if !kept.Drained || !boot {
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
	next := d.decision()
	drained := next.Drained
	if drained == d.done.Load() {
		d.followed = next
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
	d.followed = next
	d.done.Store(drained)
	poke(d.vips.changed) // proxyctl drain --wait waits for the word
	d.logger.Info("drain", "drained", drained)
	return true
}

// keep notes what is done for the next start, and reports whether it is noted.
func (d *drainer) keep() bool {
	next := d.followed
	next.Drained = d.done.Load()
	if d.dir == "" || next == d.kept {
		return true
	}
	if err := lastgood.SaveDecision(d.dir, next, "proxyctl undrain "+d.node); err != nil {
		d.logger.Error("drain: not remembered for the next start", "drained", next.Drained, "error", err, "retry_in", keepRetry)
		return false
	}
	d.kept = next
	return true
}

// ready is for /readyz: a drained node wants no traffic.
func (d *drainer) ready() (ok bool, detail string) {
	if d.done.Load() {
		return false, "drained: proxyctl undrain " + d.node
	}
	return true, "not drained"
}
