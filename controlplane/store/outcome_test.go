package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// errLost is what a client sees when the answer did not come.
var errLost = status.Error(codes.Unavailable, "the connection broke")

// once calls f for the first transaction that writes the change record of a
// revision.
func once(s *Store, revision uint64, f func(hookedTxn) error) func(hookedTxn) error {
	done := false
	return func(x hookedTxn) error {
		if done || !x.writes(s.keys.change(revision)) {
			return nil
		}
		done = true
		return f(x)
	}
}

func hooked(t *testing.T, prefix string) (*Store, *hookKV) {
	hook := &hookKV{}
	return open(t, prefix, func(s *setup) { s.hook = hook }), hook
}

func TestACommitWhoseAnswerWasLostIsFound(t *testing.T) {
	for name, lost := range map[string]error{
		"connection": errLost,
		"timeout":    context.DeadlineExceeded,
		"full":       status.Error(codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
	} {
		t.Run(name, func(t *testing.T) {
			prefix := newPrefix(t)
			s, hook := hooked(t, prefix)
			base := current(t, s)
			hook.after = once(s, 1, func(hookedTxn) error { return lost })
			got := commit(t, s, base, routes(tree.Tree{}, 5, "first"))
			intact(t, prefix, got)
			// What was found is a base like any other.
			intact(t, prefix, commit(t, s, got, routes(tree.Tree{}, 5, "second")))
		})
	}
}

func TestACommitIsFoundThoughOthersFollowed(t *testing.T) {
	prefix := newPrefix(t)
	s, hook := hooked(t, prefix)
	other := open(t, prefix, nil)
	base := current(t, s)
	hook.after = once(s, 1, func(hookedTxn) error {
		commit(t, other, current(t, other), routes(tree.Tree{}, 7, "other"))
		return errLost
	})
	got := commit(t, s, base, routes(tree.Tree{}, 5, "first"))
	if got.Revision != 1 {
		t.Fatalf("revision %d, want 1", got.Revision)
	}
	if _, err := s.Commit(t.Context(), got, tree.Tree{}, Meta{}); !errors.Is(err, ErrConflict) {
		t.Fatalf("commit on what is no longer the head: %v", err)
	}
}

func TestACommitThatWasNeverSentIsNotApplied(t *testing.T) {
	prefix := newPrefix(t)
	s, hook := hooked(t, prefix)
	other := open(t, prefix, nil)
	base, seen := current(t, s), current(t, other)
	hook.before = once(s, 1, func(hookedTxn) error { return errLost })
	_, err := s.Commit(t.Context(), base, routes(tree.Tree{}, 5, "first"), Meta{})
	if err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrUnknown) || !errors.Is(err, errLost) {
		t.Fatalf("the error is %v", err)
	}
	sameConfiguration(t, current(t, other), base)
	// The head was written anew with its old value, which is nobody's conflict.
	commit(t, other, seen, routes(tree.Tree{}, 3, "other"))
}

// The caller gave up, but the transaction is still on its way.
func TestALateTransactionDoesNotWin(t *testing.T) {
	prefix := newPrefix(t)
	s, hook := hooked(t, prefix)
	base := current(t, s)
	var late hookedTxn
	hook.before = once(s, 1, func(x hookedTxn) error {
		late = x
		return context.DeadlineExceeded
	})
	_, err := s.Commit(t.Context(), base, routes(tree.Tree{}, 5, "first"), Meta{})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnknown) {
		t.Fatalf("the error is %v", err)
	}
	r, err := late.Txn.Commit()
	if err != nil {
		t.Fatal(err)
	}
	if r.Succeeded {
		t.Fatal("the transaction that was called not applied was applied")
	}
	intact(t, prefix, base)
}

func TestACommitThatLostIsAConflict(t *testing.T) {
	prefix := newPrefix(t)
	s, hook := hooked(t, prefix)
	other := open(t, prefix, nil)
	base := current(t, s)
	hook.before = once(s, 1, func(hookedTxn) error {
		commit(t, other, current(t, other), routes(tree.Tree{}, 7, "other"))
		return errLost
	})
	_, err := s.Commit(t.Context(), base, routes(tree.Tree{}, 5, "first"), Meta{})
	if !errors.Is(err, ErrConflict) {
		t.Fatalf("the error is %v", err)
	}
}

func TestAnOutcomeThatCannotBeAskedForIsUnknown(t *testing.T) {
	prefix := newPrefix(t)
	s, hook := hooked(t, prefix)
	base := current(t, s)
	gone := false
	hook.before = func(x hookedTxn) error {
		gone = gone || x.writes(s.keys.change(1))
		if gone {
			return errLost
		}
		return nil
	}
	_, err := s.Commit(t.Context(), base, routes(tree.Tree{}, 5, "first"), Meta{})
	if !errors.Is(err, ErrUnknown) || errors.Is(err, ErrConflict) {
		t.Fatalf("the error is %v", err)
	}
}

