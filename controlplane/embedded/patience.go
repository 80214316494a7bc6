package embedded

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// patience is a KV whose calls end with their contexts, as those of an etcd elsewhere do.
// The server that is called by function looks at the context while a request goes through
// its log, and not while its file is written anew: then reads wait for seconds, and with
// them whoever asks with a time in mind, such as a probe. What such a call began goes on
// without it.
type patience struct{ clientv3.KV }

func (p patience) Put(ctx context.Context, key, val string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	return until(ctx, func() (*clientv3.PutResponse, error) { return p.KV.Put(ctx, key, val, opts...) })
}

func (p patience) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return until(ctx, func() (*clientv3.GetResponse, error) { return p.KV.Get(ctx, key, opts...) })
}

func (p patience) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	return until(ctx, func() (*clientv3.DeleteResponse, error) { return p.KV.Delete(ctx, key, opts...) })
}

func (p patience) Compact(ctx context.Context, rev int64, opts ...clientv3.CompactOption) (*clientv3.CompactResponse, error) {
	return until(ctx, func() (*clientv3.CompactResponse, error) { return p.KV.Compact(ctx, rev, opts...) })
}

func (p patience) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	return until(ctx, func() (clientv3.OpResponse, error) { return p.KV.Do(ctx, op) })
}

func (p patience) Txn(ctx context.Context) clientv3.Txn { return patientTxn{ctx, p.KV.Txn(ctx)} }

type patientTxn struct {
	ctx context.Context //nolint:containedctx // as the Txn has it
	clientv3.Txn
}

func (t patientTxn) If(cs ...clientv3.Cmp) clientv3.Txn { return patientTxn{t.ctx, t.Txn.If(cs...)} }

func (t patientTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	return patientTxn{t.ctx, t.Txn.Then(ops...)}
}

func (t patientTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	return patientTxn{t.ctx, t.Txn.Else(ops...)}
}

func (t patientTxn) Commit() (*clientv3.TxnResponse, error) {
	return until(t.ctx, t.Txn.Commit)
}

// until calls, and gives up when ctx ends.
func until[R any](ctx context.Context, call func() (R, error)) (R, error) {
	type answer struct {
		r   R
		err error
	}
	done := make(chan answer, 1)
	go func() {
		r, err := call()
		done <- answer{r, err}
	}()
	select {
	case a := <-done:
		return a.r, a.err
	case <-ctx.Done():
		var none R
		return none, ctx.Err()
	}
}
