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

// faultyKV fails one request, of which etcd never hears.
type faultyKV struct {
	kv
	fails int64 // its number, from 1
	seen  atomic.Int64
}

func (k *faultyKV) next() error {
	if k.seen.Add(1) == k.fails {
		return errLost
	}
	return nil
}

// came says whether there was a request of that number.
func (k *faultyKV) came() bool { return k.seen.Load() >= k.fails }

func (k *faultyKV) Get(ctx context.Context, key string, o ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := k.next(); err != nil {
		return nil, err
	}
	return k.kv.Get(ctx, key, o...)
}

func (k *faultyKV) Put(ctx context.Context, key, value string, o ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	if err := k.next(); err != nil {
		return nil, err
	}
	return k.kv.Put(ctx, key, value, o...)
}

func (k *faultyKV) Delete(ctx context.Context, key string, o ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	if err := k.next(); err != nil {
		return nil, err
	}
	return k.kv.Delete(ctx, key, o...)
}

func (k *faultyKV) Txn(ctx context.Context) clientv3.Txn {
	return &hookedTxn{Txn: k.kv.Txn(ctx), kv: &hookKV{before: func(hookedTxn) error { return k.next() }}}
}

// mostRequests is more than any call of these tests makes.
const mostRequests = 100

// eachRequest lets each request of a call fail in turn. The call gets a store that knows
// nothing yet.
func eachRequest(t *testing.T, open func() *Store, call func(s *Store, failed func() bool)) {
	t.Helper()
	for n := int64(1); ; n++ {
		s := open()
		faulty := &faultyKV{kv: s.kv, fails: n}
		s.kv = faulty
		call(s, faulty.came)
		if !faulty.came() {
			return
		}
		if n == mostRequests {
			t.Fatalf("more than %d requests", n)
		}
	}
}

