package stream

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/controlplane/session"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

const (
	// maxProblems bounds the problems of a Nack that are kept and shown: what a
	// node sends, and its remark that there were more.
	maxProblems = 101
	// maxProblemText bounds each of their texts; nodes send less.
	maxProblemText = 1 << 10
)

type syncStream = grpc.BidiStreamingServer[fleetv1.NodeMessage, fleetv1.ServerMessage]

// Sync serves one node until its stream ends.
func (s *Server) Sync(stream syncStream) error {
	ctx := stream.Context()
	hello, running, err := s.receiveHello(stream)
	if err != nil {
		s.refused(peerAddress(ctx), err)
		return err
	}
	build := hello.GetBuild()
	link, err := s.nodes.Admit(hello, running, peerAddress(ctx))
	if err != nil {
		err = status.Error(admissionCode(err), err.Error())
		s.refused(peerAddress(ctx), err)
		return err
	}
	s.counts.connected.Add(1)
	s.log.Info("node: connected", "node", link.Node, "address", link.Address, "running", running, "build", build)
	s.event(Event{Kind: Connected, Node: link.Node, Version: running})

	d := &driver{
		s: s, stream: stream, link: link, in: make(chan *fleetv1.NodeMessage), ended: make(chan error, 1), out: newOutlet(),
	}
	err = d.run(ctx, running)
	d.close()
	if link.Leave() {
		s.event(Event{Kind: Disconnected, Node: link.Node, Err: err})
	}
	s.log.Info("node: stream ended", "node", link.Node, "address", link.Address, "error", err)
	return err
}

// admissionCode is the status code for what the registry said.
func admissionCode(err error) codes.Code {
	switch {
	case errors.Is(err, nodes.ErrFull):
		return codes.ResourceExhausted
	case errors.Is(err, nodes.ErrTwice):
		return codes.AlreadyExists
	default:
		return codes.Unavailable // cut off
	}
}

// receiveHello gives up on a stream that stays nameless: when the handler
// returns, gRPC ends the stream, and with it the goroutine that waits for it.
func (s *Server) receiveHello(stream syncStream) (hello *fleetv1.Hello, running tree.Version, err error) {
	type first struct {
		m   *fleetv1.NodeMessage
		err error
	}
	got := make(chan first, 1)
	go func() {
		m, err := stream.Recv()
		got <- first{m, err}
	}()
	t := time.NewTimer(helloTimeout)
	defer t.Stop()
	select {
	case f := <-got:
		if f.err != nil {
			return nil, running, f.err
		}
		hello = f.m.GetHello()
		if err = checkHello(hello, s.ahead(hello.GetNodeId())); err == nil {
			running, err = tree.VersionFromProto(hello.GetRunning())
		}
		if err != nil {
			return nil, running, status.Errorf(codes.InvalidArgument, "hello: %v", err)
		}
		return hello, running, nil
	case <-t.C:
		return nil, running, status.Errorf(codes.DeadlineExceeded, "no Hello within %v", helloTimeout)
	case <-s.stopping:
		return nil, running, errServerStops
	}
}

var (
	errServerStops = status.Error(codes.Unavailable, "the control plane is stopping")
	errReplaced    = status.Error(codes.Aborted, "another stream of this node took over")
	errAway        = status.Error(codes.Unavailable, nodes.ErrCutOff.Error())
)

func peerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return "unknown"
}

// driver serves one stream. Its goroutine is the handler's; receive runs beside.
type driver struct {
	// immutable
	s      *Server
	stream syncStream
	link   *nodes.Link
	in     chan *fleetv1.NodeMessage // Acks and Nacks
	ended  chan error                // the receiver's last word
	out    outlet

	// owned by run
	changes   <-chan struct{} // of what is wanted
	fleet     <-chan struct{} // closed when there is another FleetState
	fleetSent *fleetv1.FleetState
	session   session.Session
	wanted    publish.Published // newest
	waiting   bool              // for a token of s.whole, to send wanted whole
	token     chan struct{}     // whose token is held: s.whole or s.slow; nil: none
	parts     []prepared        // still to be sent
	sentAt    time.Time         // of the last part
	flight    publish.Published // what is unanswered
	updates   uint64            // begun
	again     <-chan time.Time  // ready when what runs is to be compared again; nil: it was
}

