package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/proxyfleet/proxyfleet/controlplane/embedded/embeddedtest"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// client is the etcd of all tests, each of which has a prefix of its own.
var client *clientv3.Client

func TestMain(m *testing.M) {
	os.Exit(embeddedtest.Main(m, func(c *clientv3.Client) { client = c }))
}

// setup is what a test of a store needs.
type setup struct {
	options Options
	hook    *hookKV // nil: none
}

func newPrefix(t testing.TB) string {
	return fmt.Sprintf("/%s/%d/", t.Name(), time.Now().UnixNano())
}

// open opens a replica of the store below a prefix.
func open(t testing.TB, prefix string, change func(*setup)) *Store {
	t.Helper()
	var set setup
	set.options.Prefix = prefix
	if change != nil {
		change(&set)
	}
	s, err := Open(t.Context(), client, set.options)
	if err != nil {
		t.Fatal(err)
	}
	if set.hook != nil {
		set.hook.KV = client.KV
		s.kv = set.hook
	}
	return s
}

func current(t testing.TB, s *Store) Configuration {
	t.Helper()
	c, err := s.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func commit(t testing.TB, s *Store, base Configuration, next tree.Tree) Configuration {
	t.Helper()
	c, err := s.Commit(t.Context(), base, next, Meta{Author: "test", Message: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func routeKey(i int) tree.Key { return tree.Key{Kind: "Route", Name: fmt.Sprintf("route-%d", i)} }

// routes sets n routes whose bodies tell their number and the edition.
func routes(base tree.Tree, n int, edition string) tree.Tree {
	for i := range n {
		base = base.Set(routeKey(i), fmt.Appendf(nil, "%s of route %d", edition, i))
	}
	return base
}

// sameConfiguration compares all that a reader sees, the bytes included.
func sameConfiguration(t testing.TB, got, want Configuration) {
	t.Helper()
	if got.Epoch != want.Epoch || got.Revision != want.Revision || got.Root() != want.Root() {
		t.Fatalf("got revision %d/%d with root %s, want %d/%d with %s",
			got.Epoch, got.Revision, got.Root(), want.Epoch, want.Revision, want.Root())
	}
	if got.Tree.Len() != want.Tree.Len() {
		t.Fatalf("got %d resources, want %d", got.Tree.Len(), want.Tree.Len())
	}
	for l := range want.Tree.All() {
		if g, ok := got.Tree.Get(l.Key); !ok || !bytes.Equal(g.Bytes, l.Bytes) {
			t.Fatalf("%s is %q, want %q", l.Key, g.Bytes, l.Bytes)
		}
	}
}

// intact holds that a replica that knows nothing reads the same from etcd alone.
func intact(t testing.TB, prefix string, want Configuration) {
	t.Helper()
	sameConfiguration(t, current(t, open(t, prefix, nil)), want)
}

// hookKV looks at the transactions of a store and spoils them.
type hookKV struct {
	clientv3.KV
	// before is called with the operations of a transaction; what it returns is
	// the transaction's error, and etcd never hears of it. A nil hook does nothing.
	before func(hookedTxn) error
	// after is the same, when etcd has done it.
	after func(hookedTxn) error
	gets  atomic.Int64 // operations of transactions that read
}

type hookedTxn struct {
	clientv3.Txn
	kv   *hookKV
	then []clientv3.Op
}

func (k *hookKV) Txn(ctx context.Context) clientv3.Txn {
	return &hookedTxn{Txn: k.KV.Txn(ctx), kv: k}
}

func (x *hookedTxn) If(c ...clientv3.Cmp) clientv3.Txn {
	x.Txn = x.Txn.If(c...)
	return x
}

func (x *hookedTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	x.then = ops
	x.Txn = x.Txn.Then(ops...)
	return x
}

func (x *hookedTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	x.Txn = x.Txn.Else(ops...)
	return x
}

func (x *hookedTxn) Commit() (*clientv3.TxnResponse, error) {
	for _, op := range x.then {
		if op.IsGet() {
			x.kv.gets.Add(1)
		}
	}
	if x.kv.before != nil {
		if err := x.kv.before(*x); err != nil {
			return nil, err
		}
	}
	r, err := x.Txn.Commit()
	if err == nil && x.kv.after != nil {
		if err := x.kv.after(*x); err != nil {
			return nil, err
		}
	}
	return r, err
}

// writes reports whether the transaction puts a key.
func (x hookedTxn) writes(key string) bool {
	for _, op := range x.then {
		if op.IsPut() && string(op.KeyBytes()) == key {
			return true
		}
	}
	return false
}

func TestANewStoreIsEmpty(t *testing.T) {
	prefix := newPrefix(t)
	first := current(t, open(t, prefix, nil))
	if first.Revision != 0 || first.Tree.Len() != 0 || first.Root() != tree.EmptyRoot() {
		t.Fatalf("revision %d with %d resources", first.Revision, first.Tree.Len())
	}
	if age := time.Since(time.UnixMilli(int64(first.Epoch))); age < 0 || age > time.Minute {
		t.Fatalf("the epoch is %d", first.Epoch)
	}
	again := current(t, open(t, prefix, nil))
	sameConfiguration(t, again, first)
}

func TestAReplicaReadsWhatAnotherCommitted(t *testing.T) {
	prefix := newPrefix(t)
	a, b := open(t, prefix, nil), open(t, prefix, nil)
	one := commit(t, a, current(t, a), routes(tree.Tree{}, 10, "first"))
	if one.Revision != 1 {
		t.Fatalf("the first commit has revision %d", one.Revision)
	}
	sameConfiguration(t, current(t, b), one)
	two := commit(t, b, current(t, b), one.Tree.Delete(routeKey(3)).Set(routeKey(4), []byte("second")))
	sameConfiguration(t, current(t, a), two)
	three := commit(t, a, two, tree.Tree{}.Set(routeKey(1), []byte("alone"))) // on a base of another replica
	sameConfiguration(t, current(t, b), three)
	four := commit(t, a, three, tree.Tree{})
	sameConfiguration(t, current(t, b), four)
	intact(t, prefix, four)
}

func TestTwoThousandResourcesAreOneRevision(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	begin := time.Now()
	got := commit(t, s, current(t, s), routes(tree.Tree{}, 2000, "first"))
	t.Logf("commit of 2,000 resources took %v", time.Since(begin))
	if got.Revision != 1 {
		t.Fatalf("revision %d, want 1", got.Revision)
	}
	begin = time.Now()
	intact(t, prefix, got)
	t.Logf("reading them took %v", time.Since(begin))
	history, err := s.History(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(history) != 1 || history[0].GetUpserted() != 2000 || history[0].GetRemoved() != 0 {
		t.Fatalf("the history is %v", history)
	}
}

func TestLargeResourcesFitIntoStockLimits(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	var next tree.Tree
	for i := range 12 {
		next = next.Set(routeKey(i), bytes.Repeat([]byte{byte(i)}, maxResourceBytes))
	}
	base := current(t, s)
	got := commit(t, s, base, next)
	intact(t, prefix, got)
	_, err := s.Commit(t.Context(), got, next.Set(routeKey(3), make([]byte, maxResourceBytes+1)), Meta{})
	if !errors.Is(err, ErrTooLarge) {
		t.Fatalf("one byte more: %v", err)
	}
	for _, m := range []Meta{{Message: string(make([]byte, maxMessageBytes+1))}, {Author: string(make([]byte, maxAuthorBytes+1))}} {
		if _, err := s.Commit(t.Context(), got, tree.Tree{}, m); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("too much said: %v", err)
		}
	}
	intact(t, prefix, got)
}

func TestACommitThatChangesNothingWritesNothing(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	base := commit(t, s, current(t, s), routes(tree.Tree{}, 3, "first"))
	same := commit(t, s, base, routes(tree.Tree{}, 3, "first"))
	sameConfiguration(t, same, base)
	if same.at != base.at {
		t.Fatal("the head was written")
	}
	if same := current(t, s); same.at != base.at {
		t.Fatal("the head was written")
	}
}

func TestOfTwoCommitsOnOneBaseOneWins(t *testing.T) {
	prefix := newPrefix(t)
	stores := []*Store{open(t, prefix, nil), open(t, prefix, nil)}
	for round := range 10 {
		base := current(t, stores[0])
		errs := make([]error, len(stores))
		var wg sync.WaitGroup
		for i, s := range stores {
			wg.Go(func() {
				next := base.Tree.Set(routeKey(i), fmt.Appendf(nil, "round %d", round))
				_, errs[i] = s.Commit(t.Context(), base, next, Meta{})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, ErrConflict):
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d commits won: %v", round, won, errs)
		}
		if now := current(t, stores[1]); now.Revision != base.Revision+1 {
			t.Fatalf("round %d: revision %d after %d", round, now.Revision, base.Revision)
		}
	}
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	const writers, commits = 8, 25
	prefix := newPrefix(t)
	var wg sync.WaitGroup
	for w := range writers {
		s := open(t, prefix, nil)
		wg.Go(func() {
			for i := range commits {
				for {
					base, err := s.Current(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					next := base.Tree.Set(routeKey(w*commits+i), fmt.Appendf(nil, "of writer %d", w))
					_, err = s.Commit(t.Context(), base, next, Meta{Author: fmt.Sprint(w)})
					if err == nil {
						break
					}
					if !errors.Is(err, ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	s := open(t, prefix, nil)
	end := current(t, s)
	if end.Revision != writers*commits || end.Tree.Len() != writers*commits {
		t.Fatalf("revision %d with %d resources, want %d of both", end.Revision, end.Tree.Len(), writers*commits)
	}
	// The history replays to the head.
	before := tree.EmptyRoot()
	for revision := uint64(1); revision <= end.Revision; revision++ {
		at, change, err := s.At(t.Context(), revision)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(change.GetRootBefore(), before[:]) || at.Tree.Len() != int(revision) || change.GetUpserted() != 1 {
			t.Fatalf("revision %d: %d resources, before %x, want before %s", revision, at.Tree.Len(), change.GetRootBefore(), before)
		}
		before = at.Root()
		if !bytes.Equal(change.GetRootAfter(), before[:]) {
			t.Fatalf("revision %d: its tree has root %s", revision, before)
		}
	}
	if before != end.Root() {
		t.Fatalf("the history ends at %s, the head is %s", before, end.Root())
	}
}

func TestRollbackRestoresByteForByte(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	good := commit(t, s, current(t, s), routes(tree.Tree{}, 200, "good"))
	bad := commit(t, s, good, routes(good.Tree, 150, "bad").Delete(routeKey(199)))
	s = open(t, prefix, nil) // who rolls back need not be who wrote
	old, change, err := s.At(t.Context(), good.Revision)
	if err != nil {
		t.Fatal(err)
	}
	if change.GetAuthor() != "test" || change.GetMessage() != t.Name() || change.GetUpserted() != 200 {
		t.Fatalf("the change is %v", change)
	}
	back := commit(t, s, current(t, s), old.Tree)
	if back.Revision != bad.Revision+1 || back.Root() != good.Root() {
		t.Fatalf("revision %d with root %s, want %d with %s", back.Revision, back.Root(), bad.Revision+1, good.Root())
	}
	intact(t, prefix, Configuration{Epoch: good.Epoch, Revision: back.Revision, Tree: good.Tree})
}

func TestAConfigurationOfTheHistoryIsABaseWhileItIsTheHead(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	commit(t, s, current(t, s), routes(tree.Tree{}, 2, "first"))
	at, _, err := s.At(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	two := commit(t, s, at, routes(tree.Tree{}, 2, "second"))
	if two.Revision != 2 {
		t.Fatalf("revision %d, want 2", two.Revision)
	}
	if _, err := s.Commit(t.Context(), at, tree.Tree{}, Meta{}); !errors.Is(err, ErrConflict) {
		t.Fatalf("commit on revision 1 of 2: %v", err)
	}
	forged := current(t, s)
	forged.Tree = tree.Tree{}
	if _, err := s.Commit(t.Context(), forged, routes(tree.Tree{}, 1, "x"), Meta{}); err == nil {
		t.Fatal("a base with another tree is accepted")
	}
	intact(t, prefix, two)
}

func TestCurrentFetchesWhatDiffers(t *testing.T) {
	prefix := newPrefix(t)
	hook := &hookKV{}
	reader := open(t, prefix, func(s *setup) { s.hook = hook })
	writer := open(t, prefix, nil)
	base := commit(t, writer, current(t, writer), routes(tree.Tree{}, 1000, "first"))
	sameConfiguration(t, current(t, reader), base)
	next := commit(t, writer, base, base.Tree.Set(routeKey(500), []byte("changed")))
	hook.gets.Store(0)
	sameConfiguration(t, current(t, reader), next)
	// Three for the head, one for the resource, the rest for its path.
	if gets := hook.gets.Load(); gets > 3+1+4 {
		t.Errorf("%d keys were read after one change", gets)
	}
	hook.gets.Store(0)
	sameConfiguration(t, current(t, reader), next)
	if gets := hook.gets.Load(); gets > 3 {
		t.Errorf("%d keys were read after no change", gets)
	}
	hook.gets.Store(0)
	if _, _, err := reader.At(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if gets := hook.gets.Load(); gets > 3+1+4 {
		t.Errorf("%d keys were read of the revision before", gets)
	}
}

func TestSimultaneousReadersFetchOnce(t *testing.T) {
	prefix := newPrefix(t)
	writer := open(t, prefix, nil)
	head := commit(t, writer, current(t, writer), routes(tree.Tree{}, 500, "first"))
	hook := &hookKV{}
	reader := open(t, prefix, func(s *setup) { s.hook = hook })
	current(t, reader)
	alone := hook.gets.Swap(0) - 3
	reader.remember(tree.Tree{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if c, err := reader.Current(t.Context()); err != nil || c.Root() != head.Root() {
				t.Errorf("read %s: %v", c.Root(), err)
			}
		})
	}
	wg.Wait()
	if gets := hook.gets.Load() - 8*3; gets != alone {
		t.Errorf("eight readers read %d blobs, one reads %d", gets, alone)
	}
}

func TestAMissingBlobIsNamed(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	head := commit(t, s, current(t, s), routes(tree.Tree{}, 20, "first"))
	l, _ := head.Tree.Get(routeKey(7))
	if _, err := client.Delete(t.Context(), s.keys.blob(l.Hash)); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, prefix, nil).Current(t.Context())
	if !errors.Is(err, ErrDamaged) || !bytes.Contains([]byte(err.Error()), []byte(l.Hash.String())) {
		t.Fatalf("a lost blob: %v", err)
	}
	if _, err := client.Put(t.Context(), s.keys.blob(l.Hash), "\x0a\x05other"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, prefix, nil).Current(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a forged blob: %v", err)
	}
}

func BenchmarkCommitOfOneAmong10000(b *testing.B) {
	s := open(b, newPrefix(b), nil)
	base := commit(b, s, current(b, s), routes(tree.Tree{}, 10_000, "first"))
	var took []time.Duration
	for b.Loop() {
		next := base.Tree.Set(routeKey(len(took)%10_000), fmt.Appendf(nil, "edition %d", len(took)))
		begin := time.Now()
		base = commit(b, s, base, next)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

func BenchmarkColdReadOf10000(b *testing.B) {
	prefix := newPrefix(b)
	s := open(b, prefix, nil)
	commit(b, s, current(b, s), routes(tree.Tree{}, 10_000, "first"))
	for b.Loop() {
		current(b, open(b, prefix, nil))
	}
}