// TestWhoReadsTheHistoryKeepsNobodyFromTheHead, which all nodes wait for.
func TestWhoReadsTheHistoryKeepsNobodyFromTheHead(t *testing.T) {
	prefix := newPrefix(t)
	writer := open(t, prefix, nil)
	first := commit(t, writer, current(t, writer), routes(tree.Tree{}, 20, "first"))
	head := commit(t, writer, first, routes(first.Tree, 20, "second"))
	began, goOn := make(chan struct{}), make(chan struct{})
	hook := &hookKV{}
	reader := open(t, prefix, func(s *setup) { s.hook = hook })
	var reads atomic.Int64
	hook.before = func(hookedTxn) error {
		if reads.Add(1) == 2 { // behind the change record the tree
			close(began)
			<-goOn
		}
		return nil
	}
	read := make(chan error, 1)
	go func() {
		at, _, err := reader.At(t.Context(), 1)
		if err == nil && at.Root() != first.Root() {
			err = errors.New("another tree")
		}
		read <- err
	}()
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if now, err := reader.Current(ctx); err != nil || now.Root() != head.Root() {
		t.Errorf("revision %d, %v", now.Revision, err)
	}
	close(goOn)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// TestWhatEtcdDoesNotAnswerIsNotTakenForNothing: an empty list of members, or a record of
// session tickets that is not there, would be made anew.
func TestWhatEtcdDoesNotAnswerIsNotTakenForNothing(t *testing.T) {
	prefix, key := newPrefix(t), newSealKey(t)
	s := open(t, prefix, withSeal(key))
	first := commit(t, s, current(t, s), routes(tree.Tree{}, 20, "first"))
	head := commit(t, s, first, routes(first.Tree, 20, "second"))
	seen, err := s.PutNode(t.Context(), &fleetv1.NodeRecord{NodeId: "a"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		s.PutExpectedList(t.Context(), &fleetv1.ListRecord{Revision: 1}, 0),
		s.PutTicketKeys(t.Context(), &fleetv1.TicketKeyRecord{Revision: 1}, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range map[string]func(ctx context.Context, s *Store) (right bool, err error){
		"Current": func(ctx context.Context, s *Store) (bool, error) {
			got, err := s.Current(ctx)
			return got.Revision == 2 && got.Root() == head.Root(), err
		},
		"At": func(ctx context.Context, s *Store) (bool, error) {
			got, _, err := s.At(ctx, 1)
			return got.Root() == first.Root(), err
		},
		"History": func(ctx context.Context, s *Store) (bool, error) {
			got, err := s.History(ctx, 0, 0)
			return len(got) == 2, err
		},
		"Epoch": func(ctx context.Context, s *Store) (bool, error) {
			got, err := s.Epoch(ctx)
			return got.Number == head.Epoch, err
		},
		"NewEpoch": func(ctx context.Context, s *Store) (bool, error) {
			got, err := s.NewEpoch(ctx, head.Epoch-1)
			return got == head.Epoch, err
		},
		"Nodes": func(ctx context.Context, s *Store) (bool, error) {
			got, revision, err := s.Nodes(ctx)
			return len(got) == 1 && revision > 0, err
		},
		"Node": func(ctx context.Context, s *Store) (bool, error) {
			got, mod, err := s.Node(ctx, "a")
			return got.GetNodeId() == "a" && mod == seen, err
		},
		"ExpectedList": func(ctx context.Context, s *Store) (bool, error) {
			got, mod, err := s.ExpectedList(ctx)
			return got.GetRevision() == 1 && mod > 0, err
		},
		"TicketKeys": func(ctx context.Context, s *Store) (bool, error) {
			got, mod, err := s.TicketKeys(ctx)
			return got.GetRevision() == 1 && mod > 0, err
		},
		"establish": func(ctx context.Context, s *Store) (bool, error) { return true, s.establish(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			eachRequest(t, func() *Store { return open(t, prefix, withSeal(key)) }, func(s *Store, failed func() bool) {
				right, err := call(t.Context(), s)
				switch {
				case failed() && (!errors.Is(err, errLost) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged)):
					t.Errorf("a request failed, and the error is %v", err)
				case !failed() && (err != nil || !right):
					t.Errorf("all requests were answered: right %v, %v", right, err)
				}
			})
		})
	}
}

// TestACollectionThatFailsAnywhereLosesNothing that is needed: what it could not read it
// must not take for what nobody needs.
func TestACollectionThatFailsAnywhereLosesNothing(t *testing.T) {
	var prefix string
	var head Configuration
	prepare := func() *Store {
		prefix = newPrefix(t)
		writer := open(t, prefix, nil)
		head = current(t, writer)
		for _, edition := range []string{"first", "second", "third"} {
			head = commit(t, writer, head, routes(head.Tree, 20, edition))
		}
		abandon(t, writer, head.Tree, routes(head.Tree, 20, "orphan"))
		s := sweeper(t, prefix, nil)
		s.options.HistoryChanges = 2
		return s
	}
	eachRequest(t, prepare, func(s *Store, failed func() bool) {
		c, err := s.CollectGarbage(t.Context())
		if failed() != errors.Is(err, errLost) || !failed() && (err != nil || c.Blobs == 0 || c.Changes != 1) {
			t.Errorf("a request failed: %v; %+v, %v", failed(), c, err)
		}
		intact(t, prefix, head)
		fresh := open(t, prefix, nil)
		history, err := fresh.History(t.Context(), 0, 0)
		if err != nil || len(history) < 2 {
			t.Fatalf("%d changes, %v", len(history), err)
		}
		for _, change := range history {
			if _, _, err := fresh.At(t.Context(), change.GetRevision()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestACommitThatFailsAnywhereTookPlaceOrDidNot, and its error says which.
func TestACommitThatFailsAnywhereTookPlaceOrDidNot(t *testing.T) {
	var prefix string
	var base Configuration
	prepare := func() *Store {
		prefix = newPrefix(t)
		writer := open(t, prefix, nil)
		base = commit(t, writer, current(t, writer), routes(tree.Tree{}, 20, "first"))
		return open(t, prefix, nil)
	}
	eachRequest(t, prepare, func(s *Store, failed func() bool) {
		next := routes(base.Tree, 250, "second")
		got, err := s.Commit(t.Context(), base, next, Meta{})
		switch {
		case err == nil:
			intact(t, prefix, got)
		case !failed() || !errors.Is(err, errLost) || errors.Is(err, ErrUnknown):
			t.Error(err)
		default:
			intact(t, prefix, base)
		}
	})
}

// TestOfTwoSealKeysTheFirstIsTheStores, also where both were read as missing: what is sealed
// under the other could be read by nobody else.
func TestOfTwoSealKeysTheFirstIsTheStores(t *testing.T) {
	prefix, key := newPrefix(t), newSealKey(t)
	s := open(t, prefix, withSeal(key))
	record, err := s.seal(t.Context(), newSealKey(t).ID())
	if err != nil || record.GetKeyId() != key.ID() {
		t.Errorf("sealed under %q, %v", record.GetKeyId(), err)
	}
	if id, err := SealedUnder(t.Context(), client, prefix); err != nil || id != key.ID() {
		t.Errorf("sealed under %q, %v", id, err)
	}
}
