package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// maxTold bounds one value that control planes tell each other: stock etcd takes
	// requests of 1.5 MiB.
	maxTold = 1 << 20
	// maxToldKeys bounds how many of them are read: those of 60 control planes.
	maxToldKeys = 8192
)

// Told is a value that a control plane tells the others.
type Told struct {
	// Value is nil if it is the one of the revision that was known.
	Value []byte
	// Revision is that of etcd at which it was written.
	Revision int64
	// Lease is the one that it stands under.
	Lease int64
}

// Lease begins a lease: what is told under it is there until it runs out, which it does ttl
// after it was kept last, at the earliest, or is ended.
func (s *Store) Lease(ctx context.Context, ttl time.Duration) (lease int64, err error) {
	r, err := s.client.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return 0, fmt.Errorf("store: lease: %w", full(err))
	}
	return int64(r.ID), nil
}

// KeepLease has a lease last for its time from now on. ErrNotFound: it has run out, or etcd
// is another one. Nothing is written by it.
func (s *Store) KeepLease(ctx context.Context, lease int64) error {
	_, err := s.client.KeepAliveOnce(ctx, clientv3.LeaseID(lease))
	return leaseError(err)
}

// EndLease ends a lease, and with it all that was told under it.
func (s *Store) EndLease(ctx context.Context, lease int64) error {
	_, err := s.client.Revoke(ctx, clientv3.LeaseID(lease))
	return leaseError(err)
}

func leaseError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrLeaseNotFound) || errors.Is(err, rpctypes.ErrGRPCLeaseNotFound):
		return fmt.Errorf("store: lease: %w: %w", ErrNotFound, err)
	default:
		return fmt.Errorf("store: lease: %w", full(err))
	}
}

// Tell writes values under a lease, by name; nil: there is no such value any more. It
// returns the revision of etcd at which each was written. Of several at least those that it
// returns are written if it fails. ErrNotFound: the lease is none any more. ErrFull: etcd has
// no room.
func (s *Store) Tell(ctx context.Context, lease int64, values map[string][]byte) (written map[string]int64, err error) {
	written = make(map[string]int64, len(values))
	var (
		ops   []clientv3.Op
		names []string
		size  int
	)
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		if err := s.roomToTell(ctx, int64(size)); err != nil {
			return err
		}
		r, err := s.kv.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return leaseError(err)
		}
		for _, name := range names {
			written[name] = r.Header.GetRevision()
		}
		ops, names, size = nil, nil, 0
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		key, value := s.keys.replicas()+name, values[name]
		if len(value) > maxTold {
			return written, fmt.Errorf("store: replicas: %s: %w: %d bytes, at most %d", name, ErrTooLarge, len(value), maxTold)
		}
		op := clientv3.OpPut(key, string(value), clientv3.WithLease(clientv3.LeaseID(lease)))
		if value == nil {
			op = clientv3.OpDelete(key)
		}
		if len(ops) == batchOps || size+len(key)+len(value) > batchBytes {
			if err := flush(); err != nil {
				return written, err
			}
		}
		ops, names, size = append(ops, op), append(names, name), size+len(key)+len(value)+blobOverhead
	}
	return written, flush()
}

// roomToTell refuses what would leave no room for changes: it can wait.
func (s *Store) roomToTell(ctx context.Context, bytes int64) error {
	if s.claim(bytes) {
		return nil
	}
	if _, err := s.Space(ctx); err != nil {
		return nil //nolint:nilerr // etcd itself will say
	}
	if !s.claim(bytes) {
		return fmt.Errorf("store: replicas: %w", ErrFull)
	}
	return nil
}

// AllTold is all that control planes tell, by name. Values that known has at the same
// revision are not read again.
func (s *Store) AllTold(ctx context.Context, known map[string]int64) (map[string]Told, error) {
	prefix := s.keys.replicas()
	r, err := s.kv.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(maxToldKeys))
	if err != nil {
		return nil, fmt.Errorf("store: replicas: %w", err)
	}
	told := make(map[string]Told, len(r.Kvs))
	var read []string
	for _, kv := range r.Kvs {
		name := strings.TrimPrefix(string(kv.Key), prefix)
		if known[name] == kv.ModRevision {
			told[name] = Told{Revision: kv.ModRevision, Lease: kv.Lease}
			continue
		}
		read = append(read, name)
	}
	for names := range slices.Chunk(read, batchOps) {
		ops := make([]clientv3.Op, len(names))
		for i, name := range names {
			ops[i] = clientv3.OpGet(prefix + name)
		}
		r, err := s.kv.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return nil, fmt.Errorf("store: replicas: %w", err)
		}
		for i, name := range names {
			if kvs := r.Responses[i].GetResponseRange().GetKvs(); len(kvs) == 1 { // else it has gone since
				told[name] = Told{Value: append([]byte{}, kvs[0].Value...), Revision: kvs[0].ModRevision, Lease: kvs[0].Lease}
			}
		}
	}
	return told, nil
}

// WatchTold is Watch for what control planes tell each other.
func (s *Store) WatchTold(ctx context.Context) <-chan struct{} {
	return s.watch(ctx, s.keys.replicas(), clientv3.WithPrefix())
}
