package store

import (
	"context"
	"fmt"
	"iter"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

const (
	// Stock etcd takes 128 operations and 1.5 MiB a request.
	batchOps   = 100
	batchBytes = 1 << 20
	// batchesInFlight lets etcd sync several batches to disk at once, without
	// taking it from others.
	batchesInFlight = 4
)

// putBlobs writes blobs, whether or not they are there: what is written anew is
// young, and a garbage collection that saw the old one lets it be. Those of the
// secret hashes are sealed, each time anew.
func (s *Store) putBlobs(ctx context.Context, blobs iter.Seq2[tree.Hash, []byte], secrets map[tree.Hash]struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := newPool(ctx, cancel)
	seen := make(map[tree.Hash]struct{}) // etcd refuses a key twice in a request
	var batch []clientv3.Op
	size := 0
	flush := func() {
		if ops := batch; len(ops) > 0 {
			p.run(func() error {
				_, err := s.kv.Txn(ctx).Then(ops...).Commit()
				return err
			})
		}
		batch, size = nil, 0
	}
	for h, b := range blobs {
		if ctx.Err() != nil {
			p.fail(context.Cause(ctx)) // what is not written must not look written
			break
		}
		if _, twice := seen[h]; twice {
			continue
		}
		seen[h] = struct{}{}
		_, secret := secrets[h]
		e, err := s.envelope(h, b, secret)
		var envelope string
		if err == nil {
			envelope, err = marshal(e)
		}
		if err != nil {
			p.fail(err)
			break
		}
		key := s.keys.blob(h)
		if n := len(key) + len(envelope); len(batch) == batchOps || size+n > batchBytes {
			flush()
		}
		batch = append(batch, clientv3.OpPut(key, envelope))
		size += len(key) + len(envelope)
	}
	flush()
	return p.wait()
}

// getBlobs reads the plain bytes of blobs, in the order of their hashes.
func (s *Store) getBlobs(ctx context.Context, hashes []tree.Hash) ([][]byte, error) {
	blobs := make([][]byte, len(hashes))
	err := s.readBlobs(ctx, hashes, func(i int, kv *blobValue) error {
		if kv == nil {
			return fmt.Errorf("%w: blob %s is missing", ErrDamaged, hashes[i])
		}
		var err error
		blobs[i], err = s.open(hashes[i], kv.envelope)
		return err
	})
	return blobs, err
}

// blobValue is a blob as etcd has it.
type blobValue struct {
	mod      int64
	envelope *fleetv1.Envelope
}

// readBlobs calls visit for each hash, from several goroutines but once for each
// index, with nil for what is not there.
func (s *Store) readBlobs(ctx context.Context, hashes []tree.Hash, visit func(int, *blobValue) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := newPool(ctx, cancel)
	for from := 0; from < len(hashes); from += batchOps {
		to := min(from+batchOps, len(hashes))
		p.run(func() error { return s.readBatch(ctx, hashes[from:to], from, visit) })
	}
	return p.wait()
}

func (s *Store) readBatch(ctx context.Context, hashes []tree.Hash, from int, visit func(int, *blobValue) error) error {
	ops := make([]clientv3.Op, len(hashes))
	for i, h := range hashes {
		ops[i] = clientv3.OpGet(s.keys.blob(h))
	}
	r, err := s.kv.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return err
	}
	for i, h := range hashes {
		var v *blobValue
		if kvs := r.Responses[i].GetResponseRange().GetKvs(); len(kvs) == 1 {
			v = &blobValue{mod: kvs[0].ModRevision, envelope: &fleetv1.Envelope{}}
			if err := proto.Unmarshal(kvs[0].Value, v.envelope); err != nil {
				return fmt.Errorf("%w: blob %s: %w", ErrDamaged, h, err)
			}
		}
		if err := visit(from+i, v); err != nil {
			return err
		}
	}
	return nil
}

// pool runs a bounded number of requests at a time. The first error ends all.
type pool struct {
	// immutable
	ctx    context.Context
	cancel context.CancelCauseFunc
	slots  chan struct{}
	wg     sync.WaitGroup

	mu  sync.Mutex
	err error // guarded by mu
}

func newPool(ctx context.Context, cancel context.CancelCauseFunc) *pool {
	return &pool{ctx: ctx, cancel: cancel, slots: make(chan struct{}, batchesInFlight)}
}

// run waits for a slot; after an error it does nothing.
func (p *pool) run(request func() error) {
	if p.ctx.Err() != nil {
		p.fail(context.Cause(p.ctx))
		return
	}
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
		p.fail(context.Cause(p.ctx))
		return
	}
	p.wg.Go(func() {
		defer func() { <-p.slots }()
		if err := request(); err != nil {
			p.fail(err)
		}
	})
}

func (p *pool) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
		p.cancel(err)
	}
}

func (p *pool) wait() error {
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