// run sends until the stream has to end. Its error is the stream's status.
func (d *driver) run(ctx context.Context, running tree.Version) error {
	welcome := &fleetv1.Welcome{Build: d.s.c.Build, SchemaLevel: resource.SchemaLevel}
	if err := d.stream.Send(&fleetv1.ServerMessage{Message: &fleetv1.ServerMessage_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	go d.receive(ctx)
	go d.out.transmit(d.stream)
	d.observe(ctx, running)

	d.changes = d.s.c.Publisher.Watch(ctx)
	d.step(ctx, session.Input{Kind: session.Hello, Version: running}, nil)
	d.want(ctx)
	for {
		d.sendFleet()
		if over, err := d.turn(ctx); over || err != nil {
			return err
		}
	}
}

// turn waits for one thing to do and does it. It reports whether the stream is
// over.
func (d *driver) turn(ctx context.Context) (over bool, err error) {
	// A nil channel is never ready.
	var token chan struct{}
	if d.waiting {
		token = d.s.whole
	}
	var more <-chan struct{}
	if len(d.parts) > 0 && !d.out.busy {
		more = always
	}
	select {
	case <-ctx.Done():
		return true, status.FromContextError(ctx.Err()).Err()
	case <-d.link.Replaced():
		return true, errReplaced
	case <-d.link.Away():
		return true, errAway
	case <-d.s.stopping:
		return true, errServerStops
	case err := <-d.ended:
		return true, err
	case <-d.fleet:
		return false, nil
	case _, ok := <-d.changes:
		if !ok { // ctx has ended
			d.changes = nil
			return false, nil
		}
		d.want(ctx)
		return false, nil
	case m := <-d.in:
		d.want(ctx) // what follows an answer is the newest
		return false, d.answered(ctx, m)
	case token <- struct{}{}:
		d.token, d.waiting = token, false
		d.load(d.s.encoder.whole(d.flight))
		d.s.counts.wholes.Add(1)
		return false, nil
	case <-more:
		d.sendPart()
		return false, nil
	case <-d.again:
		d.observe(ctx, d.session.Running())
		return false, nil
	case err := <-d.out.sent:
		return err != nil, d.sent(err)
	case <-d.out.late:
		err := d.late()
		return err != nil, err
	}
}

// observe lets the publisher compare what the node runs with the store. If that does not
// answer it is tried again: what a store that was put back has of later revisions the node
// would refuse for good.
func (d *driver) observe(ctx context.Context, running tree.Version) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	err := d.s.c.Publisher.Observe(ctx, d.link.Node, running)
	if d.again = nil; err == nil {
		return
	}
	d.again = time.After(d.s.c.ObserveRetry/2 + rand.N(d.s.c.ObserveRetry/2+1))
	if ctx.Err() == nil {
		d.s.log.Warn("node: what it runs could not be compared with the store", "node", d.link.Node, "running", running, "error", err)
	}
}

// want tells the session what is wanted now.
func (d *driver) want(ctx context.Context) {
	next := d.s.c.Publisher.WantedFor(d.link.Node)
	if next.IsZero() || next.Version == d.wanted.Version && next.Accepted == d.wanted.Accepted {
		return
	}
	d.wanted = next
	// What waits for its turn is not sent when it is not wanted any more: of a thousand nodes
	// that wait each would get another whole configuration, which is encoded for it alone.
	unsent := d.waiting
	d.waiting = false
	d.step(ctx, session.Input{Kind: session.Want, Version: next.Version, Accepted: next.Accepted, Unsent: unsent}, nil)
}

// step gives the session an input and begins what it asks for. If the input was
// taken, the answer is shown of the node together with the state.
func (d *driver) step(ctx context.Context, in session.Input, answer *nodes.Answer) session.Outcome {
	action, outcome := d.session.Step(in)
	if outcome != session.Taken {
		answer = nil
	}
	d.link.Stepped(d.session.State(), d.session.Wanted(), answer)
	if action.Send {
		d.begin(ctx, action)
	}
	return outcome
}

// begin prepares an Update. The session sends only what is newest, so the
// target is what is wanted.
func (d *driver) begin(ctx context.Context, a session.Action) {
	d.release()
	d.waiting, d.parts = false, nil
	d.flight, d.sentAt = d.wanted, d.s.c.Now()
	d.updates++
	d.s.counts.updates.Add(1)
	if base, ok := d.s.encoder.plan(ctx, a.Base, d.flight); ok {
		d.load(d.s.encoder.delta(base, d.flight))
		return
	}
	d.waiting = true
}

// receive notes every sign of life and passes on what the session must hear.
func (d *driver) receive(ctx context.Context) {
	for {
		m, err := d.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil // the node ended the stream in good order
			}
			d.ended <- err
			return
		}
		if err := d.heard(m); err != nil {
			d.ended <- status.Error(codes.InvalidArgument, err.Error())
			return
		}
		if m.GetAck() == nil && m.GetNack() == nil {
			continue
		}
		select {
		case d.in <- m:
		case <-ctx.Done():
			d.ended <- status.FromContextError(ctx.Err()).Err()
			return
		}
	}
}

