package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// NewEpoch begins a new epoch, above the one that is seen and all that the store
// knows: a node turned up with a version that this store cannot have given it.
// The configuration stays. If another replica began one above seen already, that
// is it. It returns the epoch that is in force.
func (s *Store) NewEpoch(ctx context.Context, seen uint64) (uint64, error) {
	epoch, err := s.ensureEpoch(ctx, seen)
	if err != nil {
		return 0, fmt.Errorf("store: %w", err)
	}
	return epoch, nil
}

// establish makes sure that there is a head, and that its epoch belongs to the
// etcd cluster that answers.
func (s *Store) establish(ctx context.Context) error {
	_, err := s.ensureEpoch(ctx, 0)
	return err
}

// ensureEpoch also begins a new epoch if the one in force is not above seen.
func (s *Store) ensureEpoch(ctx context.Context, seen uint64) (uint64, error) {
	for range casAttempts {
		e, err := s.readEpoch(ctx)
		if err != nil {
			return 0, fmt.Errorf("epoch: %w", err)
		}
		if e.valid() && e.record.GetEpoch() > seen {
			s.accept(e.cluster, e.record.GetEpoch())
			return e.record.GetEpoch(), nil
		}
		epoch := s.above(e, seen)
		written, err := s.writeEpoch(ctx, e, epoch)
		if err != nil {
			return 0, fmt.Errorf("epoch: %w", err)
		}
		if written {
			s.accept(e.cluster, epoch)
			s.log.Warn("store: a new epoch begins", "epoch", epoch, "before", e.record.GetEpoch(),
				"revision", e.head.GetRevision(), "cluster_id", e.cluster)
			return epoch, nil
		}
	}
	return 0, fmt.Errorf("epoch: %w", ErrConflict)
}

type epochRead struct {
	cluster            uint64
	head               *fleetv1.Head // empty if there is none
	record             *fleetv1.EpochRecord
	headMod, recordMod int64 // 0: there is none
}

func (e epochRead) valid() bool {
	return e.headMod != 0 && e.recordMod != 0 && e.record.GetClusterId() == e.cluster &&
		e.record.GetEpoch() == e.head.GetEpoch()
}

func (s *Store) readEpoch(ctx context.Context) (epochRead, error) {
	r, err := s.kv.Txn(ctx).Then(clientv3.OpGet(s.keys.head()), clientv3.OpGet(s.keys.epoch())).Commit()
	if err != nil {
		return epochRead{}, err
	}
	e := epochRead{cluster: r.Header.GetClusterId(), head: &fleetv1.Head{}, record: &fleetv1.EpochRecord{}}
	if kvs := r.Responses[0].GetResponseRange().GetKvs(); len(kvs) == 1 {
		e.headMod = kvs[0].ModRevision
		if err := proto.Unmarshal(kvs[0].Value, e.head); err != nil {
			return epochRead{}, fmt.Errorf("%w: head: %w", ErrDamaged, err)
		}
	}
	if kvs := r.Responses[1].GetResponseRange().GetKvs(); len(kvs) == 1 {
		e.recordMod = kvs[0].ModRevision
		if err := proto.Unmarshal(kvs[0].Value, e.record); err != nil {
			return epochRead{}, fmt.Errorf("%w: epoch record: %w", ErrDamaged, err)
		}
	}
	return e, nil
}

// above chooses a new epoch: above all that was ever seen, and not below the
// Unix milliseconds, which is above what a lost store had even if nobody
// remembers.
func (s *Store) above(e epochRead, seen uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := max(seen, s.epoch, e.head.GetEpoch(), e.record.GetEpoch())
	return max(known+1, uint64(max(s.options.Now().UnixMilli(), 0)))
}

// writeEpoch reports false if somebody else wrote in between.
func (s *Store) writeEpoch(ctx context.Context, e epochRead, epoch uint64) (bool, error) {
	root := e.head.GetRoot()
	if e.headMod == 0 {
		empty := tree.EmptyRoot()
		root = empty[:]
	}
	head, err := marshal(&fleetv1.Head{Epoch: epoch, Revision: e.head.GetRevision(), Root: root})
	if err != nil {
		return false, err
	}
	record, err := marshal(&fleetv1.EpochRecord{Epoch: epoch, ClusterId: e.cluster})
	if err != nil {
		return false, err
	}
	r, err := s.kv.Txn(ctx).
		If(
			clientv3.Compare(clientv3.ModRevision(s.keys.head()), "=", e.headMod),
			clientv3.Compare(clientv3.ModRevision(s.keys.epoch()), "=", e.recordMod),
		).
		Then(clientv3.OpPut(s.keys.head(), head), clientv3.OpPut(s.keys.epoch(), record)).
		Commit()
	if err != nil {
		return false, err
	}
	return r.Succeeded, nil
}

func (s *Store) accept(cluster, epoch uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster, s.epoch = cluster, max(s.epoch, epoch)
}

func marshal(m proto.Message) (string, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return string(b), err
}
