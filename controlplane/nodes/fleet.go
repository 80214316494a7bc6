package nodes

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/roster"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"google.golang.org/protobuf/proto"
)

// recordsRetry is the pause after the records could not be read or written.
const recordsRetry = time.Second

// FleetState is what all nodes are to be told, nil before the records were read, and a
// channel that is closed when there is another. Nobody may change it.
func (r *Registry) FleetState() (*fleetv1.FleetState, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state, r.replaced
}

// SetTicketKeys makes keys the session-ticket keys that all nodes get, at once.
// They must not be changed afterwards.
func (r *Registry) SetTicketKeys(keys *fleetv1.TicketKeys) {
	r.mu.Lock()
	r.tickets = keys
	r.mu.Unlock()
	r.look()
}

// look makes Run look again.
func (r *Registry) look() { r.kick.Send() }

// follow follows the records until ctx ends.
func (r *Registry) follow(ctx context.Context) {
	events := r.c.Records.WatchNodes(ctx)
	for {
		again, err := r.refresh(ctx)
		var retry <-chan time.Time
		switch {
		case err != nil && ctx.Err() == nil:
			r.log.Warn("nodes: records not read or written", "error", err, "retry_in", recordsRetry)
			retry = time.After(recordsRetry)
		case !again.IsZero():
			retry = time.After(max(again.Sub(r.c.Now()), 0))
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
			}
		case <-r.kick:
		case <-retry:
		}
	}
}

// refresh creates missing records, then reads all, and changes the list of
// expected members if that is due. It is to be called again at the time that it
// returns, if that is not zero.
func (r *Registry) refresh(ctx context.Context) (again time.Time, err error) {
	records, revision, err := r.c.Records.Nodes(ctx)
	if err != nil {
		return again, err
	}
	r.noteForgotten(records)
	if r.create(ctx, records) {
		if records, revision, err = r.c.Records.Nodes(ctx); err != nil {
			return again, err
		}
	}
	r.setRecords(records)
	list, seen, err := r.c.Records.ExpectedList(ctx)
	if err != nil {
		return again, err
	}
	// Where the list cannot be written, drains are told all the same.
	list, again, failed := r.changeList(ctx, records, list, seen)
	r.announce(fleetState(records, list, revision))
	r.mu.Lock()
	defer r.mu.Unlock()
	if failed == nil && len(r.missing) > 0 {
		failed = errMissing
	}
	return again, failed
}

// changeList makes the next step of the list that was seen, if it is due, and returns
// the list that is in the store now.
func (r *Registry) changeList(ctx context.Context, records []*fleetv1.NodeRecord, list *fleetv1.ListRecord, seen int64) (
	now *fleetv1.ListRecord, again time.Time, err error,
) {
	next, again := r.nextList(records, list)
	if next == nil {
		return list, again, nil
	}
	err = r.c.Records.PutExpectedList(ctx, next, seen)
	switch {
	case errors.Is(err, store.ErrConflict):
		r.look() // another replica was faster: on with what it wrote
		return list, again, nil
	case err != nil:
		return list, again, err
	}
	if next.GetRevision() != list.GetRevision() {
		r.log.Info("expected members: changed", "revision", next.GetRevision(), "members", len(next.GetMembers()),
			"before", len(list.GetMembers()), "found_at_a_node", next.GetAdopted())
	}
	return next, again, nil
}

// nextList asks the roster what to write in place of the list, and when to ask again.
func (r *Registry) nextList(records []*fleetv1.NodeRecord, list *fleetv1.ListRecord) (next *fleetv1.ListRecord, again time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := roster.Input{Now: r.c.Now(), Record: list, Reported: r.listRevisions(), Random: rand.Uint64()} //nolint:gosec // a name, no secret
	if list != nil {
		// What a wiped store forgets is known here still.
		r.roster.Heard(in.Now, roster.Kept{Lineage: list.GetLineage(), Revision: list.GetRevision(), Members: list.GetMembers()})
	}
	for _, record := range records {
		id := record.GetNodeId()
		switch {
		case record.GetGrantsNothing():
			// It goes by no list, and is told none before its record says otherwise: it
			// does not have to report.
			if n := r.nodes[id]; n == nil || n.current == nil || n.hello.GetGrantsNothing() {
				in.Reported[id] = list.GetRevision()
			}
		case isExpected(record.GetSpec()):
			in.Wanted = append(in.Wanted, id)
		}
	}
	next, again = r.roster.Next(in)
	r.noteStandstill(roster.Why(in), in.Now)
	return next, again
}

// listRevisions is by which list connected nodes say that they go, by id. The caller
// holds mu.
func (r *Registry) listRevisions() map[string]uint64 {
	reported := make(map[string]uint64, len(r.nodes))
	for id, n := range r.nodes {
		if revision := n.lastStatus.GetListRevision(); n.current != nil && revision != 0 {
			reported[id] = revision
		}
	}
	return reported
}

var errMissing = errors.New("some nodes have no record yet")

// create writes the missing records and reports whether it wrote any. A record
// that does not say of a node that it is a witness or grants nothing, or says it wrongly, is
// missing too, and so is one of an earlier decision than the node's own.
func (r *Registry) create(ctx context.Context, records []*fleetv1.NodeRecord) bool {
	r.mu.Lock()
	for _, record := range records {
		if m := r.missing[record.GetNodeId()]; m != nil && isAsSaid(record, m) {
			delete(r.missing, record.GetNodeId())
		}
	}
	missing := slices.Collect(maps.Values(r.missing))
	r.mu.Unlock()
	wrote, failed, why := false, 0, error(nil)
	for _, record := range missing {
		_, err := r.c.Records.PutNode(ctx, record, 0)
		if errors.Is(err, store.ErrExists) {
			err = r.mend(ctx, record)
		}
		if err != nil {
			failed, why = failed+1, err
		} else {
			wrote = true
			r.log.Info("node: new", "node", record.GetNodeId(), "labels", record.GetLabels(), "drained", record.GetSpec().GetDrained())
		}
		r.mu.Lock()
		// A node that has left says Hello again when it comes back, if it ever does.
		if n := r.nodes[record.GetNodeId()]; err == nil || n == nil || n.current == nil {
			delete(r.missing, record.GetNodeId())
		}
		r.mu.Unlock()
	}
	if failed > 0 { // one line, as all are tried again every second
		r.log.Warn("nodes: records not created", "nodes", failed, "last_error", why)
	}
	return wrote
}

// announce makes a state the one that nodes get, if it is news.
func (r *Registry) announce(state *fleetv1.FleetState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed, state.TicketKeys = state.GetListRevision(), r.tickets
	if r.state != nil && proto.Equal(state, r.state) {
		return
	}
	r.state = state
	close(r.replaced)
	r.replaced = make(chan struct{})
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
	for _, record := range records {
		id := record.GetNodeId()
		state.Members = append(state.Members, &fleetv1.Member{
			NodeId: id, Expected: left[id], Witness: record.GetWitness(),
			Drained: record.GetSpec().GetDrained(), NotExpected: !isExpected(record.GetSpec()), Decision: record.GetDecision(),
			GrantsNothing: record.GetGrantsNothing(),
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
