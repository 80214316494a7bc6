package stream

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/roster"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// recordsRetry is the pause after the records could not be read or written.
const recordsRetry = time.Second

// fleet is the FleetState that all nodes get, the way by which unknown nodes get
// their records, and what drives the list of expected members.
type fleet struct {
	s *Server

	// kick makes run look at what is missing or was reported.
	kick chan struct{}

	// guarded by mu
	mu      sync.Mutex
	message prepared      // nil: the records were not read yet
	number  uint64        // of message; grows
	changed chan struct{} // closed when there is another message
	missing map[string]*fleetv1.NodeRecord
	roster  roster.Roster
	tickets *fleetv1.TicketKeys // nil: none yet
	listed  uint64              // the revision of the list; 0: there is none, or it was not read yet
}

func newFleet(s *Server) *fleet {
	return &fleet{s: s, kick: make(chan struct{}, 1), changed: make(chan struct{}), missing: map[string]*fleetv1.NodeRecord{}}
}

// state is the message to send, its number, and a channel that is closed when
// there is another.
func (f *fleet) state() (prepared, uint64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.message, f.number, f.changed
}

// listRevision is that of the list of expected members, as far as it is known.
func (f *fleet) listRevision() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listed
}

// ensure sees to it that the node has a record, and notes what list it keeps.
func (f *fleet) ensure(hello *fleetv1.Hello) {
	f.mu.Lock()
	f.missing[hello.GetNodeId()] = recordOf(hello, f.s.c.Now())
	f.roster.Heard(f.s.c.Now(), roster.Kept{Lineage: hello.GetListLineage(), Revision: hello.GetListRevision(), Members: hello.GetList()})
	f.mu.Unlock()
	f.look()
}

// setTickets makes keys those that nodes get.
func (f *fleet) setTickets(keys *fleetv1.TicketKeys) {
	f.mu.Lock()
	f.tickets = keys
	f.mu.Unlock()
	f.look()
}

// look makes run look again.
func (f *fleet) look() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run follows the records until ctx ends.
func (f *fleet) run(ctx context.Context) {
	events := f.s.c.Records.WatchNodes(ctx)
	for {
		again, err := f.refresh(ctx)
		var retry <-chan time.Time
		switch {
		case err != nil && ctx.Err() == nil:
			f.s.log.Warn("nodes: records not read or written", "error", err, "retry_in", recordsRetry)
			retry = time.After(recordsRetry)
		case !again.IsZero():
			retry = time.After(max(again.Sub(f.s.c.Now()), 0))
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
			}
		case <-f.kick:
		case <-retry:
		}
	}
}

// refresh creates missing records, then reads all, and changes the list of
// expected members if that is due. It is to be called again at the time that it
// returns, if that is not zero.
func (f *fleet) refresh(ctx context.Context) (again time.Time, err error) {
	records, revision, err := f.s.c.Records.Nodes(ctx)
	if err != nil {
		return again, err
	}
	// A store that was wiped or put back forgot nodes that are connected, or what was
	// decided about them, and they say no Hello again. Who is not wanted loses its place
	// among the expected members.
	forgotten := f.s.registry.forgotten(records)
	f.mu.Lock()
	for _, record := range forgotten {
		if said := f.missing[record.GetNodeId()]; said.GetDecision() <= record.GetDecision() {
			f.missing[record.GetNodeId()] = record
		}
	}
	f.mu.Unlock()
	if f.create(ctx, records) {
		if records, revision, err = f.s.c.Records.Nodes(ctx); err != nil {
			return again, err
		}
	}
	f.s.registry.setRecords(records)
	list, seen, err := f.s.c.Records.ExpectedList(ctx)
	if err != nil {
		return again, err
	}
	// Where the list cannot be written, drains are told all the same.
	list, again, failed := f.changeList(ctx, records, list, seen)
	state := fleetState(records, list, revision)
	f.mu.Lock()
	f.listed, state.TicketKeys = list.GetRevision(), f.tickets
	f.mu.Unlock()
	f.publish(state)
	f.mu.Lock()
	defer f.mu.Unlock()
	if failed == nil && len(f.missing) > 0 {
		failed = errMissing
	}
	return again, failed
}

