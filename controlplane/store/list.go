package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// ExpectedList returns the list of expected members, and what PutExpectedList
// must see to replace it: nil and 0 before the first.
func (s *Store) ExpectedList(ctx context.Context) (record *fleetv1.ListRecord, seen int64, err error) {
	r, err := s.kv.Get(ctx, s.keys.list())
	if err != nil {
		return nil, 0, fmt.Errorf("store: list of expected members: %w", err)
	}
	if len(r.Kvs) == 0 {
		return nil, 0, nil
	}
	record = &fleetv1.ListRecord{}
	if err := proto.Unmarshal(r.Kvs[0].Value, record); err != nil {
		return nil, 0, fmt.Errorf("store: list of expected members: %w: %w", ErrDamaged, err)
	}
	return record, r.Kvs[0].ModRevision, nil
}

// PutExpectedList writes the list in place of the one that was seen; ErrConflict
// says that it changed since. It counts as a change of the fleet, so that
// WatchNodes tells of it.
func (s *Store) PutExpectedList(ctx context.Context, record *fleetv1.ListRecord, seen int64) error {
	value, err := marshal(record)
	if err != nil {
		return fmt.Errorf("store: list of expected members: %w", err)
	}
	_, err = s.changeFleet(ctx, s.keys.list(), clientv3.OpPut(s.keys.list(), value), func(mod int64) error {
		if mod != seen {
			return ErrConflict
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store: list of expected members: %w", err)
	}
	return nil
}
