package publish

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func TestHeadIsWantedAtOnceAndTheNextIsFiveMillisecondsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		p, watch := startWatched(t, h)
		<-watch
		if got := p.Wanted(); got.Version != (tree.Version{Epoch: 1, Root: tree.EmptyRoot()}) {
			t.Fatalf("wanted %v", got.Version)
		}
		time.Sleep(time.Second)
		var last time.Time
		for i := range 20 {
			begin := time.Now()
			s := h.commit(config(t, 3, 1000+i))
			<-watch
			pause := time.Since(begin)
			if i == 0 && pause != 0 {
				t.Fatalf("the first took %v", pause)
			}
			if i > 0 && time.Since(last) < minInterval {
				t.Fatalf("%v after the one before", time.Since(last))
			}
			last = time.Now()
			if got := p.Wanted(); got.Version != VersionOf(s) || got.Tree.Root() != got.Root || got.At != last {
				t.Fatalf("wanted %v, committed %v", got.Version, VersionOf(s))
			}
		}
		// A store in which nothing happens is left alone.
		idle := h.reads
		time.Sleep(time.Second)
		h.set(func() { idle = h.reads - idle })
		if idle > 1 {
			t.Fatalf("the head was read %d times while nothing happened", idle)
		}
		// What comes in between is one version.
		for i := range 10 {
			h.commit(config(t, 3, 2000+i))
		}
		before := p.Counters().Published
		time.Sleep(time.Second)
		if got := p.Wanted().Revision; got != 30 {
			t.Fatalf("wanted %d", got)
		}
		if got := p.Counters().Published - before; got > 2 {
			t.Fatalf("%d versions of a burst", got)
		}
		if a, b := p.WantedFor("x"), p.Wanted(); a.Version != b.Version {
			t.Fatalf("wanted of a node %v, of all %v", a.Version, b.Version)
		}
	})
}

func TestCheckedCandidateIsPublishedWithoutCompiling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		p := start(t, h)
		synctest.Wait()
		base := store.Configuration{Epoch: 1}
		next := config(t, 3, 80)
		if ps := p.Check(t.Context(), base, next); len(ps) > 0 {
			t.Fatal(ps)
		}
		if ps := p.Check(t.Context(), base, broken(t, next)); len(ps) == 0 {
			t.Fatal("a dangling reference passes")
		}
		compiled := p.Counters().Compiled
		h.commit(next)
		time.Sleep(time.Second)
		if got := p.Counters(); got.Compiled != compiled || compiled != 3 || got.Cached != 1 ||
			got.Published != 2 || got.Checks != 2 || got.Latency.Count != 2 {
			t.Fatalf("%+v", got)
		}
		// Few results are kept, however many candidates there were; what is wanted is among them.
		for i := range 20 {
			p.Check(t.Context(), base, config(t, 3, 1000+i))
		}
		if got := len(p.compiler.results); got != keptResults {
			t.Fatalf("%d results kept", got)
		}
		compiled = p.Counters().Compiled
		if ps := p.Check(t.Context(), base, next); len(ps) > 0 || p.Counters().Compiled != compiled || compiledRoot(p) != next.Root() {
			t.Fatal("what is wanted was compiled again: ", ps)
		}
		// A check that nobody waits for any more is no consent.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.compiler.turn <- struct{}{}
		if ps := p.Check(ctx, base, config(t, 3, 5000)); len(ps) == 0 {
			t.Fatal("consent without a check")
		}
		<-p.compiler.turn
	})
}

func TestHeadThatDoesNotCompileIsNotWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		p := start(t, h)
		good := h.commit(config(t, 3, 80))
		time.Sleep(time.Second)
		bad := h.commit(broken(t, good.Tree))
		time.Sleep(time.Second)
		u, ok := p.Unpublished()
		if !ok || u.Version != VersionOf(bad) || len(u.Problems) == 0 || len(p.Problems()) == 0 {
			t.Fatalf("unpublished: %+v", u)
		}
		if got := p.Wanted().Version; got != VersionOf(good) {
			t.Fatalf("wanted %v", got)
		}
		compiled := p.Counters().Compiled
		for range 5 {
			p.Kick()
			time.Sleep(time.Second)
		}
		if got := p.Counters(); got.Compiled != compiled || got.Unpublishable != 1 {
			t.Fatalf("compiled again and again: %+v", got)
		}
		better := h.commit(config(t, 4, 80))
		time.Sleep(time.Second)
		if _, ok := p.Unpublished(); ok || p.Wanted().Version != VersionOf(better) || p.Problems() != nil {
			t.Fatalf("wanted %v", p.Wanted().Version)
		}
	})
}