func TestACancelledCommitIsNotApplied(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	base := current(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Commit(ctx, base, routes(tree.Tree{}, 500, "first"), Meta{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("the error is %v", err)
	}
	intact(t, prefix, base)
}

func TestAFailedBatchOfBlobsEndsTheCommit(t *testing.T) {
	prefix := newPrefix(t)
	s, hook := hooked(t, prefix)
	base := current(t, s)
	var batches atomic.Int64
	hook.before = func(x hookedTxn) error {
		for _, op := range x.then {
			if op.IsPut() {
				batches.Add(1)
				return errLost
			}
		}
		return nil
	}
	_, err := s.Commit(t.Context(), base, routes(tree.Tree{}, 5000, "first"), Meta{})
	if !errors.Is(err, errLost) {
		t.Fatalf("the error is %v", err)
	}
	if n := batches.Load(); n > 2*batchesInFlight {
		t.Errorf("%d batches were tried, the first failed", n)
	}
	hook.before = nil
	intact(t, prefix, base)
}

// A transaction has no more than the two operations that DESIGN promises, and a
// batch of blobs stays within the limits.
func TestTransactionsStayWithinStockLimits(t *testing.T) {
	prefix := newPrefix(t)
	s, hook := hooked(t, prefix)
	base := current(t, s)
	swaps := 0
	hook.before = func(x hookedTxn) error {
		size := 0
		for _, op := range x.then {
			size += len(op.KeyBytes()) + len(op.ValueBytes())
		}
		if len(x.then) > batchOps || size > batchBytes+maxResourceBytes {
			return fmt.Errorf("%d operations of %d bytes", len(x.then), size)
		}
		if x.writes(s.keys.head()) {
			swaps++
			if len(x.then) != 2 || !x.writes(s.keys.change(1)) {
				return fmt.Errorf("the head moves in a transaction of %d operations", len(x.then))
			}
		}
		return nil
	}
	commit(t, s, base, routes(tree.Tree{}, 1000, "first"))
	if swaps != 1 {
		t.Fatalf("the head was written %d times", swaps)
	}
}

var _ clientv3.Txn = (*hookedTxn)(nil)

// TestAChangeOfANodeWhoseAnswerWasLostIsFound: etcd elected another leader meanwhile, say.
// Who drained a node must not be told that nothing was changed.
func TestAChangeOfANodeWhoseAnswerWasLostIsFound(t *testing.T) {
	for name, lost := range map[string]error{"connection": errLost, "timeout": context.DeadlineExceeded} {
		t.Run(name, func(t *testing.T) {
			s, hook := hooked(t, newPrefix(t))
			fails := false
			hook.after = func(x hookedTxn) error {
				if !fails && x.writes(s.keys.fleet()) {
					fails = true
					return lost
				}
				return nil
			}
			record := &fleetv1.NodeRecord{NodeId: "a"}
			seen := int64(0)
			for range 2 {
				record.Spec = &fleetv1.Node{Drained: new(seen != 0)}
				now, err := s.PutNode(t.Context(), record, seen)
				if err != nil || !fails {
					t.Fatal(err)
				}
				if _, found, err := s.Node(t.Context(), "a"); err != nil || found != now {
					t.Errorf("number %d, %v; etcd has %d", now, err, found)
				}
				seen, fails = now, false
			}
			if err := s.DeleteNode(t.Context(), "a"); err != nil || !fails {
				t.Error(err)
			}
			fails = false
			if err := s.PutExpectedList(t.Context(), &fleetv1.ListRecord{Revision: 1}, 0); err != nil || !fails {
				t.Error(err)
			}
		})
	}
}

// TestAChangeOfANodeThatWasNotAppliedIsNotAppliedLater either.
func TestAChangeOfANodeThatWasNotAppliedIsNotAppliedLater(t *testing.T) {
	s, hook := hooked(t, newPrefix(t))
	for _, record := range []*fleetv1.NodeRecord{{NodeId: "a"}, {NodeId: "b"}} { // the first of all, and another one
		var late *hookedTxn
		hook.before = func(x hookedTxn) error {
			if late == nil && x.writes(s.keys.node(record.GetNodeId())) {
				late = &x
				return errLost
			}
			return nil
		}
		_, err := s.PutNode(t.Context(), record, 0)
		if !errors.Is(err, errLost) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrConflict) {
			t.Fatalf("the error is %v", err)
		}
		if r, err := late.Txn.Commit(); err != nil || r.Succeeded {
			t.Fatalf("what was called not applied was applied: %v", err)
		}
		if _, err := s.PutNode(t.Context(), record, 0); err != nil {
			t.Error(err)
		}
	}
}

func TestAChangeOfANodeThatCannotBeAskedForIsUnknown(t *testing.T) {
	s, hook := hooked(t, newPrefix(t))
	gone := false
	hook.before = func(x hookedTxn) error {
		if gone = gone || x.writes(s.keys.node("a")); gone {
			return errLost
		}
		return nil
	}
	if _, err := s.PutNode(t.Context(), &fleetv1.NodeRecord{NodeId: "a"}, 0); !errors.Is(err, ErrUnknown) {
		t.Errorf("the error is %v", err)
	}
	gone = false
	hook.before = nil
	e, err := s.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hook.after = func(x hookedTxn) error {
		if x.writes(s.keys.epoch()) {
			return errLost
		}
		return nil
	}
	if e, err = s.AcceptEpoch(t.Context(), e.Number); err != nil || !e.Accepted {
		t.Errorf("an acceptance whose answer was lost: %+v, %v", e, err)
	}
}
