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

// Epoch is a life of the store.
type Epoch struct {
	Number    uint64
	ClusterID uint64 // of the etcd cluster that it belongs to
	// Accepted: nodes follow the epoch whatever they lose by it. Until then each
	// holds it that would lose too much.
	Accepted bool
}

// Epoch is the one in force.
func (s *Store) Epoch(ctx context.Context) (Epoch, error) {
	e, err := s.epochInForce(ctx)
	if err != nil {
		return Epoch{}, fmt.Errorf("store: epoch: %w", err)
	}
	return e.inForce(), nil
}

// AcceptEpoch notes that the epoch is accepted, which it stays for as long as it
// lasts. ErrConflict: another epoch is in force.
func (s *Store) AcceptEpoch(ctx context.Context, epoch uint64) (Epoch, error) {
	for range casAttempts {
		e, err := s.epochInForce(ctx)
		if err != nil {
			return Epoch{}, fmt.Errorf("store: epoch: %w", err)
		}
		if e.record.GetEpoch() != epoch {
			return Epoch{}, fmt.Errorf("store: epoch %d: %w: epoch %d is in force", epoch, ErrConflict, e.record.GetEpoch())
		}
		if e.record.GetAccepted() {
			return e.inForce(), nil
		}
		e.record.Accepted = true
		written, err := s.putEpoch(ctx, e, e.head, e.record)
		if err != nil && !s.accepted(ctx, epoch) {
			return Epoch{}, fmt.Errorf("store: epoch %d: %w: %w", epoch, ErrUnknown, full(err))
		}
		if written || err != nil {
			s.log.Warn("store: the epoch is accepted", "epoch", epoch, "revision", e.head.GetRevision())
			return e.inForce(), nil
		}
	}
	return Epoch{}, fmt.Errorf("store: epoch %d: %w", epoch, ErrConflict)
}

// accepted says whether the epoch is known to be accepted, after the answer of who
// accepted it was lost.
func (s *Store) accepted(ctx context.Context, epoch uint64) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.outcomeTimeout)
	defer cancel()
	e, err := s.readEpoch(ctx)
	return err == nil && e.record.GetEpoch() == epoch && e.record.GetAccepted()
}

// epochInForce reads the epoch, after having made sure that there is one.
func (s *Store) epochInForce(ctx context.Context) (epochRead, error) {
	e, err := s.readEpoch(ctx)
	if err != nil || e.valid() {
		return e, err
	}
	if err := s.establish(ctx); err != nil {
		return epochRead{}, err
	}
	if e, err = s.readEpoch(ctx); err == nil && !e.valid() {
		err = ErrConflict
	}
	return e, err
}

// establish makes sure that there is a head, and that its epoch belongs to the
// etcd cluster that answers, whose seal key is ours.
func (s *Store) establish(ctx context.Context) error {
	if err := s.claimSeal(ctx); err != nil {
		return err
	}
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

func (e epochRead) inForce() Epoch {
	return Epoch{Number: e.record.GetEpoch(), ClusterID: e.cluster, Accepted: e.record.GetAccepted()}
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
	return s.putEpoch(ctx, e,
		&fleetv1.Head{Epoch: epoch, Revision: e.head.GetRevision(), Root: root},
		&fleetv1.EpochRecord{Epoch: epoch, ClusterId: e.cluster})
}

// putEpoch writes head and record, if both are what was read. The head is written
// even if it stays the same, as that is what replicas watch; a commit that is
// under way finds the value that it knows, and begins again.
func (s *Store) putEpoch(ctx context.Context, e epochRead, newHead *fleetv1.Head, newRecord *fleetv1.EpochRecord) (bool, error) {
	head, err := marshal(newHead)
	if err != nil {
		return false, err
	}
	record, err := marshal(newRecord)
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
	if cluster != s.cluster || epoch > s.epoch {
		close(s.moved)
		s.moved = make(chan struct{})
	}
	s.cluster, s.epoch = cluster, max(s.epoch, epoch)
}

func marshal(m proto.Message) (string, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	return string(b), err
}
