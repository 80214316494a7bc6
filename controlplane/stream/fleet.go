package stream

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// recordsRetry is the pause after the records could not be read or written.
const recordsRetry = time.Second

// fleet is the FleetState that all nodes get, and the way by which unknown
// nodes get their records.
type fleet struct {
	s *Server

	// kick makes run look at what is missing.
	kick chan struct{}

	// guarded by mu
	mu      sync.Mutex
	message prepared      // nil: the records were not read yet
	number  uint64        // of message; grows
	changed chan struct{} // closed when there is another message
	missing map[string]*fleetv1.NodeRecord
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

// ensure sees to it that the node has a record.
func (f *fleet) ensure(hello *fleetv1.Hello) {
	f.mu.Lock()
	f.missing[hello.GetNodeId()] = &fleetv1.NodeRecord{
		NodeId:          hello.GetNodeId(),
		Labels:          maps.Clone(hello.GetLabels()),
		FirstSeenUnixMs: f.s.c.Now().UnixMilli(),
	}
	f.mu.Unlock()
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run follows the records until ctx ends.
func (f *fleet) run(ctx context.Context) {
	events := f.s.c.Records.WatchNodes(ctx)
	for {
		err := f.refresh(ctx)
		var retry <-chan time.Time
		if err != nil && ctx.Err() == nil {
			f.s.log.Warn("nodes: records not read or written", "error", err, "retry_in", recordsRetry)
			retry = time.After(recordsRetry)
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

// refresh creates missing records, then reads all.
func (f *fleet) refresh(ctx context.Context) error {
	records, revision, err := f.s.c.Records.Nodes(ctx)
	if err != nil {
		return err
	}
	if f.create(ctx, records) {
		if records, revision, err = f.s.c.Records.Nodes(ctx); err != nil {
			return err
		}
	}
	f.s.registry.setRecords(records)
	f.publish(fleetState(records, revision))
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.missing) > 0 {
		return errMissing
	}
	return nil
}

var errMissing = errors.New("some nodes have no record yet")

// create writes the missing records and reports whether it wrote any.
func (f *fleet) create(ctx context.Context, records []*fleetv1.NodeRecord) bool {
	f.mu.Lock()
	for _, r := range records {
		delete(f.missing, r.GetNodeId())
	}
	missing := slices.Collect(maps.Values(f.missing))
	f.mu.Unlock()
	wrote := false
	for _, r := range missing {
		_, err := f.s.c.Records.PutNode(ctx, r, 0)
		if err != nil && !errors.Is(err, store.ErrExists) {
			f.s.log.Warn("node: record not created", "node", r.GetNodeId(), "error", err)
			continue
		}
		wrote = true
		f.s.log.Info("node: new", "node", r.GetNodeId(), "labels", r.GetLabels())
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

func fleetState(records []*fleetv1.NodeRecord, revision uint64) *fleetv1.FleetState {
	state := &fleetv1.FleetState{Revision: revision}
	for _, r := range records {
		expected := isExpected(r.GetSpec())
		state.Members = append(state.Members, &fleetv1.Member{
			NodeId: r.GetNodeId(), Labels: r.GetLabels(), Expected: expected, Drained: r.GetSpec().GetDrained(),
		})
	}
	slices.SortFunc(state.Members, func(a, b *fleetv1.Member) int { return strings.Compare(a.GetNodeId(), b.GetNodeId()) })
	return state
}

// isExpected applies the default of Node.expected.
func isExpected(spec *fleetv1.Node) bool {
	return spec == nil || spec.Expected == nil || spec.GetExpected()
}