// TestACheckThatWasBrokenOffIsNoRefusal: the stream of a node ended, say, on whose behalf
// the head was read. Nodes would wait for the next change.
func TestACheckThatWasBrokenOffIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		p := start(t, h)
		synctest.Wait()
		p.compiler.turn <- struct{}{} // somebody compiles
		ctx, cancel := context.WithCancel(t.Context())
		h.versions = append(h.versions, store.Configuration{Epoch: 1, Revision: 1, Tree: config(t, 3, 80)})
		var reading sync.WaitGroup
		reading.Go(func() {
			if err := p.Refresh(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("it says %v", err)
			}
		})
		synctest.Wait()
		cancel()
		reading.Wait()
		<-p.compiler.turn
		if u, refused := p.Unpublished(); refused {
			t.Errorf("refused: %v", u.Problems)
		}
		if err := p.Refresh(t.Context()); err != nil || p.Wanted().Revision != 1 {
			t.Errorf("revision %d is wanted, %v", p.Wanted().Revision, err)
		}
	})
}

func TestStoreThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		h.fail = errors.New("no leader")
		p := start(t, h)
		time.Sleep(10 * time.Second)
		if !p.Wanted().IsZero() {
			t.Fatal("something is wanted")
		}
		reads := 0
		h.set(func() { h.fail, reads = nil, h.reads })
		if reads < 10 || reads > 30 {
			t.Fatalf("%d reads in 10 s", reads)
		}
		time.Sleep(time.Second)
		if p.Wanted().IsZero() {
			t.Fatal("nothing is wanted")
		}
	})
}

// TestTheHistoryIsReadThoughItCouldNotBeAtFirst: nodes that are behind get differences.
func TestTheHistoryIsReadThoughItCouldNotBeAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := grown(t, 4)
		h.failPast = errors.New("no answer")
		p := start(t, h)
		synctest.Wait()
		h.commit(config(t, 2, 2000))
		time.Sleep(time.Second)
		if _, ok := p.Base(t.Context(), h.versions[2].Tree.Root()); ok || p.Wanted().Revision != 5 {
			t.Fatalf("the history was read: %t, wanted %v", ok, p.Wanted().Version)
		}
		h.set(func() {
			h.failPast = nil
			h.head.Ring()
		})
		time.Sleep(time.Second)
		for _, v := range h.versions[1:] {
			if _, ok := p.Base(t.Context(), v.Tree.Root()); !ok {
				t.Errorf("revision %d is no base", v.Revision)
			}
		}
		if len(p.kept) != 5 {
			t.Errorf("%d versions are kept", len(p.kept))
		}
	})
}

func TestLastSixteenVersionsAreBases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		p := start(t, h)
		var roots []tree.Hash
		for i := range 20 {
			roots = append(roots, h.commit(config(t, 3, 1000+i)).Tree.Root())
			time.Sleep(10 * time.Millisecond)
		}
		check := func(p *Publisher) {
			t.Helper()
			for i, root := range roots {
				got, ok := p.Base(t.Context(), root)
				if want := i >= len(roots)-keptVersions; ok != want || ok && got.Root() != root {
					t.Fatalf("base of revision %d: %v", i+1, ok)
				}
			}
			if got, ok := p.Base(t.Context(), tree.EmptyRoot()); !ok || got.Len() != 0 {
				t.Fatal("the empty tree is no base")
			}
			if _, ok := p.Base(t.Context(), tree.Sum(nil)); ok {
				t.Fatal("a base from nowhere")
			}
		}
		check(p)
		if h.loads != 0 {
			t.Fatalf("%d trees loaded", h.loads)
		}
		// After a restart they come from the history, each once, when asked for.
		p = start(t, h)
		time.Sleep(time.Second)
		if h.loads != 0 {
			t.Fatalf("%d trees loaded before anybody asked", h.loads)
		}
		check(p)
		check(p)
		if counted := p.Counters().BasesLoaded; h.loads != keptVersions-1 || counted != uint64(h.loads) {
			t.Fatalf("%d trees loaded, %d counted", h.loads, counted)
		}
		if !p.knows(tree.Version{Epoch: 1, Revision: 15, Root: roots[14]}) {
			t.Fatal("a version of the history is not known")
		}
	})
}