// heard tells the registry of a message.
func (d *driver) heard(m *fleetv1.NodeMessage) error {
	if m.GetHello() != nil {
		return errors.New("a second Hello")
	}
	standing, err := standingOf(m)
	if err != nil {
		return err
	}
	if d.link.Heard(standing, m.GetStatus()) {
		d.s.counts.drifts.Add(1)
		d.s.log.Error("node: drift: its live table was not built from the version that it names", "node", d.link.Node, "running", standing.Running, "attested", standing.Attested.Short())
		d.s.event(Event{Kind: Drifted, Node: d.link.Node, Version: standing.Running})
	}
	return nil
}

// standingOf is what a message says of the node's standing; nil: nothing.
func standingOf(m *fleetv1.NodeMessage) (*nodes.Standing, error) {
	var (
		running  *fleetv1.Version
		attested []byte
	)
	switch {
	case m.GetAck() != nil:
		running, attested = m.GetAck().GetVersion(), m.GetAck().GetAttested()
	case m.GetStatus() != nil:
		running, attested = m.GetStatus().GetRunning(), m.GetStatus().GetAttested()
	default:
		return nil, nil
	}
	version, err := tree.VersionFromProto(running)
	if err != nil {
		return nil, err
	}
	standing := &nodes.Standing{Running: version}
	if len(attested) > 0 {
		standing.Attested, err = tree.HashFromBytes(attested)
	}
	return standing, err
}

// answered gives an Ack or Nack to the session.
func (d *driver) answered(ctx context.Context, m *fleetv1.NodeMessage) error {
	if ack := m.GetAck(); ack != nil {
		version, err := tree.VersionFromProto(ack.GetVersion())
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		d.acked(ctx, version)
		return nil
	}
	nack := m.GetNack()
	version, err := tree.VersionFromProto(nack.GetVersion())
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	d.nacked(ctx, version, nack)
	return nil
}

func (d *driver) acked(ctx context.Context, version tree.Version) {
	flight, sentAt := d.flight, d.sentAt
	expected := d.session.InFlight() == version
	in := session.Input{Kind: session.Ack, Version: version}
	if d.step(ctx, in, &nodes.Answer{}) == session.Ignored {
		d.s.counts.foreign.Add(1)
		return
	}
	d.s.counts.acks.Add(1)
	if now := d.s.c.Now(); expected {
		d.s.counts.answer.Observe(now.Sub(sentAt))
		// A node that was away when the version was published says nothing about
		// how fast versions spread.
		if d.link.Since.Before(flight.At) {
			d.s.counts.spread.Observe(now.Sub(flight.At))
		}
	}
	d.s.log.Debug("node: acked", "node", d.link.Node, "version", version)
	d.s.event(Event{Kind: Acked, Node: d.link.Node, Version: version})
}

func (d *driver) nacked(ctx context.Context, version tree.Version, nack *fleetv1.Nack) {
	problems := problemsOf(nack)
	reason := reasonOf(nack.GetKind())
	answer := &nodes.Answer{Problems: problems, Loss: nack.GetLoss()}
	if reason == session.BaseMismatch {
		answer = nil // healed by a whole configuration; no matter for people
	}
	in := session.Input{Kind: session.Nack, Version: version, Reason: reason}
	if d.step(ctx, in, answer) == session.Ignored {
		d.s.counts.foreign.Add(1)
		return
	}
	d.s.counts.nack(reason)
	d.s.log.Warn("node: nacked", "node", d.link.Node, "version", version, "kind", nack.GetKind(), "problems", len(problems), "first", first(problems))
	d.s.event(Event{Kind: Nacked, Node: d.link.Node, Version: version, Problems: problems})
}

// problemsOf are the problems of a Nack, within bounds.
func problemsOf(nack *fleetv1.Nack) []resource.Problem {
	sent := nack.GetProblems()[:min(len(nack.GetProblems()), maxProblems)]
	problems := make([]resource.Problem, 0, len(sent))
	for _, p := range sent {
		q := resource.ProblemFromProto(p)
		for _, text := range []*string{&q.File, &q.Kind, &q.Name, &q.Field, &q.Got, &q.Expected, &q.Suggestion} {
			if len(*text) > maxProblemText {
				*text = strings.ToValidUTF8((*text)[:maxProblemText], "") + "…"
			}
		}
		problems = append(problems, q)
	}
	return problems
}

func first(ps []resource.Problem) string {
	if len(ps) == 0 {
		return ""
	}
	return ps[0].Error()
}

func reasonOf(k fleetv1.Nack_Kind) session.Reason {
	switch k {
	case fleetv1.Nack_LOCAL:
		return session.Local
	case fleetv1.Nack_BASE_MISMATCH:
		return session.BaseMismatch
	case fleetv1.Nack_HELD:
		return session.Hold
	default:
		return session.Permanent
	}
}
