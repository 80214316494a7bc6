package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// Nodes returns the node records, in the order of their ids, and the revision of
// the list: it grows with each change of a record, and stays when none changes.
// It is 0 before the first.
func (s *Store) Nodes(ctx context.Context) (records []*fleetv1.NodeRecord, revision uint64, err error) {
	r, err := s.kv.Txn(ctx).Then(
		clientv3.OpGet(s.keys.nodes(), clientv3.WithPrefix()), clientv3.OpGet(s.keys.fleet()),
	).Commit()
	if err != nil {
		return nil, 0, fmt.Errorf("store: nodes: %w", err)
	}
	for _, kv := range r.Responses[0].GetResponseRange().GetKvs() {
		record, err := s.nodeOf(kv)
		if err != nil {
			return nil, 0, fmt.Errorf("store: %w", err)
		}
		records = append(records, record)
	}
	fleet, _, err := fleetOf(r.Responses[1].GetResponseRange().GetKvs())
	if err != nil {
		return nil, 0, fmt.Errorf("store: nodes: %w", err)
	}
	return records, fleet.GetRevision(), nil
}

// Node returns one record, and what PutNode must see to replace it.
func (s *Store) Node(ctx context.Context, id string) (record *fleetv1.NodeRecord, seen int64, err error) {
	r, err := s.kv.Get(ctx, s.keys.node(id))
	if err != nil {
		return nil, 0, fmt.Errorf("store: node %q: %w", id, err)
	}
	if len(r.Kvs) == 0 {
		return nil, 0, fmt.Errorf("store: node %q: %w", id, ErrNotFound)
	}
	if record, err = s.nodeOf(r.Kvs[0]); err != nil {
		return nil, 0, fmt.Errorf("store: %w", err)
	}
	return record, r.Kvs[0].ModRevision, nil
}

// PutNode writes a record. With seen 0 it creates it, and ErrExists says that it
// is there; else it replaces what Node or PutNode told by the same number, and
// ErrConflict says that it changed or is gone. ErrUnknown: etcd could not be asked how it
// ended. It returns the new number.
func (s *Store) PutNode(ctx context.Context, record *fleetv1.NodeRecord, seen int64) (int64, error) {
	id := record.GetNodeId()
	if id == "" {
		return 0, errors.New("store: node: its id is empty")
	}
	value, err := marshal(record)
	if err != nil {
		return 0, fmt.Errorf("store: node %q: %w", id, err)
	}
	if len(value) > maxResourceBytes {
		return 0, fmt.Errorf("store: node %q: %w: %d bytes, at most %d", id, ErrTooLarge, len(value), maxResourceBytes)
	}
	now, err := s.changeFleet(ctx, s.keys.node(id), clientv3.OpPut(s.keys.node(id), value), func(mod int64) error {
		switch {
		case mod == seen:
			return nil
		case seen == 0:
			return ErrExists
		}
		return ErrConflict
	})
	if err != nil {
		return 0, fmt.Errorf("store: node %q: %w", id, err)
	}
	return now, nil
}

