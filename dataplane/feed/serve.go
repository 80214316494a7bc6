package feed

import (
	"context"
	"fmt"
	"strings"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// link is one open Sync stream. Send and Recv are called by one goroutine each.
type link interface {
	Send(*fleetv1.NodeMessage) error
	Recv() (*fleetv1.ServerMessage, error)
	Close()
}

// received is what the receiving goroutine passes on.
type received struct {
	message *fleetv1.ServerMessage
	err     error
}

// serve speaks on one stream until it ends. The error says why.
func (f *Feed) serve(ctx context.Context, stream link, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	in := make(chan received)
	go receive(ctx, stream, in)
	// The receiver ends when the stream is closed, which the caller's cancel and
	// Close bring about; waiting for it here keeps one stream's end apart from
	// the next one's begin.
	defer func() {
		cancel()
		stream.Close()
		for range in {
			continue
		}
	}()

	answers := make(chan answer)
	running, ok := f.applier.reset(ctx, answers)
	if !ok {
		return ctx.Err()
	}
	if err := stream.Send(f.hello(running)); err != nil {
		return f.sendError(in, err)
	}
	status := time.NewTicker(statusEvery)
	defer status.Stop()

	var (
		parts = assembly{limit: maxUpdateBytes}
		work  *update        // complete, not yet taken by the applier
		offer chan<- *update // f.applier.updates while there is work
	)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r := <-in:
			if r.err != nil {
				return r.err
			}
			u, err := f.take(&parts, address, r.message)
			if err != nil {
				return err
			}
			if u != nil {
				work, offer = u, f.applier.updates
			}
			// A control plane that has just started takes a virtual IP for vacant whose
			// holder says nothing, and there may be nothing to update.
			if r.message.GetWelcome() != nil {
				if err := stream.Send(f.status()); err != nil {
					return f.sendError(in, err)
				}
			}
		case offer <- work:
			work, offer = nil, nil
		case a := <-answers:
			if err := f.answer(stream, a); err != nil {
				return f.sendError(in, err)
			}
		case <-f.c.Changed:
			if err := stream.Send(f.status()); err != nil {
				return f.sendError(in, err)
			}
		case <-status.C:
			if err := stream.Send(f.status()); err != nil {
				return f.sendError(in, err)
			}
		}
	}
}

// receive passes on what arrives until the stream ends.
func receive(ctx context.Context, stream link, in chan<- received) {
	defer close(in)
	for {
		m, err := stream.Recv()
		select {
		case in <- received{message: m, err: err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// sendError finds out why a stream could not be written: the reason arrives as
// the receiver's error (a failed send itself only says EOF).
func (f *Feed) sendError(in <-chan received, sent error) error {
	deadline := time.NewTimer(time.Second)
	defer deadline.Stop()
	for {
		select {
		case r, ok := <-in:
			if !ok {
				return sent
			}
			if r.err != nil {
				return r.err
			}
		case <-deadline.C:
			return sent
		}
	}
}

// take handles one message; it gives an update when that is complete.
func (f *Feed) take(parts *assembly, address string, m *fleetv1.ServerMessage) (*update, error) {
	switch {
	case m.GetWelcome() != nil:
		f.connected()
		f.log.Info("control plane: connected", "address", address, "build", m.GetWelcome().GetBuild())
	case m.GetUpdate() != nil:
		for _, b := range m.GetUpdate().GetUpserts() {
			f.counts.configBytes.Add(uint64(len(b)))
		}
		u, err := parts.add(m.GetUpdate())
		if u != nil {
			f.counts.updates.Add(1)
		}
		return u, err
	case m.GetFleetState() != nil:
		state := m.GetFleetState()
		f.mu.Lock()
		f.fleet = state
		f.mu.Unlock()
		if f.c.FleetState != nil {
			f.c.FleetState(state)
		}
	}
	// Orders, and messages of a newer control plane, ask for nothing that this
	// build can do.
	return nil, nil
}

// answer sends an Ack or Nack, and after a change of the live table a Status.
func (f *Feed) answer(stream link, a answer) error {
	if err := stream.Send(a.message()); err != nil {
		return err
	}
	if !a.acked {
		return nil
	}
	return stream.Send(f.status())
}

func (f *Feed) hello(running tree.Version) *fleetv1.NodeMessage {
	vips, decision := f.c.VIPs(), f.c.Decision()
	return &fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Hello{Hello: &fleetv1.Hello{
		NodeId:      f.c.NodeID,
		Labels:      f.c.Labels,
		Running:     running.Proto(),
		SchemaLevel: resource.SchemaLevel,
		Build:       f.c.Build,
		BootId:      f.bootID,
		Witness:     f.c.Witness,

		Drained:     decision.Drained,
		NotExpected: decision.NotExpected,
		Decision:    decision.Number,

		ListRevision:  vips.Kept.Revision,
		List:          vips.Kept.IDs,
		ListLineage:   vips.Kept.Lineage,
		GrantsNothing: vips.GrantsNothing,
	}}}
}

func (f *Feed) status() *fleetv1.NodeMessage {
	running, attested := f.standing()
	n, vips := f.c.Numbers(), f.c.VIPs()
	s := &fleetv1.Status{
		Running:       running.Proto(),
		Requests:      n.Requests,
		Connections:   n.Connections,
		Errors:        n.Errors,
		UptimeSeconds: uint64(time.Since(f.started) / time.Second),
		Drained:       &n.Drained,
		ListRevision:  vips.GrantsBy,
		VirtualIps:    vips.Statuses,
	}
	if !attested.IsZero() {
		s.Attested = attested[:]
	}
	return &fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Status{Status: s}}
}

// answer is what became of an update.
type answer struct {
	version  tree.Version
	acked    bool
	attested tree.Hash // of an Ack
	kind     fleetv1.Nack_Kind
	problems []resource.Problem
	loss     *fleetv1.Loss // of a Nack that is HELD
}

const (
	// maxProblems bounds the problems of a Nack: the first hundred say enough.
	maxProblems = 100
	// maxProblemText bounds each text of a problem, which may quote what a user wrote.
	maxProblemText = 512
)

func (a answer) message() *fleetv1.NodeMessage {
	if a.acked {
		ack := &fleetv1.Ack{Version: a.version.Proto(), Attested: a.attested[:]}
		return &fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Ack{Ack: ack}}
	}
	nack := &fleetv1.Nack{Version: a.version.Proto(), Kind: a.kind, Loss: a.loss}
	for i, p := range a.problems {
		if i == maxProblems {
			nack.Problems = append(nack.Problems, resource.Problem{
				Got: fmt.Sprintf("%d more problems", len(a.problems)-maxProblems),
			}.Proto())
			break
		}
		p.Got, p.Expected, p.Suggestion = clip(p.Got), clip(p.Expected), clip(p.Suggestion)
		nack.Problems = append(nack.Problems, p.Proto())
	}
	return &fleetv1.NodeMessage{Message: &fleetv1.NodeMessage_Nack{Nack: nack}}
}

// clip shortens a text and makes it UTF-8, as protobuf's strings must be.
func clip(s string) string {
	if len(s) > maxProblemText {
		s = s[:maxProblemText] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
