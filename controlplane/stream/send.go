package stream

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/proxyfleet/proxyfleet/controlplane/session"
)

const (
	// slowAfter is how long a node may take a message. One that is sent a whole
	// configuration, and is slower, is on a line that is: it pushes the control plane no
	// more, and others need not wait for it.
	slowAfter = time.Second
	// maxSlow is how many streams are sent whole configurations slowly, beside those of
	// maxWhole: each may keep an encoding of its own in memory.
	maxSlow = 16
	// stuckAfter is how long a message may take in the end: a part of 1 MiB by a line of 28
	// kbit/s. The node answers pings, or its connection would have ended, and reads nothing.
	stuckAfter = 5 * time.Minute
)

var errStuck = status.Errorf(codes.DeadlineExceeded, "this node has taken nothing for %v", stuckAfter)

// outlet is what sends for a driver, one message at a time, so that a node that does not
// read keeps its driver from nothing else.
type outlet struct {
	// immutable
	todo chan prepared // closed with the stream
	sent chan error    // has room for the one answer

	// owned by the driver
	busy   bool
	since  time.Time        // busy
	late   <-chan time.Time // ready when the message takes long; nil unless busy
	update uint64           // of the driver's, that the message is a part of; 0: of none
	bytes  int              // of the message
}

func newOutlet() outlet {
	return outlet{todo: make(chan prepared), sent: make(chan error, 1)}
}

// transmit sends until the driver ends. What it is sending then fails with the stream.
func (o *outlet) transmit(stream syncStream) {
	for m := range o.todo {
		o.sent <- stream.SendMsg(m)
	}
}

func (o *outlet) send(m prepared, update uint64) {
	o.busy, o.since, o.late = true, time.Now(), time.After(slowAfter)
	o.update, o.bytes = update, len(m)
	o.todo <- m
}

// sendFleet sends the FleetState if there is another one, before further parts.
func (d *driver) sendFleet() {
	state, changed := d.s.nodes.FleetState()
	d.fleet = changed
	if d.out.busy || state == nil || state == d.fleetSent {
		return
	}
	d.fleetSent = state
	d.out.send(d.s.fleet.of(state), 0)
}

func (d *driver) load(e *encoded) {
	d.parts = e.parts
	d.s.counts.configBytes.Add(uint64(e.configBytes))
}

func (d *driver) sendPart() {
	part := d.parts[0]
	if d.parts = d.parts[1:]; len(d.parts) == 0 {
		d.sentAt = d.s.c.Now() // an answer may be heard before the end of sending
	}
	d.out.send(part, d.updates)
}

// sent takes note that the node has a message, or of why it has not.
func (d *driver) sent(err error) error {
	d.out.busy, d.out.late = false, nil
	if err != nil || d.out.update == 0 {
		return err
	}
	d.s.counts.parts.Add(1)
	d.s.counts.wireBytes.Add(uint64(d.out.bytes))
	// The node may have answered before it had all, and be sent another update.
	if d.out.update == d.updates && len(d.parts) == 0 {
		d.release()
	}
	return nil
}

// late lets others be sent whole configurations while the node takes its own slowly, and
// ends the stream if it takes nothing.
func (d *driver) late() error {
	if time.Since(d.out.since) >= stuckAfter {
		return errStuck
	}
	d.out.late = time.After(slowAfter)
	if d.token != d.s.whole {
		return nil
	}
	select {
	case d.s.slow <- struct{}{}:
		d.release()
		d.token = d.s.slow
	default:
	}
	return nil
}

// always is a channel that is always ready.
var always = func() <-chan struct{} { c := make(chan struct{}); close(c); return c }()

// close gives back what the driver holds.
func (d *driver) close() {
	close(d.out.todo)
	d.session.Step(session.Input{Kind: session.Disconnect})
	d.release()
}

func (d *driver) release() {
	if d.token != nil {
		<-d.token
		d.token = nil
	}
}
