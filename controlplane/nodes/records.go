package nodes

import (
	"context"
	"maps"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// recordOf is the first record of a node. What was decided about it only a node knows
// that had a record before, in a store that was wiped since, or from which it was deleted.
func recordOf(hello *fleetv1.Hello, now time.Time) *fleetv1.NodeRecord {
	record := &fleetv1.NodeRecord{
		NodeId:          hello.GetNodeId(),
		Labels:          maps.Clone(hello.GetLabels()),
		FirstSeenUnixMs: now.UnixMilli(),
		Witness:         hello.GetWitness(),
		GrantsNothing:   hello.GetGrantsNothing(),
		Decision:        hello.GetDecision(),
	}
	decide(record, hello.GetDrained(), !hello.GetNotExpected())
	return record
}

// decide makes a record say what was decided.
func decide(record *fleetv1.NodeRecord, drained, expected bool) {
	if record.Spec == nil {
		if !drained && expected {
			return
		}
		record.Spec = &fleetv1.Node{}
	}
	if record.Spec.Drained = nil; drained {
		record.Spec.Drained = new(true)
	}
	if record.Spec.Expected = nil; !expected {
		record.Spec.Expected = new(false)
	}
}

// isAsSaid reports whether nothing of a node's record is wrong, or earlier, by what the
// node said.
func isAsSaid(record, said *fleetv1.NodeRecord) bool {
	return record.GetWitness() == said.GetWitness() && record.GetGrantsNothing() == said.GetGrantsNothing() &&
		record.GetDecision() >= said.GetDecision()
}

// mend notes in a node's record whether it grants, whether it is a witness, and a later
// decision.
func (r *Registry) mend(ctx context.Context, said *fleetv1.NodeRecord) error {
	record, seen, err := r.c.Records.Node(ctx, said.GetNodeId())
	if err != nil || isAsSaid(record, said) {
		return err
	}
	record.Witness, record.GrantsNothing = said.GetWitness(), said.GetGrantsNothing()
	if said.GetDecision() > record.GetDecision() {
		r.log.Warn("node: a later decision about it than the store's is known, which was put back; it counts",
			"node", said.GetNodeId(), "drained", said.GetSpec().GetDrained(), "expected", isExpected(said.GetSpec()),
			"decision", said.GetDecision(), "of_the_store", record.GetDecision())
		record.Decision = said.GetDecision()
		decide(record, said.GetSpec().GetDrained(), isExpected(said.GetSpec()))
	}
	_, err = r.c.Records.PutNode(ctx, record, seen)
	return err
}

// setRecords takes the records of the store. Nodes that are neither recorded nor
// connected, here or elsewhere, are forgotten.
func (r *Registry) setRecords(records []*fleetv1.NodeRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := make(map[string]bool, len(records))
	for _, record := range records {
		id := record.GetNodeId()
		known[id] = true
		n := r.nodes[id]
		if n == nil {
			n = &node{id: id}
			r.nodes[id] = n
		}
		n.record = record
	}
	for id, n := range r.nodes {
		if known[id] {
			continue
		}
		n.record = nil
		if n.current == nil && !n.isThere() {
			delete(r.nodes, id)
		}
	}
	r.news.Ring()
}

// noteForgotten takes for missing what the records lack of connected nodes. A store that was
// wiped or put back forgot them, or what was decided about them, and they say no Hello
// again. They are written as they were recorded last, so that a node that was drained stays
// so, or as they say: who is not wanted loses its place among the expected members.
func (r *Registry) noteForgotten(records []*fleetv1.NodeRecord) {
	decisions := make(map[string]uint64, len(records))
	for _, record := range records {
		decisions[record.GetNodeId()] = record.GetDecision()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Now()
	for id, n := range r.nodes {
		if !n.alive(now) {
			continue
		}
		was := n.record
		if was == nil {
			was = recordOf(n.hello, now)
		}
		decision, ok := decisions[id]
		if ok && decision >= was.GetDecision() {
			continue
		}
		if r.missing[id].GetDecision() <= was.GetDecision() {
			r.missing[id] = was
		}
	}
}