// TestABaseHasTheRootThatItIsAskedFor: what a store that was replaced has under an old
// revision would make a delta that no node can take.
func TestABaseHasTheRootThatItIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		old := h.commit(config(t, 2, 80))
		h.commit(config(t, 2, 81))
		p := start(t, h)
		synctest.Wait()
		h.set(func() { h.versions[old.Revision].Tree = config(t, 3, 80) })
		if got, ok := p.Base(t.Context(), old.Tree.Root()); ok {
			t.Errorf("of root %s it gives %s", old.Tree.Root().Short(), got.Root().Short())
		}
	})
}

// awayHistory is one whose old revisions nobody gives.
type awayHistory struct{ *history }

func (awayHistory) At(ctx context.Context, _ uint64) (store.Configuration, *fleetv1.Change, error) {
	<-ctx.Done()
	return store.Configuration{}, nil, ctx.Err()
}

// TestABaseIsNotWaitedForWhileTheStoreIsAway: its nodes get the whole configuration,
// however many there are.
func TestABaseIsNotWaitedForWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		old := h.commit(config(t, 2, 80))
		h.commit(config(t, 2, 81))
		p := New(Config{Store: awayHistory{h}, Epochs: h, Logger: slog.New(slog.DiscardHandler)})
		lifecycletest.Run(t, p.Run)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		var nodes sync.WaitGroup
		for range 20 {
			nodes.Go(func() {
				if _, ok := p.Base(ctx, old.Tree.Root()); ok {
					t.Error("a base from a store that is away")
				}
			})
		}
		nodes.Wait()
		if took := time.Since(begin); took > baseTimeout {
			t.Errorf("the last node waited %v", took)
		}
	})
}

func TestLatencyCountsCumulatively(t *testing.T) {
	var l Latency
	for _, d := range []time.Duration{0, 250 * time.Microsecond, 251 * time.Microsecond, time.Minute} {
		l.Observe(d)
	}
	s := l.Snapshot()
	if s.Count != 4 || s.Sum != time.Minute+501*time.Microsecond || len(s.Buckets) != latencyBuckets ||
		s.Buckets[LatencyBound(0)] != 2 || s.Buckets[LatencyBound(1)] != 3 || s.Buckets[LatencyBound(latencyBuckets-1)] != 3 {
		t.Fatalf("%+v", s)
	}
}

func TestUnreadCountsFromTheLastReadThatSucceeded(t *testing.T) {
	now := time.Unix(1000, 0)
	h := newHistory()
	p := New(Config{Store: h, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	later := func(d time.Duration, fail error) {
		now = now.Add(d)
		h.set(func() { h.fail = fail })
		if err := p.Refresh(t.Context()); !errors.Is(err, fail) {
			t.Error(err)
		}
	}
	if got := p.Unread(); got != 0 {
		t.Errorf("before the first read: %v", got)
	}
	later(0, nil)
	away := errors.New("etcd is away")
	later(time.Minute, away)
	later(time.Minute, away)
	if got := p.Unread(); got != 2*time.Minute {
		t.Errorf("after two minutes: %v", got)
	}
	later(time.Minute, nil)
	if got := p.Unread(); got != 0 {
		t.Errorf("after a read: %v", got)
	}
}

// compiledRoot is the root of what is wanted, as it was compiled.
func compiledRoot(p *Publisher) tree.Hash {
	wanted, _ := p.compiler.current()
	return wanted.Tree.Root()
}