// DeleteNode removes a record, or says ErrNotFound.
func (s *Store) DeleteNode(ctx context.Context, id string) error {
	_, err := s.changeFleet(ctx, s.keys.node(id), clientv3.OpDelete(s.keys.node(id)), func(mod int64) error {
		if mod == 0 {
			return ErrNotFound
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: node %q: %w", id, err)
	}
	return nil
}

// changeFleet applies one operation to a record of the fleet's state and counts
// it, if check agrees with the record's modification revision (0: there is none).
func (s *Store) changeFleet(ctx context.Context, key string, op clientv3.Op, check func(mod int64) error) (int64, error) {
	fleetKey := s.keys.fleet()
	for range casAttempts {
		r, err := s.kv.Txn(ctx).Then(clientv3.OpGet(key, clientv3.WithKeysOnly()), clientv3.OpGet(fleetKey)).Commit()
		if err != nil {
			return 0, err
		}
		mod := int64(0)
		if kvs := r.Responses[0].GetResponseRange().GetKvs(); len(kvs) == 1 {
			mod = kvs[0].ModRevision
		}
		if err := check(mod); err != nil {
			return 0, err
		}
		fleet, fleetMod, err := fleetOf(r.Responses[1].GetResponseRange().GetKvs())
		if err != nil {
			return 0, err
		}
		now := uint64(max(s.options.Now().UnixMilli(), 0))
		count, err := marshal(&fleetv1.FleetRecord{Revision: max(fleet.GetRevision()+1, now)})
		if err != nil {
			return 0, err
		}
		w, err := s.kv.Txn(ctx).
			If(
				clientv3.Compare(clientv3.ModRevision(key), "=", mod),
				clientv3.Compare(clientv3.ModRevision(fleetKey), "=", fleetMod),
			).
			Then(op, clientv3.OpPut(fleetKey, count)).
			Commit()
		if err != nil {
			return s.fleetOutcome(ctx, key, op, mod, count, err)
		}
		if w.Succeeded {
			return w.Header.GetRevision(), nil
		}
	}
	return 0, ErrConflict
}

// fleetOutcome finds out how a change of a record that had the modification revision mod
// ended, if its answer was lost: as outcome does for a commit. Where it has not taken place
// so far, the count is written anew, after which its comparison fails for good.
func (s *Store) fleetOutcome(ctx context.Context, key string, op clientv3.Op, mod int64, count string, cause error) (int64, error) {
	if code(cause) == codes.InvalidArgument { // etcd did not try
		return 0, cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.outcomeTimeout)
	defer cancel()
	unknown := func(err error) error { return fmt.Errorf("%w: %w; then: %w", ErrUnknown, cause, err) }
	for range casAttempts {
		r, err := s.kv.Txn(ctx).Then(clientv3.OpGet(key), clientv3.OpGet(s.keys.fleet())).Commit()
		if err != nil {
			return 0, unknown(err)
		}
		now, value := int64(0), []byte(nil)
		if kvs := r.Responses[0].GetResponseRange().GetKvs(); len(kvs) == 1 {
			now, value = kvs[0].ModRevision, kvs[0].Value
		}
		switch {
		case now != mod && (op.IsDelete() && now == 0 || op.IsPut() && bytes.Equal(value, op.ValueBytes())):
			return now, nil
		case now != mod:
			return 0, fmt.Errorf("%w (after %w)", ErrConflict, cause)
		case code(cause) == codes.ResourceExhausted:
			return 0, full(cause)
		}
		fleetMod, again := int64(0), count
		if kvs := r.Responses[1].GetResponseRange().GetKvs(); len(kvs) == 1 {
			fleetMod, again = kvs[0].ModRevision, string(kvs[0].Value)
		}
		fence, err := s.kv.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(s.keys.fleet()), "=", fleetMod)).
			Then(clientv3.OpPut(s.keys.fleet(), again)).
			Commit()
		if err != nil {
			return 0, unknown(err)
		}
		if fence.Succeeded {
			return 0, fmt.Errorf("not applied: %w", cause)
		}
	}
	return 0, unknown(errors.New("the fleet's state does not stand still"))
}

func (s *Store) nodeOf(kv *mvccpb.KeyValue) (*fleetv1.NodeRecord, error) {
	record := &fleetv1.NodeRecord{}
	if err := proto.Unmarshal(kv.Value, record); err != nil {
		return nil, fmt.Errorf("node %q: %w: %w", s.keys.nodeID(kv.Key), ErrDamaged, err)
	}
	return record, nil
}

func fleetOf(kvs []*mvccpb.KeyValue) (record *fleetv1.FleetRecord, mod int64, err error) {
	record = &fleetv1.FleetRecord{}
	if len(kvs) == 0 {
		return record, 0, nil
	}
	if err := proto.Unmarshal(kvs[0].Value, record); err != nil {
		return nil, 0, fmt.Errorf("fleet record: %w: %w", ErrDamaged, err)
	}
	return record, kvs[0].ModRevision, nil
}
