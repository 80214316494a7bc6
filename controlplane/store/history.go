package store

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// MaxHistoryPage is the most changes that one call of History returns.
const MaxHistoryPage = 1000

// History returns changes, newest first: the newest ones, or those before a
// revision if that is not 0. limit is at most MaxHistoryPage, and that if it is
// not positive. Fewer than limit come only at the end of what is kept.
func (s *Store) History(ctx context.Context, before uint64, limit int) ([]*fleetv1.Change, error) {
	if limit <= 0 || limit > MaxHistoryPage {
		limit = MaxHistoryPage
	}
	h, err := s.readHead(ctx)
	if err != nil {
		return nil, fmt.Errorf("store: history: %w", err)
	}
	// Revisions have no gaps, so that a page is a range of keys. (etcd reads the
	// whole prefix to sort it the other way round.)
	if newest := h.head.GetRevision(); before == 0 || before > newest {
		before = newest + 1
	}
	from := uint64(1)
	if before > uint64(limit) {
		from = before - uint64(limit)
	}
	changes, err := s.changes(ctx, from, before)
	if err != nil {
		return nil, fmt.Errorf("store: history: %w", err)
	}
	slices.Reverse(changes)
	return changes, nil
}

// changes reads the records of [from, to), oldest first.
func (s *Store) changes(ctx context.Context, from, to uint64) ([]*fleetv1.Change, error) {
	if from >= to {
		return nil, nil
	}
	r, err := s.kv.Get(ctx, s.keys.change(from), clientv3.WithRange(s.keys.change(to)))
	if err != nil {
		return nil, err
	}
	changes := make([]*fleetv1.Change, len(r.Kvs))
	for i, kv := range r.Kvs {
		if changes[i], err = changeOf(kv); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

func changeOf(kv *mvccpb.KeyValue) (*fleetv1.Change, error) {
	c := &fleetv1.Change{}
	if err := proto.Unmarshal(kv.Value, c); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, kv.Key, err)
	}
	return c, nil
}

// At returns a revision of the history and the change that made it. To roll
// back, commit its tree on the current one. Revision 0 is the empty
// configuration that every store begins with.
//
// Errors: ErrNotFound for a revision that is not there yet, ErrCompacted for one
// that is no longer kept.
func (s *Store) At(ctx context.Context, revision uint64) (Configuration, *fleetv1.Change, error) {
	at, change, err := s.at(ctx, revision)
	if err != nil {
		return Configuration{}, nil, fmt.Errorf("store: revision %d: %w", revision, err)
	}
	return at, change, nil
}

func (s *Store) at(ctx context.Context, revision uint64) (Configuration, *fleetv1.Change, error) {
	r, err := s.kv.Txn(ctx).Then(
		clientv3.OpGet(s.keys.head()), clientv3.OpGet(s.keys.sweep()), clientv3.OpGet(s.keys.change(revision)),
	).Commit()
	if err != nil {
		return Configuration{}, nil, err
	}
	h, err := headOf(r)
	if err != nil {
		return Configuration{}, nil, err
	}
	if revision == 0 {
		root := tree.EmptyRoot()
		change := &fleetv1.Change{Epoch: h.head.GetEpoch(), RootBefore: root[:], RootAfter: root[:]}
		return Configuration{Epoch: h.head.GetEpoch()}, change, nil
	}
	kvs := r.Responses[2].GetResponseRange().GetKvs()
	switch {
	case len(kvs) == 1:
	case revision > h.head.GetRevision():
		return Configuration{}, nil, ErrNotFound
	default:
		return Configuration{}, nil, ErrCompacted
	}
	change, err := changeOf(kvs[0])
	if err != nil {
		return Configuration{}, nil, err
	}
	root, err := tree.HashFromBytes(change.GetRootAfter())
	if err != nil {
		return Configuration{}, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	t, err := s.load(ctx, root, false)
	if err != nil {
		return Configuration{}, nil, err
	}
	return Configuration{Epoch: change.GetEpoch(), Revision: revision, Tree: t}, change, nil
}
