package store

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// answerTimeout bounds one request to etcd. One that works says by itself, after 7 s, that
// it cannot do what it is asked for; one whose file is written anew says nothing meanwhile.
const answerTimeout = 20 * time.Second

// kv is what the store asks of etcd.
type kv interface {
	Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error)
	Put(ctx context.Context, key, val string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error)
	Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error)
	Txn(ctx context.Context) clientv3.Txn
}

// prompt is a kv each of whose requests ends in time. An etcd that takes requests and
// answers none, as a stopped process or a hanging disk makes it, would hold its callers for
// as long as they have, and a change of 100,000 resources has long.
type prompt struct {
	kv    kv
	limit time.Duration
}

func (p prompt) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	return p.kv.Get(ctx, key, opts...)
}

func (p prompt) Put(ctx context.Context, key, val string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	return p.kv.Put(ctx, key, val, opts...)
}

func (p prompt) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	return p.kv.Delete(ctx, key, opts...)
}

func (p prompt) Txn(ctx context.Context) clientv3.Txn {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	return promptTxn{p.kv.Txn(ctx), cancel}
}

// promptTxn is committed once, or lets its timer go when that fires.
type promptTxn struct {
	clientv3.Txn
	cancel context.CancelFunc
}

func (t promptTxn) If(cs ...clientv3.Cmp) clientv3.Txn { return promptTxn{t.Txn.If(cs...), t.cancel} }

func (t promptTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	return promptTxn{t.Txn.Then(ops...), t.cancel}
}

func (t promptTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	return promptTxn{t.Txn.Else(ops...), t.cancel}
}

func (t promptTxn) Commit() (*clientv3.TxnResponse, error) {
	defer t.cancel()
	return t.Txn.Commit()
}