// changeList makes the next step of the list that was seen, if it is due, and returns
// the list that is in the store now.
func (f *fleet) changeList(ctx context.Context, records []*fleetv1.NodeRecord, list *fleetv1.ListRecord, seen int64) (
	now *fleetv1.ListRecord, again time.Time, err error,
) {
	if list != nil {
		// What a wiped store forgets is known here still.
		f.mu.Lock()
		f.roster.Heard(f.s.c.Now(), roster.Kept{Lineage: list.GetLineage(), Revision: list.GetRevision(), Members: list.GetMembers()})
		f.mu.Unlock()
	}
	in := roster.Input{Now: f.s.c.Now(), Record: list, Reported: f.s.registry.listRevisions(), Random: rand.Uint64()} //nolint:gosec // a name, no secret
	for _, r := range records {
		if isExpected(r.GetSpec()) {
			in.Wanted = append(in.Wanted, r.GetNodeId())
		}
	}
	f.mu.Lock()
	next, again := f.roster.Next(in)
	f.mu.Unlock()
	if next == nil {
		return list, again, nil
	}
	err = f.s.c.Records.PutExpectedList(ctx, next, seen)
	switch {
	case errors.Is(err, store.ErrConflict):
		f.look() // another replica was faster: on with what it wrote
		return list, again, nil
	case err != nil:
		return list, again, err
	}
	if next.GetRevision() != list.GetRevision() {
		f.s.log.Info("expected members: changed", "revision", next.GetRevision(), "members", len(next.GetMembers()),
			"before", len(list.GetMembers()), "found_at_a_node", next.GetAdopted())
	}
	return next, again, nil
}

var errMissing = errors.New("some nodes have no record yet")

// create writes the missing records and reports whether it wrote any. A record
// that does not say of a node that it is a witness, or says it wrongly, is missing
// too, and so is one of an earlier decision than the node's own.
func (f *fleet) create(ctx context.Context, records []*fleetv1.NodeRecord) bool {
	f.mu.Lock()
	for _, r := range records {
		if m := f.missing[r.GetNodeId()]; m != nil && isAsSaid(r, m) {
			delete(f.missing, r.GetNodeId())
		}
	}
	missing := slices.Collect(maps.Values(f.missing))
	f.mu.Unlock()
	wrote := false
	for _, r := range missing {
		_, err := f.s.c.Records.PutNode(ctx, r, 0)
		if errors.Is(err, store.ErrExists) {
			err = f.mend(ctx, r)
		}
		if err != nil {
			f.s.log.Warn("node: record not created", "node", r.GetNodeId(), "error", err)
			continue
		}
		wrote = true
		f.s.log.Info("node: new", "node", r.GetNodeId(), "labels", r.GetLabels(), "drained", r.GetSpec().GetDrained())
		f.mu.Lock()
		delete(f.missing, r.GetNodeId())
		f.mu.Unlock()
	}
	return wrote
}

// publish makes a state the one that nodes get, if it is news.
func (f *fleet) publish(state *fleetv1.FleetState) {
	message := prepare(&fleetv1.ServerMessage{Message: &fleetv1.ServerMessage_FleetState{FleetState: state}})
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(message) == string(f.message) {
		return
	}
	f.message = message
	f.number++
	close(f.changed)
	f.changed = make(chan struct{})
}

// fleetState is what nodes are told. A node that was deleted is a member until the
// list has left it out.
func fleetState(records []*fleetv1.NodeRecord, list *fleetv1.ListRecord, revision uint64) *fleetv1.FleetState {
	state := &fleetv1.FleetState{
		Revision: revision, ListRevision: list.GetRevision(), ListLineage: list.GetLineage(), Decisions: true,
	}
	left := make(map[string]bool, len(list.GetMembers()))
	for _, id := range list.GetMembers() {
		left[id] = true
	}
	for _, r := range records {
		id := r.GetNodeId()
		state.Members = append(state.Members, &fleetv1.Member{
			NodeId: id, Labels: r.GetLabels(), Expected: left[id], Witness: r.GetWitness(),
			Drained: r.GetSpec().GetDrained(), NotExpected: !isExpected(r.GetSpec()), Decision: r.GetDecision(),
		})
		delete(left, id)
	}
	for id := range left {
		state.Members = append(state.Members, &fleetv1.Member{NodeId: id, Expected: true})
	}
	slices.SortFunc(state.Members, func(a, b *fleetv1.Member) int { return strings.Compare(a.GetNodeId(), b.GetNodeId()) })
	return state
}

// isExpected applies the default of Node.expected.
func isExpected(spec *fleetv1.Node) bool {
	return spec == nil || spec.Expected == nil || spec.GetExpected()
}
