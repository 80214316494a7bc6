package fleetstate

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// drainRetry is the pause after listeners could not be opened again.
	drainRetry = time.Second
	// keepRetry is the pause after the disk did not take what is to be kept.
	keepRetry = 10 * time.Second
)

// DrainerConfig says which node a Drainer drains, and how. All but Changed are required.
type DrainerConfig struct {
	NodeID string
	Engine Engine
	// Resign lets go of the virtual IPs that the node holds, and has it take none until
	// Resume.
	Resign func(ctx context.Context)
	Resume func()
	// Changed is called when the node was drained or undrained; it must not block. nil:
	// nobody is told.
	Changed func()
	Logger  *slog.Logger
}

// Engine is what takes connections.
type Engine interface {
	SetDrained(ctx context.Context, drained bool) error
}

// Drainer does what was decided about this node: drained or not. It is no part of
// the configuration, so a rollback cannot undo it.
type Drainer struct {
	c      DrainerConfig
	logger *slog.Logger
	wanted atomic.Bool
	asks   wakeup.Signal // something was taken
	done   atomic.Bool   // what the engine does
	dir    string        // where the decision is kept; empty: nowhere

	// said is the last decision that was heard, but for being drained, which is wanted;
	// nil: none was. It is written after wanted.
	said     atomic.Pointer[member.Decision]
	revision uint64 // owned by Take: that of the state that was taken last

	// owned by Run
	followed member.Decision // the last one that was done, but for being drained
	kept     member.Decision // what dir says
	failed   bool            // to drain: it resigned, and serves
}

// NewDrainer starts nothing.
func NewDrainer(c DrainerConfig) *Drainer {
	if c.Changed == nil {
		c.Changed = func() {}
	}
	return &Drainer{c: c, logger: c.Logger, asks: wakeup.NewSignal()}
}

// Take takes what the control plane says of the node. It does not block.
func (d *Drainer) Take(s *fleetv1.FleetState) {
	// A list without this node says nothing of it: its record is about to be made.
	var m *fleetv1.Member
	if i := slices.IndexFunc(s.GetMembers(), func(m *fleetv1.Member) bool { return m.GetNodeId() == d.c.NodeID }); i >= 0 {
		m = s.GetMembers()[i]
	}
	// Of a replica that lost its etcd, or of an etcd that was put back: it must not give
	// traffic to a node that was drained since. The revision tells neither where the clock
	// of the control plane is slow.
	known := d.Decision().Number
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
	d.asks.Send()
}

// Decision is the last one that was heard.
func (d *Drainer) Decision() member.Decision {
	var now member.Decision
	if said := d.said.Load(); said != nil {
		now = *said
	}
	now.Drained = d.wanted.Load()
	return now
}

// Remember keeps decisions in a directory, so that a node that starts while nobody
// answers does not take traffic that was taken off it, and knows them better than an
// etcd that was put back. boot: nothing listens yet, and what the directory says holds
// from the beginning.
func (d *Drainer) Remember(dir string, boot bool) error {
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
	d.logger.Warn("drain: this node was drained when it stopped", "undo", "proxyctl undrain "+d.c.NodeID)
	return d.BeginDrained()
}

// BeginDrained makes the node one that is drained from the beginning: nothing listens yet.
func (d *Drainer) BeginDrained() error {
	d.wanted.Store(true)
	d.done.Store(true)
	d.c.Resign(context.Background())
	return d.c.Engine.SetDrained(context.Background(), true)
}

// Run follows until ctx ends. What a full disk did not take is tried again, and once
// more at the end: it may be long until the node is drained or undrained again.
func (d *Drainer) Run(ctx context.Context) error {
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
func (d *Drainer) follow(ctx context.Context) bool {
	next := d.Decision()
	drained := next.Drained
	if drained == d.done.Load() {
		d.followed = next
		if !drained && d.failed { // and was taken back before the next try
			d.c.Resume()
			d.failed = false
		}
		return true
	}
	if drained { // while it serves, so that a successor takes over at once
		d.c.Resign(ctx)
	}
	if err := d.c.Engine.SetDrained(ctx, drained); err != nil {
		d.logger.Error("drain: not done, will try again", "drained", drained, "error", err, "retry_in", drainRetry)
		d.failed = drained
		return false
	}
	d.failed = false
	if !drained {
		d.c.Resume()
	}
	d.followed = next
	d.done.Store(drained)
	d.c.Changed() // proxyctl drain --wait waits for the word
	d.logger.Info("drain", "drained", drained)
	return true
}

// keep notes what is done for the next start, and reports whether it is noted.
func (d *Drainer) keep() bool {
	next := d.followed
	next.Drained = d.done.Load()
	if d.dir == "" || next == d.kept {
		return true
	}
	if err := lastgood.SaveDecision(d.dir, next, "proxyctl undrain "+d.c.NodeID); err != nil {
		d.logger.Error("drain: not remembered for the next start", "drained", next.Drained, "error", err, "retry_in", keepRetry)
		return false
	}
	d.kept = next
	return true
}

// Drained says whether the node is drained.
func (d *Drainer) Drained() bool { return d.done.Load() }

// Ready is for /readyz: a drained node wants no traffic.
func (d *Drainer) Ready() (ok bool, detail string) {
	if d.done.Load() {
		return false, "drained: proxyctl undrain " + d.c.NodeID
	}
	return true, "not drained"
}
