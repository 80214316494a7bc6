package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// stuckKV takes requests and answers none, from the first on that it is asked to be stuck by.
type stuckKV struct {
	clientv3.KV
	by    func(ops []clientv3.Op) bool // nil: by every one
	stuck atomic.Bool
}

func (k *stuckKV) takes(ops []clientv3.Op) bool {
	if k.by == nil || k.by(ops) {
		k.stuck.Store(true)
	}
	return !k.stuck.Load()
}

func (k *stuckKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if !k.takes(nil) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return k.KV.Get(ctx, key, opts...)
}

func (k *stuckKV) Txn(ctx context.Context) clientv3.Txn {
	return &stuckTxn{Txn: k.KV.Txn(ctx), kv: k, ctx: ctx}
}

type stuckTxn struct {
	clientv3.Txn
	kv  *stuckKV
	ctx context.Context //nolint:containedctx // as the Txn has it
	ops []clientv3.Op
}

func (t *stuckTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	t.Txn = t.Txn.If(cs...)
	return t
}

func (t *stuckTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.Txn, t.ops = t.Txn.Then(ops...), ops
	return t
}

func (t *stuckTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.Txn = t.Txn.Else(ops...)
	return t
}

func (t *stuckTxn) Commit() (*clientv3.TxnResponse, error) {
	if !t.kv.takes(t.ops) {
		<-t.ctx.Done()
		return nil, t.ctx.Err()
	}
	return t.Txn.Commit()
}

// putting is by: from the first request on that puts the key.
func putting(key string) func([]clientv3.Op) bool {
	return func(ops []clientv3.Op) bool { return hookedTxn{then: ops}.writes(key) }
}

func TestAnEtcdThatAnswersNothingIsGivenUp(t *testing.T) {
	node := &fleetv1.NodeRecord{NodeId: "n"}
	for name, c := range map[string]struct {
		by      func(s *Store) func([]clientv3.Op) bool
		ask     func(ctx context.Context, s *Store, base Configuration) error
		unknown bool
	}{
		"read": {
			ask: func(ctx context.Context, s *Store, _ Configuration) error { _, err := s.Current(ctx); return err },
		},
		"read a node": {
			ask: func(ctx context.Context, s *Store, _ Configuration) error { _, _, err := s.Node(ctx, "n"); return err },
		},
		"commit": {
			by: func(s *Store) func([]clientv3.Op) bool { return putting(s.keys.change(1)) },
			ask: func(ctx context.Context, s *Store, base Configuration) error {
				_, err := s.Commit(ctx, base, routes(tree.Tree{}, 5, "first"), Meta{})
				return err
			},
			unknown: true,
		},
		"put a node": {
			by: func(s *Store) func([]clientv3.Op) bool { return putting(s.keys.node("n")) },
			ask: func(ctx context.Context, s *Store, _ Configuration) error {
				_, err := s.PutNode(ctx, node, 0)
				return err
			},
			unknown: true,
		},
		"delete a node": {
			ask: func(ctx context.Context, s *Store, _ Configuration) error { return s.DeleteNode(ctx, "n") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, newPrefix(t), nil)
			base := current(t, s)
			stuck := &stuckKV{KV: client.KV}
			if c.by != nil {
				stuck.by = c.by(s)
			}
			// In time what comes before is answered, though a disk may be busy.
			s.kv, s.outcomeTimeout = prompt{stuck, time.Second}, 100*time.Millisecond
			// The caller has much more time than it takes.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := c.ask(ctx, s, base)
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnknown) != c.unknown || ctx.Err() != nil {
				t.Errorf("%v (the caller: %v)", err, ctx.Err())
			}
		})
	}
	if s := open(t, newPrefix(t), nil); s.kv != (prompt{client.KV, answerTimeout}) {
		t.Errorf("requests of a store are not bounded: %+v", s.kv)
	}
}
