package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// clock is a time that tests move.
type clock struct {
	ahead atomic.Int64
}

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func collect(t testing.TB, s *Store) Collected {
	t.Helper()
	c, err := s.CollectGarbage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func countBlobs(t testing.TB, s *Store) int {
	t.Helper()
	r, err := client.Get(t.Context(), s.keys.blobs(), clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return int(r.Count)
}

// abandon writes the blobs of a tree as a commit does that then fails.
func abandon(t testing.TB, s *Store, base, next tree.Tree) {
	t.Helper()
	if err := s.putBlobs(t.Context(), next.Added(base), nil); err != nil {
		t.Fatal(err)
	}
}

func TestCollectionDeletesOldOrphansOnly(t *testing.T) {
	prefix := newPrefix(t)
	var now clock
	s := open(t, prefix, func(s *setup) { s.options.Now = now.now })
	one := commit(t, s, current(t, s), routes(tree.Tree{}, 300, "first"))
	two := commit(t, s, one, routes(one.Tree, 200, "second"))
	needed := countBlobs(t, s)
	abandon(t, s, two.Tree, routes(two.Tree, 250, "orphan"))
	orphans := countBlobs(t, s) - needed
	if orphans < 250 {
		t.Fatalf("%d orphans: the test is of no use", orphans)
	}
	now.advance(23 * time.Hour)
	if c := collect(t, s); c.Blobs != 0 || c.Young != orphans || c.Reachable != needed {
		t.Fatalf("after 23 hours: %+v, %d needed and %d orphans", c, needed, orphans)
	}
	now.advance(2 * time.Hour)
	if c := collect(t, s); c.Blobs != orphans || c.Young != 0 || c.Reachable != needed || c.Changes != 0 {
		t.Fatalf("after 25 hours: %+v, %d needed and %d orphans", c, needed, orphans)
	}
	if left := countBlobs(t, s); left != needed {
		t.Fatalf("%d blobs are left, %d needed", left, needed)
	}
	intact(t, prefix, two)
	at, _, err := open(t, prefix, nil).At(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	sameConfiguration(t, at, one)
	// The base was read before the sweeps; the blobs it leaves out are there.
	intact(t, prefix, commit(t, s, two, routes(two.Tree, 250, "orphan")))
}

func TestHistoryIsTrimmedByNumberAndAge(t *testing.T) {
	for name, test := range map[string]struct {
		changes int
		ahead   time.Duration
		left    int
	}{
		"neither":             {changes: 1000, left: 130},
		"number":              {changes: 120, left: 120},
		"age":                 {changes: 1000, ahead: 91 * 24 * time.Hour, left: historyFloor},
		"number, below floor": {changes: 10, left: historyFloor},
	} {
		t.Run(name, func(t *testing.T) {
			prefix := newPrefix(t)
			var now clock
			s := open(t, prefix, func(s *setup) {
				s.options.Now, s.options.HistoryChanges, s.options.MinBlobAge = now.now, test.changes, time.Nanosecond
			})
			head := current(t, s)
			for i := range 130 {
				head = commit(t, s, head, tree.Tree{}.Set(routeKey(0), fmt.Append(nil, i)))
			}
			now.advance(test.ahead + time.Second)
			if c := collect(t, s); c.Changes != 130-test.left {
				t.Fatalf("%+v", c)
			}
			history, err := s.History(t.Context(), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(history) != test.left || history[0].GetRevision() != 130 {
				t.Fatalf("%d changes are left, the newest is %v", len(history), history[0])
			}
			fresh := open(t, prefix, nil)
			for _, change := range history {
				if _, _, err := fresh.At(t.Context(), change.GetRevision()); err != nil {
					t.Fatal(err)
				}
			}
			if test.left < 130 {
				if _, _, err := fresh.At(t.Context(), uint64(130-test.left)); !errors.Is(err, ErrCompacted) {
					t.Fatalf("a revision that was trimmed: %v", err)
				}
			}
			// Two blobs a revision, and the tree before the oldest change.
			if want := 2 * min(test.left+1, 130); countBlobs(t, s) != want {
				t.Fatalf("%d blobs are left, want %d", countBlobs(t, s), want)
			}
			intact(t, prefix, head)
		})
	}
}

// sweeper is a store that collects at once what it may.
func sweeper(t testing.TB, prefix string, hook *hookKV) *Store {
	s := open(t, prefix, func(s *setup) {
		s.hook = hook
		s.options.Now = func() time.Time { return time.Now().Add(time.Hour) }
		s.options.MinBlobAge, s.options.HistoryChanges = time.Nanosecond, 1
	})
	s.historyFloor = 1
	return s
}

// deletes reports whether the transaction is one of a sweep.
func (x hookedTxn) deletes() bool {
	return len(x.then) > 0 && x.then[0].IsTxn()
}

func TestABlobWrittenAgainBeforeItsDeletionStays(t *testing.T) {
	prefix := newPrefix(t)
	writer := open(t, prefix, nil)
	base := commit(t, writer, current(t, writer), routes(tree.Tree{}, 50, "first"))
	next := routes(base.Tree, 50, "again")
	abandon(t, writer, base.Tree, next)
	hook := &hookKV{}
	s := sweeper(t, prefix, hook)
	var head Configuration
	hook.before = func(x hookedTxn) error {
		if x.deletes() && head.Revision == 0 {
			head = commit(t, writer, base, next) // after the marking, before the deletion
		}
		return nil
	}
	c := collect(t, s)
	if head.Revision != 2 {
		t.Fatal("nothing was to be deleted: the test is of no use")
	}
	if c.Blobs != 0 {
		t.Fatalf("%+v", c)
	}
	intact(t, prefix, head)
}

// The writer's blobs are old enough and unreachable when the collection looks,
// and it commits when they are gone.
func TestAWriterThatSleptWritesItsBlobsAgain(t *testing.T) {
	prefix := newPrefix(t)
	hook := &hookKV{}
	writer := open(t, prefix, func(s *setup) { s.hook = hook })
	base := commit(t, writer, current(t, writer), routes(tree.Tree{}, 50, "first"))
	s := sweeper(t, prefix, nil)
	var c Collected
	hook.before = once(writer, 2, func(hookedTxn) error {
		c = collect(t, s)
		return nil
	})
	head := commit(t, writer, base, routes(base.Tree, 50, "second"))
	if c.Blobs < 50 {
		t.Fatalf("%+v: the test is of no use", c)
	}
	intact(t, prefix, head)
}

// Writers go back and forth between a few trees, so that blobs become garbage and
// are needed again, while others collect.
func TestCollectionsAndCommitsRace(t *testing.T) {
	const writers, commits, most, collectors = 4, 40, 400, 2
	prefix := newPrefix(t)
	var work, sweeps sync.WaitGroup
	done, stop := context.WithCancel(t.Context())
	var deleted, rounds atomic.Int64
	for range collectors {
		s := sweeper(t, prefix, nil)
		sweeps.Go(func() {
			for done.Err() == nil {
				c, err := s.CollectGarbage(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				deleted.Add(int64(c.Blobs))
				rounds.Add(1)
			}
		})
	}
	for w := range writers {
		s := open(t, prefix, nil)
		work.Go(func() {
			// They go on until the two have met: what is deleted is needed again.
			for i := 0; i < commits || deleted.Load() == 0 && i < most; i++ {
				for {
					base, err := s.Current(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					head, err := s.Commit(t.Context(), base, routes(tree.Tree{}, 40, fmt.Sprint((w+i)%3)), Meta{})
					if errors.Is(err, ErrConflict) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					// Nothing of the new head may be missing. Others may have
					// moved on, to a head of which the same holds.
					fresh, err := Open(t.Context(), client, Options{Prefix: prefix})
					if err == nil {
						_, err = fresh.Current(t.Context())
					}
					if err != nil {
						t.Errorf("after revision %d: %v", head.Revision, err)
						return
					}
					break
				}
			}
		})
	}
	work.Wait()
	stop()
	sweeps.Wait()
	t.Logf("%d collections deleted %d blobs", rounds.Load(), deleted.Load())
	if deleted.Load() == 0 {
		t.Error("nothing was deleted: the test is of no use")
	}
	intact(t, prefix, current(t, open(t, prefix, nil)))
}

func TestADamagedHistoryStopsTheCollection(t *testing.T) {
	for name, damage := range map[string]func(key string) error{
		"missing": func(key string) error { _, err := client.Delete(t.Context(), key); return err },
		"no node": func(key string) error {
			value, err := marshal(&fleetv1.Envelope{Plain: []byte("not a node of a tree")})
			if err == nil {
				_, err = client.Put(t.Context(), key, value)
			}
			return err
		},
		"no envelope": func(key string) error { _, err := client.Put(t.Context(), key, "\xff"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			prefix := newPrefix(t)
			writer := open(t, prefix, nil)
			one := commit(t, writer, current(t, writer), routes(tree.Tree{}, 50, "first"))
			two := commit(t, writer, one, routes(tree.Tree{}, 50, "second"))
			abandon(t, writer, two.Tree, routes(tree.Tree{}, 60, "orphan"))
			if err := damage(writer.keys.blob(one.Root())); err != nil {
				t.Fatal(err)
			}
			s := sweeper(t, prefix, nil)
			s.historyFloor = 100
			before := countBlobs(t, s)
			c, err := s.CollectGarbage(t.Context())
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), one.Root().String()) {
				t.Fatalf("the error is %v", err)
			}
			if c.Blobs != 0 || countBlobs(t, s) != before {
				t.Fatalf("%+v", c)
			}
		})
	}
}
